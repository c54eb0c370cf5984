package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"
)

func TestSecretPrintsAsMaskInEveryForm(t *testing.T) {
	s := NewSecret("hunter2")
	type holder struct{ Password Secret }
	type hidden struct {
		is      Secret
		pointer *Secret
		list    []Secret
		byName  map[string]Secret
		any     any
	}
	inner := hidden{s, &s, []Secret{s}, map[string]Secret{"a": s}, s}
	values := map[string]any{
		"itself": s, "pointer": &s, "exported": holder{s}, "of_a_pointer": &holder{s}, "list": []Secret{s}, "map": map[string]Secret{"a": s}, "key": map[Secret]int{s: 1},
		"unexported": inner, "unexported_pointer": &inner, "nested": struct{ a struct{ b hidden } }{struct{ b hidden }{inner}}, "embedded": struct{ hidden }{inner},
		"nested_pointer": struct{ a *hidden }{&inner}, "exported_of_unexported": struct{ A []any }{[]any{inner, &inner}}, "unexported_array": struct{ a [1]Secret }{[1]Secret{s}},
		"error": fmt.Errorf("x: %w", fmt.Errorf("%+v", inner)), "reflected": reflect.ValueOf(inner), "reflected_field": reflect.ValueOf(inner).Field(0),
		"the_field_of_a_field": reflect.ValueOf(inner).Field(0).Field(0), "its_pointer": reflect.ValueOf(inner).Field(0).Field(0).Field(0),
	}
	var forms []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%U", "%c", "%e", "%b", "%o", "%p", "%w", "%10.3s", "%#q", "%!"} {
		for name, v := range values {
			forms = append(forms, name+" "+verb+" "+fmt.Sprintf(verb, v))
		}
	}
	forms = append(forms, fmt.Sprint(s), s.String(), s.GoString(), fmt.Errorf("x: %w %v", fmt.Errorf("y"), s).Error())
	for _, v := range []any{s, holder{s}, map[string]Secret{"a": s}, inner} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		y, err := yaml.Marshal(v)
		require.NoError(t, err)
		forms = append(forms, string(b), string(y))
	}
	var logged bytes.Buffer
	slog.New(slog.NewTextHandler(&logged, nil)).Info("x", "a", s, "b", holder{s}, "c", &holder{s}, "d", inner, "e", &inner)
	slog.New(slog.NewJSONHandler(&logged, nil)).Info("x", "a", s, "b", holder{s}, "c", &holder{s}, "d", inner, "e", &inner)
	forms = append(forms, logged.String())
	for _, f := range forms {
		for _, form := range []string{"hunter2", "68756e74657232", "68 75 6e", "[104 117", "hun"} {
			require.NotContains(t, strings.ToLower(f), form)
		}
	}
	require.Contains(t, fmt.Sprintf("%+v", holder{s}), mask)
	require.Equal(t, "hunter2", s.Reveal())
}

func TestSecretIsAValue(t *testing.T) {
	a, b := NewSecret("hunter2"), NewSecret(strings.Join([]string{"hunter", "2"}, ""))
	require.Equal(t, a, b)
	require.NotEqual(t, a, NewSecret("hunter3"))
	seen := map[Secret]int{a: 1} // by ==
	require.Equal(t, 1, seen[b])
	require.Zero(t, seen[NewSecret("hunter3")])
	var zero Secret
	require.Equal(t, 2, map[Secret]int{zero: 2}[NewSecret("")])
	require.Empty(t, zero.Reveal())
	require.Empty(t, zero.String())
	require.Empty(t, fmt.Sprintf("%v%s%x", zero, zero, zero))

	for name, decode := range map[string]func([]byte, any) error{"json": json.Unmarshal, "yaml": yaml.Unmarshal} {
		var in struct{ Password, Empty, Missing Secret }
		require.NoError(t, decode([]byte(`{"password": "hunter2", "empty": ""}`), &in), name)
		require.Equal(t, a, in.Password, name)
		require.Equal(t, zero, in.Empty, name)
		require.Equal(t, zero, in.Missing, name)
	}
}

func TestConfigPrintsNoSecret(t *testing.T) {
	c := Default()
	c.Redis.URL, c.Kafka.SASL.Password = NewSecret("redis://:hunter2@x/0"), NewSecret("hunter3")
	b, err := json.Marshal(c)
	require.NoError(t, err)
	for _, f := range []string{fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", c), string(b)} {
		require.NotContains(t, f, "hunter")
	}
}
