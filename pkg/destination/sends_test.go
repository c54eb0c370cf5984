package destination

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

// If the time runs out between two tries, the second was not sent, so it is not counted as a
// request.
func TestUnsentRequestIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objstore.NewMemory("one-logs")
		store.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrUnavailable} })
		p := NewPutter(Config{Pause: time.Minute, Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store { return store }})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		r, err := p.Put(ctx, catalog.Target{BucketName: "one-logs"}, Object{Key: "k", Body: strings.NewReader("x")})
		require.ErrorIs(t, err, objstore.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1, r.Sends)
	})
}

// TestOwnCredentialsAndClockAreCorrectedAtOnce: pkg/objstore renews our credentials and corrects
// for the store's clock in time for the second request. If the problem lasts, it does not count
// against the destination.
func TestOwnCredentialsAndClockAreCorrectedAtOnce(t *testing.T) {
	for code, status := range map[string]int{"ExpiredToken": 400, "TokenRefreshRequired": 400, "RequestTimeTooSkewed": 403} {
		for _, lasts := range []int{1, 9} { // number of such answers
			t.Run(fmt.Sprint(code, " ", lasts), func(t *testing.T) {
				store, left := objstore.NewMemory("one-logs"), lasts
				store.SetFault(func(objstore.Op) objstore.Fault {
					if left--; left < 0 {
						return objstore.Fault{}
					}
					return objstore.Fault{Before: &objstore.Error{Op: "put", Status: status, Code: code, Kind: objstore.ErrDenied}}
				})
				p := NewPutter(Config{Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store { return store }})
				target := catalog.Target{BucketName: "one-logs"}
				r, err := p.Put(t.Context(), target, Object{Key: "k", Body: strings.NewReader("x")})
				require.Equal(t, 2, r.Sends)
				if lasts == 1 {
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, objstore.ErrDenied)
				v := Judge(err, target)
				require.Equal(t, ScopeFile, v.Scope)
				require.Equal(t, Transient, v.Class)
				require.Contains(t, v.Fix.String(), "this host's clock")
			})
		}
	}
}
