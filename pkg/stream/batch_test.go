package stream

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
)

// logOf returns a client of a topic "t" with records, 50 in each of two batches.
func logOf(tb testing.TB, codec string) *Client {
	tb.Helper()
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: tb.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = broker.Close() })
	c, err := Open(Config{Brokers: []string{broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	require.NoError(tb, c.EnsureTopics(tb.Context(), true, Topic{Name: "t", Partitions: 1}))
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: codec})
	defer p.Close()
	for batch := range 2 {
		var records []Record
		for i := range 50 {
			records = append(records, Record{
				Key: []byte("key"), Value: fmt.Appendf(nil, `{"n":%d}`, batch*50+i), Time: time.UnixMilli(1_795_356_000_000 + int64(i)),
				Headers: []Header{{Key: "a", Value: []byte{byte(i)}}, {Key: "b", Value: []byte{}}},
			})
		}
		require.NoError(tb, p.Produce(tb.Context(), records...))
	}
	return c
}

// TestBatchesAreReadWhereTheyLie holds every field of every record, and that
// a record costs no allocation.
func TestBatchesAreReadWhereTheyLie(t *testing.T) {
	for _, codec := range []string{"none", "lz4", "snappy", "zstd", "gzip"} {
		t.Run(codec, func(t *testing.T) {
			f := logOf(t, codec).NewFetcher("t", 0)
			got, err := f.Fetch(t.Context(), 30, FetchOptions{})
			require.NoError(t, err)
			require.Len(t, got.Records, 70)
			require.EqualValues(t, 100, got.Next)
			require.EqualValues(t, 100, got.HighWatermark)
			for i, r := range got.Records {
				n := 30 + i
				require.Equal(t, Record{
					Topic: "t", Offset: int64(n), Key: []byte("key"), Value: fmt.Appendf(nil, `{"n":%d}`, n),
					Time:    time.UnixMilli(1_795_356_000_000 + int64(n%50)),
					Headers: []Header{{Key: "a", Value: []byte{byte(n % 50)}}, {Key: "b", Value: []byte{}}},
				}, r)
			}
			a, err := readAnswer(f.answer, "t", 0)
			require.NoError(t, err)
			// Of 100 records. Codecs take readers from pools, which may be empty: a few allocations for each batch.
			require.Less(t, testing.AllocsPerRun(100, func() { _, _, _ = f.read(a.records, 0) }), 100.0)
		})
	}
}

// TestDamagedBatches: whatever lies in a log is an error, or what was written.
func TestDamagedBatches(t *testing.T) {
	f := logOf(t, "none").NewFetcher("t", 0)
	_, err := f.Fetch(t.Context(), 0, FetchOptions{})
	require.NoError(t, err)
	a, err := readAnswer(f.answer, "t", 0)
	require.NoError(t, err)
	whole := bytes.Clone(a.records)
	first := 12 + (int(whole[10])<<8 | int(whole[11]))

	records, next, err := f.read(whole[:len(whole)-1], 0)
	require.NoError(t, err, "the last one is cut short: it is asked for again")
	require.Len(t, records, 50)
	require.EqualValues(t, 50, next)

	_, _, err = f.read(whole[:first-1], 0)
	require.ErrorIs(t, err, ErrBatch, "a broker returns one that is whole")

	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 4
	records, next, err = f.read(damaged, 0)
	require.NoError(t, err, "whole ones before it are read first")
	require.Len(t, records, 50)
	require.EqualValues(t, 50, next)
	_, _, err = f.read(damaged[first:], next)
	require.ErrorIs(t, err, ErrBatch, "then it is met again")

	for at := range first {
		damaged := bytes.Clone(whole[:first])
		damaged[at] ^= 4
		records, _, err := f.read(damaged, 0)
		// Offsets and the leader's epoch are the broker's: outside of the checksum.
		if at >= 8 && at < 12 || at >= 16 {
			require.Error(t, err, "byte %d", at)
			require.Empty(t, records)
		}
	}
	_, err = readAnswer(f.answer, "u", 0)
	require.ErrorIs(t, err, errAnswer)
	_, err = readAnswer(f.answer[:40], "t", 0)
	require.Error(t, err)
}

// TestBrokersCloseIdleConnections: the next fetch opens another.
func TestBrokersCloseIdleConnections(t *testing.T) {
	c := logOf(t, "none")
	f := c.NewFetcher("t", 0)
	for range 2 {
		got, err := f.Fetch(t.Context(), 0, FetchOptions{})
		require.NoError(t, err)
		require.Len(t, got.Records, 100)
		list := c.wires.idle[f.leader]
		require.Len(t, list, 1, "it is given back")
		require.NoError(t, list[0].conn.Close())
	}
}

// TestManyBatchesAreNotUnpackedTogether: each is bounded, and so are all of a fetch.
func TestManyBatchesAreNotUnpackedTogether(t *testing.T) {
	f := logOf(t, "zstd").NewFetcher("t", 0)
	got, err := f.Fetch(t.Context(), 0, FetchOptions{})
	require.NoError(t, err)
	require.Len(t, got.Records, 100)
	defer func(n int) { enoughUnpacked = n }(enoughUnpacked)
	enoughUnpacked = 1
	for _, next := range []int64{50, 100} {
		got, err = f.Fetch(t.Context(), next-50, FetchOptions{})
		require.NoError(t, err)
		require.Len(t, got.Records, 50)
		require.Equal(t, next, got.Next)
	}
}

func FuzzBatches(f *testing.F) {
	fetcher := logOf(f, "lz4").NewFetcher("t", 0)
	_, err := fetcher.Fetch(f.Context(), 0, FetchOptions{})
	require.NoError(f, err)
	f.Add(fetcher.answer)
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := batches{topic: "t"}
		if a, err := readAnswer(b, "t", 0); err == nil {
			_, _, _ = d.read(a.records, 0)
		}
		if len(b) >= batchHead { // as if its checksum were right
			_ = d.batch(b, 0)
		}
	})
}

// TestAFetchAsksForWhatItHasRoomFor holds that what lines unpack to bounds a
// reader's memory, and that what is left to the next fetch is not asked for again and again.
func TestAFetchAsksForWhatItHasRoomFor(t *testing.T) {
	c := logOf(t, "zstd")
	const batches, each = 40, 500_000 // of a few hundred bytes, packed: all would fit into one answer
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: "zstd"})
	defer p.Close()
	for range batches {
		require.NoError(t, p.Produce(t.Context(), Record{Value: bytes.Repeat([]byte("0123456789"), each/10)}))
	}
	defer func(n int) { leastAsked = n }(leastAsked)
	leastAsked = 1 << 10
	f := c.NewFetcher("t", 0)
	next, first, answered := int64(100), 0, 0
	for fetches := 1; next < 100+batches; fetches++ {
		got, err := f.Fetch(t.Context(), next, FetchOptions{})
		require.NoError(t, err)
		require.NotEmpty(t, got.Records)
		require.Equal(t, next, got.Records[0].Offset)
		next = got.Next
		require.LessOrEqual(t, cap(f.arena), 3*enoughUnpacked)
		if fetches == 1 {
			first = len(f.answer)
		} else {
			answered = max(answered, len(f.answer))
		}
	}
	require.Less(t, answered, first/2, "the first asks for all, the others for what is taken of it")
}
