package stream

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/compress"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
)

func bounded(t *testing.T, n int64) {
	t.Helper()
	was := maxBatchBytes
	maxBatchBytes = n
	t.Cleanup(func() { maxBatchBytes = was })
}

func TestDecompressionIsBounded(t *testing.T) {
	bounded(t, 1<<20)
	for _, c := range []compress.Compression{compress.Gzip, compress.Snappy, compress.Lz4, compress.Zstd} {
		for n, want := range map[int]error{0: nil, 1 << 20: nil, 1<<20 + 1: ErrBatchTooLarge, 50 << 20: ErrBatchTooLarge} {
			var packed bytes.Buffer
			w := c.Codec().NewWriter(&packed)
			_, err := w.Write(make([]byte, n))
			require.NoError(t, err)
			require.NoError(t, w.Close())
			r := c.Codec().NewReader(&packed)
			got, err := io.Copy(io.Discard, r)
			require.ErrorIs(t, err, want, "%s %d", c, n)
			if want == nil {
				require.EqualValues(t, n, got)
			}
			require.LessOrEqual(t, got, int64(1<<20))
			require.NoError(t, r.Close())
		}
	}
}

// A batch that is a bomb is an error that says so; what lies before it is read.
func TestABombInTheLogIsAnError(t *testing.T) {
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

	bounded(t, 500_000)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	f := c.NewFetcher("t", 0)
	_, err = f.Fetch(ctx, 1, FetchOptions{})
	require.ErrorIs(t, err, ErrBatchTooLarge)
	got, err := f.Fetch(ctx, 0, FetchOptions{MaxBytes: 1})
	require.NoError(t, err)
	require.Len(t, got.Records, 1)
}
