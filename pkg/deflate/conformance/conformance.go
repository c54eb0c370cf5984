// Package conformance is the test suite for every encoder of blocks: that of pkg/deflate, and that
// of pkg/igzip, which can replace it. Only tests use it.
package conformance

import (
	"bytes"
	"compress/flate"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deflate"
	"github.com/sealift/sealift/pkg/sample"
)

// Encoder is deflate.Encoder, or a replacement for it.
type Encoder interface {
	Append(dst, b []byte, window int) []byte
}

// Run checks what pkg/deflate promises; newEncoder returns a new encoder.
func Run(t *testing.T, newEncoder func() Encoder) {
	for promise, test := range map[string]func(*testing.T, func() Encoder){
		"inflates_to_the_input":     testInflates,
		"blocks_concatenate":        testBlocksConcatenate,
		"compresses_like_level_one": testSize,
		"allocates_nothing":         testAllocations,
	} {
		t.Run(promise, func(t *testing.T) { test(t, newEncoder) })
	}
}

// inflate returns what a reader makes of a sequence of blocks.
func inflate(t testing.TB, blocks []byte, window []byte) []byte {
	t.Helper()
	blocks = append(bytes.Clone(blocks), 0x03, 0x00)
	got, err := io.ReadAll(flate.NewReaderDict(bytes.NewReader(blocks), window))
	require.NoError(t, err)
	return got
}

// Lines returns n bytes of realistic lines.
func Lines(n int) []byte {
	var lines []byte
	for g := sample.New(sample.Config{Seed: 1, Sources: 8}); len(lines) < n; {
		lines = append(append(lines, g.Next().Body...), '\n')
	}
	return lines[:n]
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

// fibonacciBytes returns bytes with symbol frequencies that make the deepest tree.
func fibonacciBytes() []byte {
	var b []byte
	x, y := 1, 1
	for i := range 20 {
		b = append(b, bytes.Repeat([]byte{byte(i)}, x)...)
		x, y = y, x+y
	}
	rand.New(rand.NewPCG(1, 1)).Shuffle(len(b), func(i, j int) { b[i], b[j] = b[j], b[i] })
	return b
}

func testInflates(t *testing.T, newEncoder func() Encoder) {
	lines := Lines(1 << 20)
	for name, b := range map[string][]byte{
		"nothing":           {},
		"one_byte":          {'x'},
		"short":             []byte("{}\n"),
		"one_line":          lines[:600],
		"a_block":           lines[:128<<10],
		"several_blocks":    lines,
		"one_symbol":        bytes.Repeat([]byte("a"), 300_000),
		"two_symbols":       bytes.Repeat([]byte("ab"), 150_000),
		"match_of_258":      append(append([]byte(strings.Repeat("xyz", 86)), '|'), strings.Repeat("xyz", 86)...),
		"match_of_260":      []byte("0123456789abcdefgh" + strings.Repeat("-", 261) + "0123456789abcdefgh"),
		"random":            randomBytes(200_000),
		"random_then_lines": append(randomBytes(70_000), lines[:70_000]...),
		"far_apart":         bytes.Join([][]byte{lines[:4000], randomBytes(deflate.MaxWindow - 4000), lines[:4000], randomBytes(deflate.MaxWindow), lines[:4000]}, nil),
		"deep_tree":         fibonacciBytes(),
		"many_sequences":    bytes.Repeat([]byte("abcdeabcdfabcdgabcdh"), 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEncoder()
			for _, window := range []int{0, 1, 7, 4 << 10, deflate.MaxWindow} {
				window = min(window, len(b))
				out := e.Append([]byte("before"), b, window)
				require.Equal(t, "before", string(out[:6]))
				require.LessOrEqual(t, len(out)-6, deflate.Bound(len(b)-window))
				require.Equal(t, string(b[window:]), string(inflate(t, out[6:], b[:window])), "window %d", window)
			}
		})
	}
}

func testBlocksConcatenate(t *testing.T, newEncoder func() Encoder) {
	lines := Lines(300_000)
	e := newEncoder()
	var out []byte
	for at := 0; at < len(lines); at += 10_000 {
		window := min(at, 4<<10)
		out = e.Append(out, lines[at-window:min(at+10_000, len(lines))], window)
	}
	require.Equal(t, string(lines), string(inflate(t, out, nil)))
}

// testSize checks the size that the package promises.
func testSize(t *testing.T, newEncoder func() Encoder) {
	lines := Lines(1 << 20)
	var std bytes.Buffer
	w, err := flate.NewWriter(&std, 1)
	require.NoError(t, err)
	_, _ = w.Write(lines)
	require.NoError(t, w.Close())
	require.Less(t, len(newEncoder().Append(nil, lines, 0)), std.Len())
}

func testAllocations(t *testing.T, newEncoder func() Encoder) {
	e, lines := newEncoder(), Lines(128<<10)
	out := make([]byte, 0, deflate.Bound(len(lines))+16)
	require.Zero(t, testing.AllocsPerRun(10, func() { out = e.Append(out[:0], lines, 4<<10) }))
}

// Fuzz checks an encoder's output with the standard library's reader. It also passes to checks what
// an encoder that was already in use made of b[window:].
func Fuzz(f *testing.F, newEncoder func() Encoder, checks ...func(t *testing.T, out, b []byte, window int)) {
	f.Helper()
	const most = 200_000 // several blocks, and positions beyond 65,536
	f.Add([]byte(`{"a":1}`+"\n"), 0, 1)
	f.Add(Lines(5_000), 700, 40)
	f.Add(bytes.Repeat([]byte("abcab"), 200), 3, 100)
	f.Add(randomBytes(100), 50, 1)
	f.Add(Lines(3_000), deflate.MaxWindow, 60)
	f.Fuzz(func(t *testing.T, b []byte, window, times int) {
		if times < 1 || times > most/max(len(b), 1) {
			return
		}
		once := b
		b = bytes.Repeat(b, times)
		if window < 0 || window > min(len(b), deflate.MaxWindow) {
			return
		}
		e := newEncoder()
		if first := e.Append(nil, once, 0); !bytes.Equal(inflate(t, first, nil), once) {
			t.Fatal("output inflates to other bytes")
		}
		out := e.Append(nil, b, window) // after it was used
		for _, check := range checks {
			check(t, out, b, window)
		}
		if len(out) > deflate.Bound(len(b)-window) {
			t.Fatalf("output of %d bytes for %d bytes exceeds Bound", len(out), len(b)-window)
		}
		if got := inflate(t, out, b[:window]); !bytes.Equal(got, b[window:]) {
			t.Fatal("output inflates to other bytes")
		}
	})
}
