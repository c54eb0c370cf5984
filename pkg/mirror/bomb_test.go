package mirror

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate/bomb"
	"github.com/sealift/sealift/pkg/objstore"
)

// It is not known how many lines an object in a bucket contains. A bomb is written to its
// destination as far as there is room, and is never held in memory.
func TestGzipBombTakesNoMemory(t *testing.T) {
	unit := bytes.Repeat([]byte("{}\n"), 1<<20/3)
	const times = 512
	noise := make([]byte, minInflateAhead)
	_, _ = rand.NewChaCha8([32]byte{}).Read(noise)
	for hazard, object := range map[string][]byte{
		"small": bomb.New(nil, unit, times),
		"large": bomb.New(noise, unit, times), // large objects are inflated ahead by goroutines
	} {
		t.Run(hazard, func(t *testing.T) {
			require.Equal(t, hazard == "large", len(object) >= minInflateAhead)
			m := objstore.NewMemory("acme-logs")
			putRaw(t, m, key("web", day1, 0), object, nil)
			var out byteCounter
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := Cat(t.Context(), m, List(t.Context(), m, place(t, "s3://acme-logs"), Filter{}), &out, CatOptions{})
			runtime.ReadMemStats(&after)
			require.NoError(t, err)
			require.Greater(t, int64(out), int64(times*len(unit)-1))
			// All that was ever allocated: the race detector makes pools drop some of it.
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(times*len(unit)/2), "memory grows with what is inflated")
		})
	}
}

// If the disk is full, the error names the object, because every run would fail at it again.
func TestGzipBombThatFillsTheDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		require.ErrorIs(t, err, os.ErrNotExist) // only Linux has it
		return
	}
	m := objstore.NewMemory("acme-logs")
	putRaw(t, m, key("web", day1, 0), bomb.New(nil, make([]byte, 1<<20), 100), nil)
	for f, err := range List(t.Context(), m, place(t, "s3://acme-logs"), Filter{}) {
		require.NoError(t, err)
		d := newFetch(t.Context(), m, f, nil)
		defer d.Close()
		p := &part{full, "x"}
		defer p.Close()
		err = decompressInto(d, p)
		require.True(t, fatal(err))
		require.ErrorContains(t, err, `decompress object "`+f.Key+`"`)
		require.Contains(t, Fix(err, Place{}), "without --decompress")
	}
}

// byteCounter counts bytes.
type byteCounter int64

func (w *byteCounter) Write(p []byte) (int, error) {
	*w += byteCounter(len(p))
	return len(p), nil
}

var _ io.Writer = (*byteCounter)(nil)
