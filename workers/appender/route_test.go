package appender

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// TestDeepNestingIsPoison: brokers bound what a record takes compressed, so
// one of some kilobytes can nest ten million deep. A validator that recurses
// runs out of stack, which ends the process, and the next owner's after it.
func TestDeepNestingIsPoison(t *testing.T) {
	const depth = 10_000_000
	deep := append(bytes.Repeat([]byte(`{"a":`), depth), '1')
	deep = append(deep, bytes.Repeat([]byte(`}`), depth)...)
	_, ok := lineOf(&stream.Record{Value: deep})
	require.False(t, ok)
}

func TestNesting(t *testing.T) {
	pad := strings.Repeat(" ", deepBytes)
	for name, c := range map[string]struct {
		value string
		ok    bool
	}{
		"shallow":             {`{"a":[{"b":1}]}`, true},
		"large_and_shallow":   {`{"a":"` + pad + `"}`, true},
		"brackets_in_strings": {`{"a":"` + strings.Repeat("[", deepBytes) + `\"{{"}`, true},
		"many_side_by_side":   {`{"a":[` + strings.Repeat("[],", deepBytes) + `[]]}`, true},
		"at_the_limit":        {`{"a":` + strings.Repeat("[", maxNesting-1) + pad + strings.Repeat("]", maxNesting-1) + `}`, true},
		"past_the_limit":      {`{"a":` + strings.Repeat("[", maxNesting) + pad + strings.Repeat("]", maxNesting) + `}`, false},
	} {
		t.Run(name, func(t *testing.T) {
			_, ok := lineOf(&stream.Record{Value: []byte(c.value)})
			require.Equal(t, c.ok, ok)
		})
	}
}
