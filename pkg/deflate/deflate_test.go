package deflate_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/sealift/sealift/pkg/deflate"
	"github.com/sealift/sealift/pkg/deflate/conformance"
)

func fresh() conformance.Encoder { return new(deflate.Encoder) }

func TestEncoder(t *testing.T) { conformance.Run(t, fresh) }

func FuzzAppend(f *testing.F) { conformance.Fuzz(f, fresh, equalBytes) }

// equalBytes holds that what an encoder did before changes nothing.
func equalBytes(t *testing.T, out, b []byte, window int) {
	if !bytes.Equal(out, fresh().Append(nil, b, window)) {
		t.Fatal("equal input gives other bytes")
	}
}

func TestEqualInputGivesEqualBytes(t *testing.T) {
	lines, used := conformance.Lines(300_000), fresh()
	for _, size := range []int{1, 600, 9_000, 128 << 10, 300_000} {
		for _, window := range []int{0, 1, 8 << 10} {
			window = min(window, size)
			equalBytes(t, used.Append(nil, lines[:size], window), lines[:size], window)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	lines := conformance.Lines(4 << 20)
	for _, block := range []int{4 << 10, 16 << 10, 128 << 10} {
		b.Run(fmt.Sprintf("block=%dK", block>>10), func(b *testing.B) {
			e, out, in, n := new(deflate.Encoder), []byte(nil), 0, 0
			for at := 0; b.Loop(); at = (at + block) % len(lines) {
				window := min(at, 4<<10)
				out = e.Append(out[:0], lines[at-window:at+block], window)
				in, n = in+block, n+len(out)
			}
			b.SetBytes(int64(block))
			b.ReportMetric(float64(in)/float64(n), "gzip-ratio")
		})
	}
}
