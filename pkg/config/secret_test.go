package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestSecretPrintsAsMaskInEveryForm(t *testing.T) {
	s := Secret("hunter2")
	holder := struct{ Password Secret }{s}
	var forms []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%U", "%10.3s"} {
		forms = append(forms, fmt.Sprintf(verb, s), fmt.Sprintf(verb, holder), fmt.Sprintf(verb, &holder), fmt.Sprintf(verb, []Secret{s}))
	}
	forms = append(forms, fmt.Sprint(s), s.String(), s.GoString(), fmt.Errorf("x: %w %v", fmt.Errorf("y"), s).Error())
	for _, v := range []any{s, holder, map[string]Secret{"a": s}} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		y, err := yaml.Marshal(v)
		require.NoError(t, err)
		forms = append(forms, string(b), string(y))
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "a", s, "b", holder, "c", &holder)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "a", s, "b", holder, "c", &holder)
	forms = append(forms, logged.String())
	for _, f := range forms {
		require.NotContains(t, f, "hunter2")
		require.NotContains(t, f, "68756e74657232")
	}
	require.Contains(t, fmt.Sprintf("%+v", holder), mask)
	require.Equal(t, "hunter2", s.Reveal())
	require.Empty(t, Secret("").String())
}

func TestConfigPrintsNoSecret(t *testing.T) {
	c := Default()
	c.Redis.URL, c.Kafka.SASL.Password = "redis://:hunter2@x/0", "hunter3"
	b, err := json.Marshal(c)
	require.NoError(t, err)
	for _, f := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), string(b)} {
		require.NotContains(t, f, "hunter")
	}
}
