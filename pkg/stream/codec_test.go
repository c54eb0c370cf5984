package stream

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
)

func setMaxBatchBytes(t *testing.T, n int64) {
	t.Helper()
	was := maxBatchBytes
	maxBatchBytes = n
	t.Cleanup(func() { maxBatchBytes = was })
}

func TestDecompressionIsBounded(t *testing.T) {
	setMaxBatchBytes(t, 1<<20)
	for _, c := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		for n, want := range map[int]error{0: nil, 1 << 20: nil, 1<<20 + 1: ErrBatchTooLarge, 50 << 20: ErrBatchTooLarge} {
			var packed bytes.Buffer
			w := c.Codec().NewWriter(&packed)
			_, err := w.Write(make([]byte, n))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			d := decoder{}
			for range 2 { // also as the second batch of an input
				got, err := d.unpack(c, packed.Bytes())
				require.ErrorIs(t, err, want, "%s %d", c, n)
				if want == nil {
					require.Len(t, got, n)
				}
			}
		}
	}
}

// A decompression bomb in the log is reported as an error; records before it are read.
func TestDecompressionBombInTheLog(t *testing.T) {
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer broker.Close()
	c, err := Open(Config{Brokers: []string{broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer c.Close()
	require.NoError(t, c.EnsureTopics(t.Context(), true, Topic{Name: "t", Partitions: 1}))
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: "zstd"})
	defer p.Close(t.Context())
	require.NoError(t, p.Produce(t.Context(), Record{Value: []byte("small")}))
	require.NoError(t, p.Produce(t.Context(), Record{Value: make([]byte, 900_000)}))

	setMaxBatchBytes(t, 500_000)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f := c.NewFetcher("t", 0)
	_, err = f.Fetch(ctx, 1, FetchOptions{})
	require.ErrorIs(t, err, ErrBatchTooLarge)
	got, err := f.Fetch(ctx, 0, FetchOptions{MaxBytes: 1})
	require.NoError(t, err)
	require.Len(t, got.Records, 1)
}

// TestClaimedSizesAreNotAllocated: a few bytes of a hostile producer may claim that they decompress
// to a gigabyte, or need that much memory.
func TestClaimedSizesAreNotAllocated(t *testing.T) {
	frame := func(window byte) []byte { // of zstd; with one raw block
		return []byte{0x28, 0xb5, 0x2f, 0xfd, 0, window, 3<<3 | 1, 0, 0, 'a', 'b', 'c'}
	}
	xerial := []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}
	giga := []byte{0x80, 0x80, 0x80, 0x80, 4} // 1 GiB as a varint
	for name, c := range map[string]struct {
		codec  compress.Compression
		packed []byte
		want   string // "": err is expected
		err    error
	}{
		"zstd_window_8MiB":   {compress.Zstd, frame(13 << 3), "abc", nil},
		"zstd_window_128MiB": {compress.Zstd, frame(17 << 3), "abc", nil}, // level 22
		"zstd_window_512MiB": {compress.Zstd, frame(19 << 3), "", ErrBatchTooLarge},
		"zstd_window_1TiB":   {compress.Zstd, frame(30 << 3), "", ErrBatchTooLarge},
		"zstd_cut_short":     {compress.Zstd, frame(13 << 3)[:10], "", ErrBatch},
		"zstd_content_1GiB":  {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x40, 3<<3 | 1, 0, 0, 'a', 'b', 'c'}, "", ErrBatchTooLarge},
		"snappy_chunk_1GiB":  {compress.Snappy, append(xerial, 0x40, 0, 0, 0, 1), "", ErrBatch},
		"snappy_block_1GiB":  {compress.Snappy, append(giga, 0, 'a'), "", ErrBatchTooLarge},
		"snappy_framed_1GiB": {compress.Snappy, append(append(xerial, 0, 0, 0, 7), append(giga, 0, 'a')...), "", ErrBatchTooLarge},
		"snappy_damaged":     {compress.Snappy, []byte{10, 0xff, 1}, "", ErrBatch},
		"snappy_in_chunks":   {compress.Snappy, append(xerial, 0, 0, 0, 3, 1, 0, 'a', 0, 0, 0, 4, 2, 1<<2, 'b', 'c'), "abc", nil},
		"no_codec":           {7, []byte("abc"), "", ErrBatch},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := decoder{}
			got, err := d.unpack(c.codec, c.packed)
			runtime.ReadMemStats(&after)
			require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(16<<20))
			require.ErrorIs(t, err, c.err)
			if err != nil {
				require.NotContains(t, err.Error(), "\n", "error has several lines")
			}
			require.Equal(t, c.want, string(got))
		})
	}
}

func FuzzUnpack(f *testing.F) {
	for _, c := range []compress.Compression{compress.Snappy, compress.Zstd} {
		var packed bytes.Buffer
		w := c.Codec().NewWriter(&packed)
		_, err := w.Write(bytes.Repeat([]byte("a line\n"), 50))
		require.NoError(f, err)
		require.NoError(f, w.Close())
		f.Add(int8(c), packed.Bytes())
	}
	f.Fuzz(func(t *testing.T, codec int8, packed []byte) {
		if codec != int8(compress.Snappy) && codec != int8(compress.Zstd) {
			return
		}
		d := decoder{}
		got, err := d.unpack(compress.Compression(codec), packed)
		if err == nil {
			again, err := d.unpack(compress.Compression(codec), packed) // with room in the arena
			require.NoError(t, err)
			require.True(t, bytes.Equal(got, again))
		} else if !errors.Is(err, ErrBatch) {
			require.ErrorIs(t, err, ErrBatchTooLarge)
		}
	})
}
