package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/flock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	discardLog = slog.New(slog.DiscardHandler)
	startTime  = time.UnixMilli(1_795_305_600_000)
)

func open(t testing.TB, cfg Config, log *slog.Logger) *Spool {
	t.Helper()
	if cfg.MaxBytes == 0 {
		cfg.MaxBytes = 64 << 20
	}
	s, err := Open(cfg, log)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func entry(i int) Entry {
	return Entry{Time: startTime.Add(time.Duration(i) * time.Second), Records: i%3 + 1, Payload: []byte(fmt.Sprintf("entry %d of a spool", i))}
}

func appendAll(t testing.TB, s *Spool, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		require.NoError(t, s.Append(entry(i)))
	}
}

// drain reads and delivers everything, about max bytes at a time.
func drain(t testing.TB, s *Spool, max int64) (out []Entry) {
	t.Helper()
	now, cancel := context.WithCancel(t.Context())
	cancel()
	for {
		entries, err := s.Read(now, max)
		if err != nil {
			require.ErrorIs(t, err, context.Canceled)
			return out
		}
		for _, e := range entries {
			e.Payload = bytes.Clone(e.Payload)
			out = append(out, e)
		}
		s.MarkDelivered(nil)
	}
}

func requireEntries(t testing.TB, got []Entry, want ...int) {
	t.Helper()
	require.Len(t, got, len(want))
	for k, i := range want {
		got[k].Recovered = false
		require.Equal(t, entry(i), got[k])
	}
}

func upTo(n int) (all []int) {
	for i := range n {
		all = append(all, i)
	}
	return all
}

func segments(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
	require.NoError(t, err)
	return paths
}

func TestEntriesAreReadInOrderAndRemoved(t *testing.T) {
	for name, max := range map[string]int64{"one_by_one": 1, "some": 100, "all": 1 << 20} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			s := open(t, Config{Dir: dir, SegmentBytes: 500}, discardLog)
			require.True(t, s.Empty())
			appendAll(t, s, 0, 100)
			require.False(t, s.Empty())
			require.Greater(t, len(segments(t, dir)), 5)
			st := s.Stats()
			require.EqualValues(t, 199, st.Records)
			require.Equal(t, startTime, st.Oldest)
			requireEntries(t, drain(t, s, max), upTo(100)...)
			require.True(t, s.Empty())
			require.Equal(t, Stats{MaxBytes: s.cfg.MaxBytes}, s.Stats())
			require.Empty(t, segments(t, dir))
			appendAll(t, s, 100, 101)
			requireEntries(t, drain(t, s, max), 100)
		})
	}
}

// TestUndeliveredEntriesSurviveARestart: after a restart, undelivered entries are returned again,
// and so are the delivered ones of a partly delivered segment.
func TestUndeliveredEntriesSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, SegmentBytes: 500}, discardLog)
	appendAll(t, s, 0, 50)
	for range 20 {
		_, err := s.Read(t.Context(), 1)
		require.NoError(t, err)
		s.MarkDelivered(nil)
	}
	first, err := s.Read(t.Context(), 1)
	require.NoError(t, err)
	requireEntries(t, first, 20)
	again, err := s.Read(t.Context(), 1)
	require.NoError(t, err)
	requireEntries(t, again, 20)
	require.Equal(t, entry(20).Time, s.Stats().Oldest)
	require.NoError(t, s.Close())

	s = open(t, Config{Dir: dir, SegmentBytes: 500}, discardLog)
	require.False(t, s.Empty())
	appendAll(t, s, 50, 60)
	got := drain(t, s, 1)
	twice := 60 - len(got)
	require.LessOrEqual(t, twice, 20)
	require.Greater(t, twice, 20-12, "more than a segment was returned again")
	requireEntries(t, got, upTo(60)[twice:]...)
}

func TestAppendReturnsAfterItsFsync(t *testing.T) {
	s := open(t, Config{Dir: t.TempDir()}, discardLog)
	var synced, returned atomic.Int64
	gate, entered := make(chan struct{}), make(chan struct{}, 1000)
	s.fsync = func(f *os.File) error {
		entered <- struct{}{}
		<-gate
		synced.Add(1)
		return f.Sync()
	}
	var appends sync.WaitGroup
	for i := range 100 {
		appends.Go(func() {
			if err := s.Append(entry(i)); err != nil {
				t.Error(err)
			}
			returned.Add(1)
		})
	}
	<-entered
	require.Eventually(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.undelivered.Load() == 100 }, 10*time.Second, time.Millisecond)
	require.Zero(t, returned.Load())
	now, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := s.Read(now, 1)
	require.ErrorIs(t, err, context.Canceled, "an entry was returned before its fsync")
	require.False(t, s.Empty())
	close(gate)
	appends.Wait()
	require.LessOrEqual(t, synced.Load(), int64(100/10), "concurrent appends do not share fsyncs")
	require.Len(t, drain(t, s, 1<<20), 100)
}

func TestFailedAppendsAreNeverRead(t *testing.T) {
	broken := errors.New("no space left on device")
	for hazard, before := range map[string]int{"new_segment": 0, "later": 3} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, Config{Dir: dir}, discardLog)
			appendAll(t, s, 0, before)
			s.fsync = func(*os.File) error { return broken }
			for i := range 3 {
				require.ErrorIs(t, s.Append(entry(100+i)), broken)
			}
			require.Equal(t, before == 0, s.Empty())
			require.LessOrEqual(t, len(segments(t, dir)), 1)
			s.fsync = (*os.File).Sync
			appendAll(t, s, before, before+2)
			require.NoError(t, s.Close())
			var logged bytes.Buffer
			s = open(t, Config{Dir: dir}, slog.New(slog.NewTextHandler(&logged, nil)))
			requireEntries(t, drain(t, s, 1), upTo(before+2)...)
			require.Empty(t, logged.String())
			require.Zero(t, s.Stats().Bytes)
		})
	}
}

func TestFullSpool(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, MaxBytes: 4000, SegmentBytes: 500}, discardLog)
	n := 0
	for ; ; n++ {
		err := s.Append(entry(n))
		if errors.Is(err, ErrFull) {
			break
		}
		require.NoError(t, err)
	}
	require.Greater(t, n, 60)
	require.True(t, s.Stats().Full)
	var size int64
	for _, path := range segments(t, dir) {
		info, err := os.Stat(path)
		require.NoError(t, err)
		size += info.Size()
	}
	require.Equal(t, s.Stats().Bytes, size)
	require.LessOrEqual(t, size, int64(4000))
	_, err := s.Read(t.Context(), 700) // more than the first segment holds
	require.NoError(t, err)
	s.MarkDelivered(nil)
	require.NoError(t, s.Append(entry(n)), "append after entries were delivered")
	require.Len(t, drain(t, s, 1<<20), n+1-11)
	require.ErrorContains(t, s.Append(Entry{Payload: make([]byte, MaxPayload+1)}), "at most")
}

func TestSpoolDirectoryBelongsToOneProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir}, discardLog)
	_, err := Open(Config{Dir: dir, MaxBytes: 1 << 20}, discardLog)
	require.ErrorIs(t, err, flock.ErrHeld)
	require.NoError(t, s.Close())
	require.NoError(t, s.Close(), "second Close")
	require.ErrorIs(t, s.Append(entry(0)), ErrClosed)
	open(t, Config{Dir: dir}, discardLog)
}

func TestOpenErrorsNameThePath(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "x.spool"), nil, 0o600))
	_, err := Open(Config{Dir: dir, MaxBytes: 1 << 20}, discardLog)
	require.ErrorContains(t, err, "x.spool")
	_, err = Open(Config{Dir: filepath.Join(dir, "x.spool", "y"), MaxBytes: 1 << 20}, discardLog)
	require.ErrorContains(t, err, "not a directory")
}

// TestConcurrentAppendAndRead: each writer's entries arrive in its order, once, while
// segments come and go, and Empty is never true while an acknowledged entry waits.
func TestConcurrentAppendAndRead(t *testing.T) {
	const writers, each = 8, 300
	dir := t.TempDir()
	s := open(t, Config{Dir: dir, SegmentBytes: 2000}, discardLog)
	s.fsync = func(*os.File) error { return nil } // for speed
	var acknowledged, delivered atomic.Int64
	var appending sync.WaitGroup
	for w := range writers {
		appending.Go(func() {
			for i := range each {
				if err := s.Append(Entry{Records: 1, Payload: []byte(fmt.Sprintf("%d %d", w, i))}); err != nil {
					t.Error(err)
					return
				}
				acknowledged.Add(1)
			}
		})
	}
	next := make([]int, writers)
	for total := 0; total < writers*each; {
		if was := acknowledged.Load(); was > delivered.Load() && s.Empty() {
			t.Fatal("Empty while an acknowledged entry is undelivered")
		}
		entries, err := s.Read(t.Context(), 200)
		require.NoError(t, err)
		for _, e := range entries {
			var w, i int
			_, err := fmt.Sscanf(string(e.Payload), "%d %d", &w, &i)
			require.NoError(t, err)
			require.Equal(t, next[w], i)
			next[w]++
		}
		total += len(entries)
		delivered.Add(int64(len(entries)))
		s.MarkDelivered(nil)
	}
	appending.Wait()
	require.True(t, s.Empty())
	require.Empty(t, drain(t, s, 1))
	require.Empty(t, segments(t, dir))
}

func BenchmarkAppend(b *testing.B) {
	for _, parallel := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", parallel), func(b *testing.B) {
			s, err := Open(Config{Dir: b.TempDir(), MaxBytes: 1 << 40}, discardLog)
			require.NoError(b, err)
			defer s.Close()
			e := Entry{Payload: []byte(strings.Repeat("x", 2000))}
			b.SetParallelism(parallel)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := s.Append(e); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
