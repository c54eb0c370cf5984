package stream

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
)

// clientWithRecords returns a client and a topic "t" that holds two batches of 50 records.
func clientWithRecords(tb testing.TB, codec string) *Client {
	tb.Helper()
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: tb.TempDir(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = broker.Close() })
	c, err := Open(Config{Brokers: []string{broker.Addr()}}, slog.New(slog.DiscardHandler))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, c.Close()) })
	require.NoError(tb, c.EnsureTopics(tb.Context(), true, Topic{Name: "t", Partitions: 1}))
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: codec, KeepTime: true})
	defer p.Close(tb.Context())
	for batch := range 2 {
		var records []Record
		for i := range 50 {
			records = append(records, Record{
				Key: []byte("key"), Value: fmt.Appendf(nil, `{"n":%d}`, batch*50+i), Time: time.UnixMilli(1_700_000_000_000 + int64(i)),
				Headers: []Header{{Key: "a", Value: []byte{byte(i)}}, {Key: "b", Value: []byte{}}},
			})
		}
		require.NoError(tb, p.Produce(tb.Context(), records...))
	}
	return c
}

// TestBatchesAreDecodedInPlace: every field of every record is right, and a record costs no
// allocation.
func TestBatchesAreDecodedInPlace(t *testing.T) {
	for _, codec := range []string{"none", "lz4", "snappy", "zstd", "gzip"} {
		t.Run(codec, func(t *testing.T) {
			f := clientWithRecords(t, codec).NewFetcher("t", 0)
			got, err := f.Fetch(t.Context(), 30, FetchOptions{})
			require.NoError(t, err)
			require.Len(t, got.Records, 70)
			require.EqualValues(t, 100, got.Next)
			require.EqualValues(t, 100, got.HighWatermark)
			for i, r := range got.Records {
				n := 30 + i
				require.Equal(t, Record{
					Topic: "t", Offset: int64(n), Key: []byte("key"), Value: fmt.Appendf(nil, `{"n":%d}`, n),
					Time:    time.UnixMilli(1_700_000_000_000 + int64(n%50)),
					Headers: []Header{{Key: "a", Value: []byte{byte(n % 50)}}, {Key: "b", Value: []byte{}}},
				}, r)
			}
			a, err := readFetchResponse(f.response, "t", 0)
			require.NoError(t, err)
			// For 100 records. Codecs take readers from pools, which may be empty: a few
			// allocations per batch.
			require.Less(t, testing.AllocsPerRun(100, func() { _, _, _ = f.read(a.records, 0) }), 100.0)
		})
	}
}

// TestDamagedBatches: whatever is damaged in a log, reading returns an error or what was written.
func TestDamagedBatches(t *testing.T) {
	f := clientWithRecords(t, "none").NewFetcher("t", 0)
	_, err := f.Fetch(t.Context(), 0, FetchOptions{})
	require.NoError(t, err)
	a, err := readFetchResponse(f.response, "t", 0)
	require.NoError(t, err)
	whole := bytes.Clone(a.records)
	first := 12 + (int(whole[10])<<8 | int(whole[11]))

	records, next, err := f.read(whole[:len(whole)-1], 0)
	require.NoError(t, err, "last batch cut short")
	require.Len(t, records, 50)
	require.EqualValues(t, 50, next)

	_, _, err = f.read(whole[:first-1], 0)
	require.ErrorIs(t, err, ErrBatch, "first batch cut short")

	damaged := bytes.Clone(whole)
	damaged[len(damaged)-1] ^= 4
	records, next, err = f.read(damaged, 0)
	require.NoError(t, err, "damaged batch after a whole one")
	require.Len(t, records, 50)
	require.EqualValues(t, 50, next)
	_, _, err = f.read(damaged[first:], next)
	require.ErrorIs(t, err, ErrBatch, "damaged batch at the start")

	damaged = bytes.Clone(whole)
	damaged[16] = 1
	_, _, err = f.read(damaged, 0)
	require.ErrorIs(t, err, ErrBatch)
	require.ErrorContains(t, err, "at offset 0: it is in format 1, which other consumers can read")

	for at := range first {
		damaged := bytes.Clone(whole[:first])
		damaged[at] ^= 4
		records, _, err := f.read(damaged, 0)
		// The broker sets offsets and the leader's epoch, so the checksum does not cover them.
		if at >= 8 && at < 12 || at >= 16 {
			require.Error(t, err, "byte %d", at)
			require.Empty(t, records)
		}
	}
	_, err = readFetchResponse(f.response, "u", 0)
	require.ErrorIs(t, err, errResponse)
	_, err = readFetchResponse(f.response[:40], "t", 0)
	require.Error(t, err)
}

// TestFetchAfterABrokerClosedItsConnections: the next fetch opens another connection.
func TestFetchAfterABrokerClosedItsConnections(t *testing.T) {
	c := clientWithRecords(t, "none")
	f := c.NewFetcher("t", 0)
	for range 2 {
		got, err := f.Fetch(t.Context(), 0, FetchOptions{})
		require.NoError(t, err)
		require.Len(t, got.Records, 100)
		list := c.conns.idle[f.leader]
		require.Len(t, list, 1, "connection was not returned to the pool")
		require.NoError(t, list[0].conn.Close())
	}
}

// TestUnpackingPerFetchIsBounded: not only each batch is limited, but all of a fetch
// together.
func TestUnpackingPerFetchIsBounded(t *testing.T) {
	f := clientWithRecords(t, "zstd").NewFetcher("t", 0)
	got, err := f.Fetch(t.Context(), 0, FetchOptions{})
	require.NoError(t, err)
	require.Len(t, got.Records, 100)
	defer func(n int) { unpackTarget = n }(unpackTarget)
	unpackTarget = 1
	for _, next := range []int64{50, 100} {
		got, err = f.Fetch(t.Context(), next-50, FetchOptions{})
		require.NoError(t, err)
		require.Len(t, got.Records, 50)
		require.Equal(t, next, got.Next)
	}
}

// makeBatch returns a batch whose first offset is 10 and whose last is claimed to be last, with
// records at these distances from the first, each with that many headers.
func makeBatch(last, headers int, deltas ...int64) []byte {
	var lines []byte
	for _, delta := range deltas {
		record := append(binary.AppendVarint([]byte{0, 0}, delta), 1, 1) // no key, no value
		record = binary.AppendVarint(record, int64(headers))
		record = append(record, bytes.Repeat([]byte{0, 1}, headers)...) // no name, no value
		lines = append(binary.AppendVarint(lines, int64(len(record))), record...)
	}
	be := binary.BigEndian
	b := make([]byte, batchHeaderBytes, batchHeaderBytes+len(lines))
	be.PutUint64(b, 10)
	be.PutUint32(b[8:], uint32(batchHeaderBytes-12+len(lines)))
	b[16] = 2
	be.PutUint32(b[23:], uint32(last))
	be.PutUint32(b[57:], uint32(len(deltas)))
	b = append(b, lines...)
	be.PutUint32(b[17:], crc32.Checksum(b[21:], castagnoli))
	return b
}

// TestOffsetsInABatchAreChecked: brokers check only those of the whole batch.
func TestOffsetsInABatchAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		deltas []int64
		want   error
	}{
		"all":       {[]int64{0, 1, 2}, nil},
		"compacted": {[]int64{1}, nil},
		"none":      {nil, nil},
		"twice":     {[]int64{0, 0, 2}, ErrBatch},
		"backwards": {[]int64{1, 0}, ErrBatch},
		"before":    {[]int64{-1, 0}, ErrBatch},
		"beyond":    {[]int64{0, 3}, ErrBatch},
		"far":       {[]int64{1 << 40}, ErrBatch},
	} {
		t.Run(name, func(t *testing.T) {
			var d decoder
			records, next, err := d.read(makeBatch(2, 1, c.deltas...), 0)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				require.Len(t, records, len(c.deltas))
				require.EqualValues(t, 13, next)
			}
		})
	}
}

// TestRecordsAndHeadersAreBounded: they take more memory than their bytes in the log.
func TestRecordsAndHeadersAreBounded(t *testing.T) {
	setMaxBatchBytes(t, 10_000)
	var d decoder
	_, _, err := d.read(makeBatch(0, 400, 0), 0)
	require.NoError(t, err)
	_, _, err = d.read(makeBatch(0, 600, 0), 0)
	require.ErrorIs(t, err, ErrBatchTooLarge)
	var deltas []int64
	for i := range int64(200) {
		deltas = append(deltas, i)
	}
	_, _, err = d.read(makeBatch(199, 0, deltas...), 0)
	require.ErrorIs(t, err, ErrBatchTooLarge)
}

func FuzzBatches(f *testing.F) {
	fetcher := clientWithRecords(f, "lz4").NewFetcher("t", 0)
	_, err := fetcher.Fetch(f.Context(), 0, FetchOptions{})
	require.NoError(f, err)
	f.Add(fetcher.response)
	f.Fuzz(func(_ *testing.T, b []byte) {
		d := decoder{topic: "t"}
		if a, err := readFetchResponse(b, "t", 0); err == nil {
			_, _, _ = d.read(a.records, 0)
		}
		if len(b) >= batchHeaderBytes { // as if its checksum were right
			_ = d.readBatch(b, 0, 1<<62)
		}
	})
}

// TestFetchAdaptsItsRequestSize: the decompressed size limits a reader's memory, and what is
// left to the next fetch is not requested again and again.
func TestFetchAdaptsItsRequestSize(t *testing.T) {
	c := clientWithRecords(t, "zstd")
	const batches, each = 40, 500_000 // a few hundred bytes each when compressed, so that all would fit into one answer
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: "zstd"})
	defer p.Close(t.Context())
	for range batches {
		require.NoError(t, p.Produce(t.Context(), Record{Value: bytes.Repeat([]byte("0123456789"), each/10)}))
	}
	defer func(n int) { minFetchBytes = n }(minFetchBytes)
	minFetchBytes = 1 << 10
	f := c.NewFetcher("t", 0)
	next, first, answered := int64(100), 0, 0
	for fetches := 1; next < 100+batches; fetches++ {
		got, err := f.Fetch(t.Context(), next, FetchOptions{})
		require.NoError(t, err)
		require.NotEmpty(t, got.Records)
		require.Equal(t, next, got.Records[0].Offset)
		next = got.Next
		require.LessOrEqual(t, cap(f.arena), 3*unpackTarget)
		if fetches == 1 {
			first = len(f.response)
		} else {
			answered = max(answered, len(f.response))
		}
	}
	require.Less(t, answered, first/2, "later fetches request more than they unpack")
}
