package mirror

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

// wrongSizeReader is a bucket that reports another size for the object.
type wrongSizeReader struct {
	*objstore.Memory
	size int64
}

func (u wrongSizeReader) GetFrom(ctx context.Context, key, etag string, from int64) (io.ReadCloser, objstore.Info, error) {
	r, info, err := u.Memory.GetFrom(ctx, key, etag, from)
	info.Size = u.size
	return r, info, err
}

// If the store does not report a size, that is not treated as a different size.
func TestSizesOfAnswers(t *testing.T) {
	m := objstore.NewMemory("acme-logs")
	content := []byte("content")
	putRaw(t, m, key("web", day1, 0), content, nil)
	for size, want := range map[int64]error{-1: nil, int64(len(content)): nil, 0: objstore.ErrChanged, 8: objstore.ErrChanged} {
		for f, err := range List(t.Context(), m, place(t, "s3://acme-logs"), Filter{}) {
			require.NoError(t, err)
			d := newFetch(t.Context(), wrongSizeReader{m, size}, f, nil)
			got, err := io.ReadAll(d)
			d.Close()
			require.ErrorIs(t, err, want, "%d", size)
			if want == nil {
				require.True(t, bytes.Equal(content, got))
			}
		}
	}
}
