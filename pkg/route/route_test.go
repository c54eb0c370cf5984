package route

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/stream"
)

// TestDeepNestingIsRejected: a record that nests ten million deep is refused. Brokers limit only
// its compressed size, which may be a few kilobytes. A recursive validator would run out of stack,
// which would end the process and that of every next owner.
func TestDeepNestingIsRejected(t *testing.T) {
	const depth = 10_000_000
	deep := append(bytes.Repeat([]byte(`{"a":`), depth), '1')
	deep = append(deep, bytes.Repeat([]byte(`}`), depth)...)
	_, _, ok := lineOf(&stream.Record{Value: deep})
	require.False(t, ok)
}

func TestNesting(t *testing.T) {
	pad := strings.Repeat(" ", 256<<10)
	for name, c := range map[string]struct {
		value string
		ok    bool
	}{
		"shallow":             {`{"a":[{"b":1}]}`, true},
		"large_and_shallow":   {`{"a":"` + pad + `"}`, true},
		"brackets_in_strings": {`{"a":"` + strings.Repeat("[", len(pad)) + `\"{{"}`, true},
		"many_side_by_side":   {`{"a":[` + strings.Repeat("[],", len(pad)) + `[]]}`, true},
		"at_the_limit":        {`{"a":` + strings.Repeat("[", event.MaxNesting-1) + pad + strings.Repeat("]", event.MaxNesting-1) + `}`, true},
		"past_the_limit":      {`{"a":` + strings.Repeat("[", event.MaxNesting) + pad + strings.Repeat("]", event.MaxNesting) + `}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, ok := lineOf(&stream.Record{Value: []byte(c.value)})
			require.Equal(t, c.ok, ok)
		})
	}
}

// TestRouteIsAFunctionOfTheRecord checks every setting and every reason.
func TestRouteIsAFunctionOfTheRecord(t *testing.T) {
	at := time.UnixMilli(1_795_356_000_123)
	rec := func(change func(*stream.Record)) *stream.Record {
		r := &stream.Record{Key: []byte("by-key"), Value: []byte(` {"s":"by-json","t":"2026-11-22T14:00:00.123Z"} `), Time: at, Headers: []stream.Header{
			{Key: HeaderSource, Value: []byte("by-header")}, {Key: HeaderReceived, Value: []byte("1795356000123")},
		}}
		change(r)
		return r
	}
	unchanged := func(*stream.Record) {}
	for name, c := range map[string]struct {
		source, received string // settings
		change           func(*stream.Record)
		want, reason     string
	}{
		"header":            {"header", "header", unchanged, "by-header", ""},
		"key":               {"key", "record", unchanged, "by-key", ""},
		"json":              {"json:s", "json:t", unchanged, "by-json", ""},
		"no_header":         {"header", "header", func(r *stream.Record) { r.Headers = nil }, "", ReasonSource},
		"source_is_a_path":  {"key", "header", func(r *stream.Record) { r.Key = []byte("../x") }, "", ReasonSource},
		"time_in_seconds":   {"header", "header", func(r *stream.Record) { r.Headers[1].Value = []byte("1795356000") }, "", ReasonReceived},
		"no_time":           {"header", "json:u", unchanged, "", ReasonReceived},
		"no_object":         {"header", "header", func(r *stream.Record) { r.Value = []byte("[1]") }, "", ReasonJSON},
		"vouched_no_object": {"header", "header", func(r *stream.Record) { r.Headers = append(r.Headers, stream.Header{Key: HeaderLine}) }, "", ReasonJSON},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := New(c.source, c.received)
			require.NoError(t, err)
			to, reason := r.Route(rec(c.change))
			require.Equal(t, c.reason, reason)
			require.Equal(t, c.want, to.Source)
			if reason == "" {
				require.Equal(t, at.UnixMilli(), to.Received)
				require.Equal(t, `{"s":"by-json","t":"2026-11-22T14:00:00.123Z"}`, string(to.Line))
			}
		})
	}
	r, err := New("key", "header")
	require.NoError(t, err)
	for ms, want := range map[string]string{"1000079999999": ReasonReceived, "1000080000000": "", "4102444799999": "", "4102444800000": ReasonReceived} {
		_, reason := r.Route(rec(func(r *stream.Record) { r.Headers[1].Value = []byte(ms) }))
		require.Equal(t, want, reason, ms)
	}
	for _, wrong := range [][2]string{{"", "header"}, {"json:", "header"}, {"header", "clock"}} {
		_, err := New(wrong[0], wrong[1])
		require.ErrorContains(t, err, "use header")
	}
}
