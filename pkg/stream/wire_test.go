package stream

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestLargeResponseBufferIsReleased: each partition has its own buffers.
func TestLargeResponseBufferIsReleased(t *testing.T) {
	c := clientWithRecords(t, "none")
	defer func(n int) { maxKeptBytes = n }(maxKeptBytes)
	maxKeptBytes = 100_000
	p := c.NewProducer(ProducerConfig{Topic: "t"})
	defer p.Close(t.Context())
	require.NoError(t, p.Produce(t.Context(), Record{Value: make([]byte, 900_000)}))
	f := c.NewFetcher("t", 0)
	fetch := func(offset int64, records int) {
		t.Helper()
		got, err := f.Fetch(t.Context(), offset, FetchOptions{MaxBytes: 1, MaxWait: 50 * time.Millisecond})
		require.NoError(t, err)
		require.Len(t, got.Records, records)
	}
	fetch(100, 1)
	require.Greater(t, cap(f.response), 900_000)
	kept := &f.response[0]
	fetch(100, 1)
	require.Same(t, kept, &f.response[0], "the buffer was replaced while it was in use")
	fetch(101, 0)
	fetch(101, 0)
	require.Less(t, cap(f.response), maxKeptBytes)

	f.records, f.headers = make([]Record, 0, maxKeptBytes), make([]Header, 0, maxKeptBytes)
	fetch(0, 50)
	require.Less(t, cap(f.records)+cap(f.headers), 1000)
}

// TestBuffersAreReleasedAtTheLogsEnd: an appender with hundreds of partitions that caught up
// would otherwise hold gigabytes of them. Single short fetches among long ones do not count.
func TestBuffersAreReleasedAtTheLogsEnd(t *testing.T) {
	c := clientWithRecords(t, "none")
	p := c.NewProducer(ProducerConfig{Topic: "t", Compression: "zstd"})
	defer p.Close(t.Context())
	require.NoError(t, p.Produce(t.Context(), Record{Value: bytes.Repeat([]byte("0123456789"), 90_000)}))
	f := c.NewFetcher("t", 0)
	fetch := func(offset int64, records int) {
		t.Helper()
		got, err := f.Fetch(t.Context(), offset, FetchOptions{MaxWait: time.Millisecond})
		require.NoError(t, err)
		require.Len(t, got.Records, records)
	}
	fetch(100, 1)
	require.Greater(t, cap(f.arena), 900_000)
	kept := &f.arena[0]
	for range 3 {
		for range oversizedFetches {
			fetch(101, 0)
		}
		fetch(100, 1)
		require.Same(t, kept, &f.arena[0], "the buffer was replaced after a few short fetches")
	}
	for range oversizedFetches + 2 {
		fetch(101, 0)
	}
	require.LessOrEqual(t, bufferBytes(cap(f.response), cap(f.arena), cap(f.records), cap(f.headers)), idleBufferBytes)
	fetch(0, 101)
}

// TestIdleConnectionsAreClosed: also those below the one that is used again and again, and those to
// brokers that are gone.
func TestIdleConnectionsAreClosed(t *testing.T) {
	var p connPool
	defer p.close()
	idle := func(broker string) net.Conn {
		mine, theirs := net.Pipe()
		t.Cleanup(func() { _ = theirs.Close() })
		p.put(broker, &brokerConn{conn: mine})
		return theirs
	}
	open := func(theirs net.Conn) bool {
		_ = theirs.SetReadDeadline(time.Now().Add(10 * time.Millisecond)) // so that a closed connection returns an error
		_, err := theirs.Read(make([]byte, 1))
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	old, gone, young := idle("a"), idle("b"), idle("a")
	p.idle["a"][0].idleSince = time.Now().Add(-2 * maxIdle)
	p.idle["b"][0].idleSince = time.Now().Add(-2 * maxIdle)
	last := idle("a")
	require.False(t, open(old))
	require.False(t, open(gone))
	require.True(t, open(young))
	require.True(t, open(last))
	require.Len(t, p.idle, 1)
}
