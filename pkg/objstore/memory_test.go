package objstore_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/conformance"
)

func TestMemoryConforms(t *testing.T) {
	conformance.Run(t, func(*testing.T) objstore.Store { return objstore.NewMemory("staging") })
	conformance.RunReader(t, func(*testing.T) *objstore.Memory { return objstore.NewMemory("bucket") })
}

func TestMemoryFaults(t *testing.T) {
	absent := objstore.PutOptions{IfAbsent: true}
	put := func(m *objstore.Memory, body string) error {
		_, err := m.Put(context.Background(), "k", strings.NewReader(body), absent)
		return err
	}
	// on makes the n-th put of any key fail.
	on := func(n int, f objstore.Fault) func(objstore.Op) objstore.Fault {
		return func(op objstore.Op) objstore.Fault {
			if op.Name == "put" && op.N == n {
				return f
			}
			return objstore.Fault{}
		}
	}
	stored := func(t *testing.T, m *objstore.Memory) string {
		r, _, err := m.Get(t.Context(), "k")
		require.NoError(t, err)
		b, err := io.ReadAll(r)
		require.NoError(t, err)
		return string(b)
	}

	t.Run("before_the_effect", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(on(1, objstore.Fault{Before: objstore.ErrConflict}))
		err := put(m, "one")
		require.ErrorIs(t, err, objstore.ErrConflict)
		var e *objstore.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, 409, e.Status)
		require.Equal(t, "ConditionalRequestConflict", e.Code)
		require.NoError(t, put(m, "one"), "the failed put took effect")
	})
	t.Run("after_the_effect", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(on(1, objstore.Fault{After: io.ErrUnexpectedEOF}))
		err := put(m, "one")
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorIs(t, err, io.ErrUnexpectedEOF)
		require.ErrorIs(t, put(m, "one"), objstore.ErrExists, "the put whose answer was lost took no effect")
		require.Equal(t, "one", stored(t, m))
	})
	t.Run("delayed_ghost_wins", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(on(1, objstore.Fault{Before: objstore.ErrUnavailable, Ghost: true}))
		require.ErrorIs(t, put(m, "ghost"), objstore.ErrUnavailable)
		_, err := m.Head(t.Context(), "k")
		require.ErrorIs(t, err, objstore.ErrNotFound)
		require.Equal(t, 1, m.ReleaseGhosts())
		require.ErrorIs(t, put(m, "late"), objstore.ErrExists)
		require.Equal(t, "ghost", stored(t, m))
		require.Zero(t, m.ReleaseGhosts(), "once")
	})
	t.Run("delayed_ghost_loses", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(on(1, objstore.Fault{Before: objstore.ErrUnavailable, Ghost: true}))
		require.Error(t, put(m, "ghost"))
		require.NoError(t, put(m, "winner"))
		require.Zero(t, m.ReleaseGhosts())
		require.Equal(t, "winner", stored(t, m))
		require.Equal(t, map[string]int{"k": 2}, m.Contents(""))
	})
	t.Run("repeated_by_the_network", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(on(1, objstore.Fault{Ghost: true}))
		require.NoError(t, put(m, "one"))
		require.Zero(t, m.ReleaseGhosts())
		require.Equal(t, map[string]int{"k": 1}, m.Contents(""))
		puts := m.Puts("k")
		require.Len(t, puts, 2)
		require.True(t, puts[0].Applied)
		require.False(t, puts[1].Applied)
		require.True(t, puts[1].Ghost)
	})
	t.Run("every_operation", func(t *testing.T) {
		m := objstore.NewMemory("b")
		require.NoError(t, put(m, "one"))
		m.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
		_, _, err := m.Get(t.Context(), "k")
		require.ErrorIs(t, err, objstore.ErrDenied)
		_, err = m.Head(t.Context(), "k")
		require.ErrorIs(t, err, objstore.ErrDenied)
		_, err = m.List(t.Context(), "", "", 0)
		require.ErrorIs(t, err, objstore.ErrDenied)
		require.ErrorIs(t, m.Delete(t.Context(), "k"), objstore.ErrDenied)
		m.SetFault(nil)
		require.Equal(t, "one", stored(t, m))
	})
	t.Run("own_error", func(t *testing.T) {
		m := objstore.NewMemory("b")
		own := &objstore.Error{Op: "put", Kind: objstore.ErrDenied, Status: 400, Code: "ExpiredToken"}
		m.SetFault(on(1, objstore.Fault{Before: own}))
		require.Equal(t, error(own), put(m, "one"))
	})
}

func TestProbeRefuses(t *testing.T) {
	t.Run("store_that_overwrites", func(t *testing.T) {
		err := objstore.Probe(t.Context(), unconditional{objstore.NewMemory("b")})
		require.ErrorIs(t, err, objstore.ErrUnconditional)
		require.ErrorContains(t, err, "If-None-Match")
	})
	t.Run("foreign_object", func(t *testing.T) {
		m := objstore.NewMemory("b")
		_, err := m.Put(t.Context(), "probe/if-none-match", strings.NewReader("unzipped"), objstore.PutOptions{})
		require.NoError(t, err)
		require.ErrorContains(t, objstore.Probe(t.Context(), m), "other bytes")
	})
	t.Run("unreachable", func(t *testing.T) {
		m := objstore.NewMemory("b")
		m.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: errors.New("no route to host")} })
		err := objstore.Probe(t.Context(), m)
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorContains(t, err, `bucket "b" in memory`)
	})
	t.Run("conflict_is_repeated", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			m := objstore.NewMemory("b")
			conflicts := 3
			m.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "put" && op.N <= conflicts {
					return objstore.Fault{Before: objstore.ErrConflict}
				}
				return objstore.Fault{}
			})
			require.NoError(t, objstore.Probe(t.Context(), m))
			conflicts = 1000
			require.ErrorIs(t, objstore.Probe(t.Context(), m), objstore.ErrConflict, "conflicts are retried forever")
		})
	})
}

// unconditional ignores If-None-Match, as some servers do.
type unconditional struct{ objstore.Store }

func (u unconditional) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	opts.IfAbsent = false
	return u.Store.Put(ctx, key, body, opts)
}
