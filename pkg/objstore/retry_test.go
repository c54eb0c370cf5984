package objstore

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

func TestReadsAreRetried(t *testing.T) {
	for name, c := range map[string]struct {
		fails error
		times int
		want  error
	}{
		"back_before_giving_up": {ErrUnavailable, 4, nil},
		"stays_away":            {ErrUnavailable, 5, ErrUnavailable},
		"not_retryable":         {ErrDenied, 1, ErrDenied},
		"no_failure":            {nil, 0, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemory("b")
				_, err := m.Put(t.Context(), "a/1", strings.NewReader("x"), PutOptions{})
				require.NoError(t, err)
				store := WithReadRetries(WithReadRetries(m))
				asked := map[string]int{}
				m.SetFault(func(op Op) Fault {
					if asked[op.Name]++; asked[op.Name] <= c.times {
						return Fault{Before: c.fails}
					}
					return Fault{}
				})
				_, err = store.Head(t.Context(), "a/1")
				require.ErrorIs(t, err, c.want)
				_, err = store.List(t.Context(), "a/", "", 1)
				require.ErrorIs(t, err, c.want)
				b, err := Read(t.Context(), store, "a/1", 1)
				require.ErrorIs(t, err, c.want)
				if c.want == nil {
					require.Equal(t, "x", string(b))
				}
				tries := c.times
				if c.want == nil {
					tries++
				}
				require.Equal(t, map[string]int{"head": tries, "list": tries, "get": tries}, asked)
			})
		})
	}
}

func TestReadIsBounded(t *testing.T) {
	m := NewMemory("b")
	_, err := m.Put(t.Context(), "k", strings.NewReader("1234"), PutOptions{})
	require.NoError(t, err)
	b, err := Read(t.Context(), m, "k", 4)
	require.NoError(t, err)
	require.Equal(t, "1234", string(b))
	_, err = Read(t.Context(), m, "k", 3)
	require.ErrorIs(t, err, ErrTooLarge)
	require.ErrorContains(t, err, `object "k" has more than 3 bytes`)
	_, err = Read(t.Context(), m, "none", 3)
	require.ErrorIs(t, err, ErrNotFound)
}
