package deflate_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/klauspost/compress/flate"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate"
	"github.com/sealift/sealift/pkg/deflate/conformance"
)

func newFast() conformance.Encoder { return new(deflate.Encoder) }

func newLazy() conformance.Encoder { return &deflate.Encoder{Lazy: true} }

var encoders = map[string]func() conformance.Encoder{"fast": newFast, "lazy": newLazy}

func TestEncoder(t *testing.T) {
	for name, newEncoder := range encoders {
		t.Run(name, func(t *testing.T) { conformance.Run(t, newEncoder) })
	}
}

func FuzzAppend(f *testing.F) { conformance.Fuzz(f, newFast, checkDeterministic(newFast)) }

func FuzzAppendLazy(f *testing.F) { conformance.Fuzz(f, newLazy, checkDeterministic(newLazy)) }

// checkDeterministic checks that earlier use of an encoder does not change its output.
func checkDeterministic(newEncoder func() conformance.Encoder) func(t *testing.T, out, b []byte, window int) {
	return func(t *testing.T, out, b []byte, window int) {
		if !bytes.Equal(out, newEncoder().Append(nil, b, window)) {
			t.Fatal("output depends on earlier use of the encoder")
		}
	}
}

func TestEqualInputGivesEqualBytes(t *testing.T) {
	lines := conformance.Lines(300_000)
	for _, newEncoder := range encoders {
		used, equal := newEncoder(), checkDeterministic(newEncoder)
		for _, size := range []int{1, 600, 9_000, 128 << 10, 300_000} {
			for _, window := range []int{0, 1, 8 << 10} {
				window = min(window, size)
				equal(t, used.Append(nil, lines[:size], window), lines[:size], window)
			}
		}
	}
}

// The lazy level is about as small as klauspost's level 6, which operators compare it with.
func TestLazySizeIsCloseToLevelSix(t *testing.T) {
	lines := conformance.Lines(2 << 20)
	var other bytes.Buffer
	w, err := flate.NewWriter(nil, 6)
	require.NoError(t, err)
	for _, block := range []int{8 << 10, 32 << 10, 128 << 10} {
		for _, window := range []int{0, 8 << 10} {
			e, size := newLazy(), 0
			other.Reset()
			for at := window; at+block <= len(lines); at += block {
				size += len(e.Append(nil, lines[at-window:at+block], window))
				w.ResetDict(&other, lines[at-window:at])
				_, err := w.Write(lines[at : at+block])
				require.NoError(t, err)
				require.NoError(t, w.Flush())
			}
			require.Less(t, float64(size), 1.02*float64(other.Len()), "blocks of %d, window %d", block, window)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	lines := conformance.Lines(4 << 20)
	for name, newEncoder := range encoders {
		for _, block := range []int{4 << 10, 16 << 10, 128 << 10} {
			b.Run(fmt.Sprintf("%s/block=%dK", name, block>>10), func(b *testing.B) {
				e, out, in, n := newEncoder(), []byte(nil), 0, 0
				for at := 0; b.Loop(); at = (at + block) % len(lines) {
					window := min(at, 8<<10)
					out = e.Append(out[:0], lines[at-window:at+block], window)
					in, n = in+block, n+len(out)
				}
				b.SetBytes(int64(block))
				b.ReportMetric(float64(in)/float64(n), "gzip-ratio")
			})
		}
	}
}
