package route

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

func TestMessageID(t *testing.T) {
	header := func(id string) []stream.Header { return []stream.Header{{Key: HeaderMessage, Value: []byte(id)}} }
	for name, c := range map[string]struct {
		headers    []stream.Header
		line, want string
	}{
		"header":          {header("h"), `{"messageId":"m"}`, "h"},
		"header_is_empty": {header(""), `{"messageId":"m"}`, ""},
		"line":            {nil, `{"a":{"messageId":"no"},"messageId":"m"}`, "m"},
		"escaped":         {nil, `{"messageId":"\u006d\""}`, `m"`},
		"number":          {nil, `{"messageId":12.50}`, "12.50"},
		"nested_only":     {nil, `{"a":{"messageId":"no"}}`, ""},
		"neither_kind":    {nil, `{"messageId":{"a":1}}`, ""},
		"null":            {nil, `{"messageId":null}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			rec := &stream.Record{Headers: c.headers, Value: []byte(c.line)}
			require.Equal(t, c.want, string(MessageID(rec, rec.Value)))
		})
	}
}
