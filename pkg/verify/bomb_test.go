package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate/bomb"
	"github.com/sealift/sealift/pkg/ledger"
)

// Whoever can write to a bucket may put a megabyte there that inflates to a gigabyte, even with the
// size and the sha256 in the receipt: the size of the lines in the ledger is the bound.
func TestGzipBombIsReadUpToLedgerSize(t *testing.T) {
	const raw = 3 << 20
	lines := bytes.Repeat([]byte("{}\n"), 1<<20/3)
	for hazard, c := range map[string]struct {
		object []byte
		size   int64 // the size in the ledger; 0: the object's own
		want   string
		reads  int64 // the most bytes of the object that may be read
	}{
		"lines":           {bomb.New(nil, lines, 1024), 0, fmt.Sprintf("its lines have more than the %d bytes", raw), 2 << 20},
		"one_line":        {bomb.New(nil, make([]byte, 1<<20), 1024), 0, fmt.Sprintf("its lines have more than the %d bytes", raw), 2 << 20},
		"another_size":    {bomb.New(nil, lines, 1024), 5000, "it has more than the 5000 bytes", 5001},
		"an_endless_tail": {bomb.New(nil, lines, 1), 1 << 20, "it has more than the 1048576 bytes", 1<<20 + 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			sum := sha256.Sum256(c.object)
			f := &ledger.File{Records: raw / 3, RawBytes: raw, GzipBytes: int64(len(c.object)), SHA256: hex.EncodeToString(sum[:])}
			stored := &countingReader{r: bytes.NewReader(c.object)}
			if c.size != 0 {
				f.GzipBytes = c.size
				stored.r = io.MultiReader(stored.r, endlessReader{})
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			wrong, err := checkBody(stored, f)
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			require.Contains(t, strings.Join(wrong, "; "), c.want)
			require.LessOrEqual(t, stored.n, c.reads)
			// All that was ever allocated, for a gigabyte: the race detector makes pools drop some
			// of it.
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(128<<20), "memory grew with the inflated size")
		})
	}
	t.Run("exactly_as_large", func(t *testing.T) { // the bound does not affect an honest file
		object := bomb.New(nil, lines, 1)
		wrong, err := checkBody(bytes.NewReader(object), &ledger.File{RawBytes: int64(len(lines)), GzipBytes: int64(len(object))})
		require.NoError(t, err)
		require.NotContains(t, strings.Join(wrong, "; "), "more than")
		require.Contains(t, strings.Join(wrong, "; "), fmt.Sprintf("it has %d lines", len(lines)/3))
	})
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

type endlessReader struct{}

func (endlessReader) Read(p []byte) (int, error) { return len(p), nil }
