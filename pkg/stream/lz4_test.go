package stream

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/pierrec/lz4/v4"
	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"
)

// frame returns text as an LZ4 frame.
func frame(tb testing.TB, text []byte, options ...lz4.Option) []byte {
	tb.Helper()
	var b bytes.Buffer
	w := lz4.NewWriter(&b)
	require.NoError(tb, w.Apply(options...))
	_, err := w.Write(text)
	require.NoError(tb, err)
	require.NoError(tb, w.Close())
	return b.Bytes()
}

// texts returns inputs of several kinds, by name.
func texts() map[string][]byte {
	lines := map[string][]byte{"empty": nil, "one_byte": {'a'}, "zeros": make([]byte, 5<<20), "noise": make([]byte, 300<<10)}
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(lines["noise"])
	for i := range 40_000 {
		lines["lines"] = fmt.Appendf(lines["lines"], `{"n":%d,"event":"Product Viewed"}`+"\n", i)
	}
	lines["lines_then_noise"] = append(bytes.Clone(lines["lines"]), lines["noise"]...)
	return lines
}

func TestUnpackLZ4(t *testing.T) {
	var d decoder // shared, like in a fetcher: it keeps its arena
	for name, text := range texts() {
		for _, size := range []lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block1Mb, lz4.Block4Mb} {
			for flags := range 8 {
				options := []lz4.Option{lz4.BlockSizeOption(size), lz4.ChecksumOption(flags&1 != 0), lz4.BlockChecksumOption(flags&2 != 0)}
				if flags&4 != 0 {
					options = append(options, lz4.SizeOption(uint64(len(text))))
				}
				d.arena = append(d.arena[:0], "of the batch before"...)
				d.unpacked = 0
				held := d.arena
				packed := frame(t, text, options...)
				got, err := d.unpack(compress.Lz4, packed)
				require.NoError(t, err, "%s, blocks of %d, flags %d", name, size, flags)
				require.True(t, bytes.Equal(text, got), "%s, blocks of %d, flags %d", name, size, flags)
				require.Equal(t, len(text), d.unpacked)
				require.Equal(t, "of the batch before", string(held))
				plain, err := new(decoder).unpackLZ4(packed)
				require.NoError(t, err)
				require.True(t, plain, "frame was left to the library")
			}
		}
	}
}

// TestUnpackLZ4FallsBack: what unpackLZ4 does not support, unpack passes to the library.
func TestUnpackLZ4FallsBack(t *testing.T) {
	text := texts()["lines"]
	two := append(frame(t, text[:1000]), frame(t, text[1000:])...)
	skippable := append([]byte{0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 'x', 'y'}, frame(t, text)...)
	for name, b := range map[string][]byte{"two_frames": two, "skippable": skippable, "legacy": frame(t, text, lz4.LegacyOption(true))} {
		t.Run(name, func(t *testing.T) {
			var d decoder
			plain, err := d.unpackLZ4(b)
			require.NoError(t, err)
			require.False(t, plain)
			got, err := d.unpack(compress.Lz4, b)
			require.NoError(t, err)
			require.True(t, bytes.Equal(text, got))
			require.Equal(t, len(text), d.unpacked)
		})
	}
}

func TestUnpackLZ4IsBounded(t *testing.T) {
	setMaxBatchBytes(t, 1<<20)
	_, err := new(decoder).unpackLZ4(frame(t, make([]byte, 1<<20)))
	require.NoError(t, err)
	plain, err := new(decoder).unpackLZ4(frame(t, make([]byte, 1<<20+1)))
	require.True(t, plain)
	require.ErrorIs(t, err, ErrBatchTooLarge)
}

// FuzzUnpackLZ4 compares it with the library's reader: what that accepts, it decompresses equally
// or leaves to it. It accepts more only if a checksum is wrong.
func FuzzUnpackLZ4(f *testing.F) {
	text := texts()["lines"][:3000]
	for flags := range 4 {
		f.Add(frame(f, text, lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(flags&1 != 0), lz4.BlockChecksumOption(flags&2 != 0)))
	}
	f.Add(frame(f, texts()["noise"][:100], lz4.BlockSizeOption(lz4.Block64Kb)))
	f.Fuzz(func(t *testing.T, b []byte) {
		want, wrong := io.ReadAll(lz4.NewReader(bytes.NewReader(b)))
		var d decoder
		plain, err := d.unpackLZ4(b)
		if plain && wrong == nil {
			require.NoError(t, err)
			require.True(t, bytes.Equal(want, d.arena))
		}
		if !plain {
			require.NoError(t, err)
			require.Empty(t, d.arena)
		}
	})
}
