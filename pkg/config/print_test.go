package config

import (
	"encoding/json"
	"fmt"
	"strings"
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

// A copy of what is printed is a valid configuration, or refused for each masked secret: "***" must
// not be taken for a password.
func TestPrintedConfigurationIsReadAgain(t *testing.T) {
	for name, c := range map[string]struct{ url, password, printed, refused string }{
		"defaults":         {"redis://localhost:6379/0", "", "url: redis://localhost:6379/0", ""},
		"sasl_password":    {"redis://r1:6379/2", "hunter3", `password: "***"`, "kafka.sasl.password"},
		"redis_password":   {"rediss://:hunter2@r1:6379/0", "", "url: \"rediss://***@r1:6379/0\"", "redis.url"},
		"redis_query":      {"redis://r1:6379/0?password=hunter2", "", `url: "redis://r1:6379/0?***"`, "redis.url"},
		"slash_and_at":     {"redis://:hunter2/a@b@r1:6379/0", "", `url: "***"`, "redis.url"},
		"hash_in_password": {"redis://r1:6379/0#hunter2", "", `url: "***"`, "redis.url"},
		"no_url":           {"hunter2", "", `url: "***"`, "redis.url"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := Default()
			cfg.Redis.URL, cfg.Kafka.SASL.Password = secret.New(c.url), secret.New(c.password)
			var b strings.Builder
			require.NoError(t, cfg.Print(&b))
			asJSON, err := json.Marshal(cfg)
			require.NoError(t, err)
			require.NotContains(t, b.String()+string(asJSON), "hunter")
			require.Contains(t, b.String(), c.printed)
			_, err = Load(writeFile(t, b.String()), nil, nil)
			if c.refused == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.refused)
			require.ErrorContains(t, err, "the secret is masked, as `sealift config print` shows it; write the secret itself")
		})
	}
}
