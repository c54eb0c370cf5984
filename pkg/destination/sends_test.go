package destination

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

// What the time ran out for, between two tries, was not sent, and costs nobody
// a request.
func TestWhatIsNotSentIsNotCounted(t *testing.T) {
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
