package strictjson

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDecode(t *testing.T) {
	for hazard, c := range map[string]struct{ in, want string }{
		"object":                {"{\"n\":7}\n", ""},
		"unknown_field":         {`{"n":7,"m":8}`, "unknown field"},
		"cut_off":               {`{"n":7`, "unexpected EOF"},
		"empty":                 {"", "EOF"},
		"another_object":        {`{"n":7}{"n":8}`, "bytes after the object"},
		"another_closing_brace": {`{"n":7}}`, "bytes after the object"},
		"trailing_garbage":      {`{"n":7}x`, "bytes after the object"},
	} {
		var v struct{ N int }
		err := Decode([]byte(c.in), &v)
		if c.want != "" {
			require.ErrorContains(t, err, c.want, hazard)
			continue
		}
		require.NoError(t, err, hazard)
		require.Equal(t, 7, v.N, hazard)
	}
}
