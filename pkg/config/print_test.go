package config

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/secret"
)

func TestConfigPrintsNoSecret(t *testing.T) {
	c := Default()
	c.Redis.URL, c.Kafka.SASL.Password = secret.New("redis://:hunter2@x/0"), secret.New("hunter3")
	b, err := json.Marshal(c)
	require.NoError(t, err)
	for _, f := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), fmt.Sprintf("%+v", struct{ c Config }{c}), string(b)} {
		require.NotContains(t, f, "hunter")
	}
}
