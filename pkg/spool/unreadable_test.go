package spool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// failingDisk fails a number of times to return a range of a file.
type failingDisk struct {
	from, to int64
	path     string
	times    int
}

const always = 1 << 30

func (d *failingDisk) readAt(f *os.File, b []byte, off int64) (int, error) {
	if d.times == 0 || f.Name() != d.path || off >= d.to || off+int64(len(b)) <= d.from {
		return f.ReadAt(b, off)
	}
	d.times--
	n, _ := f.ReadAt(b[:max(0, d.from-off)], off)
	return n, &os.PathError{Op: "read", Path: d.path, Err: syscall.EIO}
}

// largeEntry returns an entry so large that only a few fit a page.
func largeEntry(i int) Entry {
	e := entry(i)
	e.Payload = bytes.Repeat(e.Payload, 50) // about 900 bytes
	return e
}

// digests returns a short form of entries.
func digests(entries []Entry) (all []string) {
	for _, e := range entries {
		all = append(all, fmt.Sprint(e.Time.Sub(startTime), e.Records, len(e.Payload), checksum(e.Payload)))
	}
	return all
}

// drainWithRetries drains s like drained, and retries as often as callers should.
func drainWithRetries(t *testing.T, s *Spool) (out []Entry, failures int) {
	t.Helper()
	now, cancel := context.WithCancel(t.Context())
	cancel()
	for failures < 100 {
		entries, err := s.Read(now, 1)
		switch {
		case errors.Is(err, context.Canceled):
			return out, failures
		case err != nil:
			failures++
			continue
		}
		require.False(t, s.Empty())
		for _, e := range entries {
			e.Payload = bytes.Clone(e.Payload)
			out = append(out, e)
		}
		s.MarkDelivered(nil)
		require.GreaterOrEqual(t, s.Stats().Records, int64(0))
	}
	t.Fatal("unreadable pages block the entries behind them")
	return nil, 0
}

// TestUnreadablePagesAreSkipped: unreadable pages block neither the next start nor what
// comes after them, and are not given up after only a few failures.
func TestUnreadablePagesAreSkipped(t *testing.T) {
	const each = 20
	made := t.TempDir()
	s := open(t, Config{Dir: made}, discardLog)
	begins := []int64{int64(headerBytes)}
	for i := range each {
		require.NoError(t, s.Append(largeEntry(i)))
		begins = append(begins, begins[i]+int64(frameHeader+len(largeEntry(i).Payload)))
	}
	require.NoError(t, s.Close())
	content, err := os.ReadFile(segments(t, made)[0])
	require.NoError(t, err)
	tail, _ := segmentContent(t, 1)
	end := int64(len(content)) &^ (pageBytes - 1)

	for hazard, bad := range map[string]struct {
		failingDisk
		first int64 // of the damaged page
		lost  bool
	}{
		"a_page":              {failingDisk{from: 8192, to: 8200, times: always}, 8192, true},
		"the_header":          {failingDisk{from: 0, to: 1, times: always}, 0, true},
		"the_end":             {failingDisk{from: end, to: end + 1, times: always}, end, true},
		"a_page_once":         {failingDisk{from: 8192, to: 8200, times: 1}, 0, false},
		"the_header_once":     {failingDisk{from: 0, to: 1, times: 1}, 0, false},
		"the_header_3_times":  {failingDisk{from: 0, to: 20, times: 3}, 0, false},
		"everything":          {failingDisk{from: 0, to: 1 << 30, times: always}, 0, true},
		"everything_for_once": {failingDisk{from: 0, to: 1 << 30, times: 6}, 0, false},
		"the_end_a_few_times": {failingDisk{from: end, to: end + 1, times: 5}, 0, false},
	} {
		for when, atRest := range map[string]bool{"at_start": true, "while_open": false} {
			for where, last := range map[string]bool{"last": true, "before_others": false} {
				t.Run(hazard+"/"+when+"/"+where, func(t *testing.T) {
					dir := t.TempDir()
					path := placeSegment(t, dir, 7, content)
					if !last {
						placeSegment(t, dir, 8, tail)
					}
					d := bad.failingDisk
					d.path = path
					if !atRest {
						d.times = 0
					}
					var logged bytes.Buffer
					s := open(t, Config{Dir: dir, readAt: d.readAt}, slog.New(slog.NewTextHandler(&logged, nil)))
					if !atRest {
						d.times = bad.times
					}
					require.False(t, s.Empty(), "unreadable entries do not count as undelivered")
					got, failures := drainWithRetries(t, s)
					var want []Entry
					for i := range each {
						from, to := bad.first, bad.first+pageBytes
						if hazard == "the_header" || hazard == "everything" {
							to = 1 << 30
						}
						if !bad.lost || begins[i+1] <= from || begins[i] >= to {
							want = append(want, largeEntry(i))
						}
					}
					if !last {
						want = append(want, entry(0))
					}
					require.Equal(t, digests(want), digests(got))
					require.True(t, s.Empty())
					require.Zero(t, s.Stats().Records)
					require.Zero(t, s.Stats().Bytes)
					require.Empty(t, segments(t, dir))
					if !bad.lost {
						require.Zero(t, s.Stats().Damages, logged.String())
						return
					}
					require.Greater(t, failures, 3)
					require.EqualValues(t, 1, s.Stats().Damages, logged.String())
					kept, err := os.ReadFile(filepath.Join(dir, "damaged", filepath.Base(path)))
					require.NoError(t, err)
					require.Equal(t, content, kept, "the segment that was set aside is not complete")
				})
			}
		}
	}
}

// TestSegmentMovedAwayWhileOpen: a segment can be moved away without a restart.
func TestSegmentMovedAwayWhileOpen(t *testing.T) {
	content, _ := segmentContent(t, 2)
	dir := t.TempDir()
	path := placeSegment(t, dir, 7, content)
	placeSegment(t, dir, 8, content)
	s := open(t, Config{Dir: dir}, discardLog)
	require.NoError(t, os.Remove(path))
	got, _ := drainWithRetries(t, s)
	requireEntries(t, got, 0, 1)
	require.True(t, s.Empty())
	require.EqualValues(t, 1, s.Stats().Damages)
}

// TestFileThatCannotBeOpenedIsRetriedForever: the cause may be in the process, such as too many
// open files.
func TestFileThatCannotBeOpenedIsRetriedForever(t *testing.T) {
	content, _ := segmentContent(t, 2)
	dir := t.TempDir()
	path := placeSegment(t, dir, 7, content)
	s := open(t, Config{Dir: dir}, discardLog)
	require.NoError(t, os.Rename(path, path+"x"))
	require.NoError(t, os.Symlink(path, path)) // ELOOP
	for range 100 {
		_, err := s.Read(t.Context(), 1)
		require.ErrorIs(t, err, syscall.ELOOP)
		require.ErrorContains(t, err, path)
	}
	require.False(t, s.Empty())
	require.NoError(t, os.Rename(path+"x", path))
	requireEntries(t, drain(t, s, 1), 0, 1)
	require.Zero(t, s.Stats().Damages)
}
