package secret

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

func TestTextPrintsAsMaskInEveryForm(t *testing.T) {
	s := New("hunter2")
	type holder struct{ Password Text }
	type hidden struct {
		is      Text
		pointer *Text
		list    []Text
		byName  map[string]Text
		any     any
	}
	inner := hidden{s, &s, []Text{s}, map[string]Text{"a": s}, s}
	values := map[string]any{
		"itself": s, "pointer": &s, "exported": holder{s}, "of_a_pointer": &holder{s}, "list": []Text{s}, "map": map[string]Text{"a": s}, "key": map[Text]int{s: 1},
		"unexported": inner, "unexported_pointer": &inner, "nested": struct{ a struct{ b hidden } }{struct{ b hidden }{inner}}, "embedded": struct{ hidden }{inner},
		"nested_pointer": struct{ a *hidden }{&inner}, "exported_of_unexported": struct{ A []any }{[]any{inner, &inner}}, "unexported_array": struct{ a [1]Text }{[1]Text{s}},
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
	for _, v := range []any{s, holder{s}, map[string]Text{"a": s}, inner} {
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
	require.Contains(t, fmt.Sprintf("%+v", holder{s}), Mask)
	require.Equal(t, "hunter2", s.Reveal())
}

func TestTextIsAValue(t *testing.T) {
	a, b := New("hunter2"), New(strings.Join([]string{"hunter", "2"}, ""))
	require.Equal(t, a, b)
	require.NotEqual(t, a, New("hunter3"))
	seen := map[Text]int{a: 1} // compared with ==
	require.Equal(t, 1, seen[b])
	require.Zero(t, seen[New("hunter3")])
	var zero Text
	require.Equal(t, 2, map[Text]int{zero: 2}[New("")])
	require.Empty(t, zero.Reveal())
	require.Empty(t, zero.String())
	require.Empty(t, fmt.Sprintf("%v%s%x", zero, zero, zero))
}
