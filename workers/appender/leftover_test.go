package appender

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// TestLeftoverInMemoryIsSmall: it is kept in memory as long as the files are.
func TestLeftoverInMemoryIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: time.Hour})
		r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
		r.run()
		r.produce("", "a", "")
		r.produceMessages("m", "m")
		time.Sleep(time.Minute) // until there is a checkpoint
		r.stopAndWait()
		dir := filepath.Join(r.spoolsDir(), "0")
		state, err := segment.State(t.Context(), dir)
		require.NoError(t, err)
		require.Contains(t, string(state), `"doubles":[`)
		l, err := r.readLeftover(t.Context(), ledger.Log{Topic: r.cfg.Topic}, dir)
		require.NoError(t, err)
		require.EqualValues(t, 5, l.Position)
		require.Empty(t, l.Skipped)
		require.Empty(t, l.Duplicates)
	})
}

// TestLeftoversAreKeptUntilAnotherOwnerWrites: also across a restart after which the partition is
// not ours. If retention has passed, the files are the only copy, and the next owner is halted
// without them.
func TestLeftoversAreKeptUntilAnotherOwnerWrites(t *testing.T) {
	for name, c := range map[string]struct {
		start int64 // beginning of the log
		owned bool  // whether another owner writes to the ledger
		want  []string
	}{
		"the_log_holds_all":       {0, false, []string{"a/0-2", "b/1-1"}},
		"the_only_copy":           {2, false, []string{"a/0-2", "b/1-1"}},
		"another_owner_has_it":    {0, true, nil},
		"another_accepted_a_loss": {2, true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := newRig(t, Config{})
				first.run()
				first.produce("a", "b", "a")
				time.Sleep(time.Minute)
				first.stopAndWait()
				r := first.restarted(Config{})
				ctx, stop := context.WithCancel(t.Context())
				r.stop = stop
				go func() { r.ended <- r.Run(ctx) }()
				r.assignPartitions(1) // not partition 0
				r.retainFrom(c.start)
				time.Sleep(45 * time.Minute)
				spool := filepath.Join(r.spoolsDir(), "0")
				require.DirExists(t, spool)
				if c.owned {
					r.mu.Lock()
					r.head = claim(r.head, "w2")
					r.chain = append(r.chain, r.head)
					r.mu.Unlock()
					time.Sleep(2 * leftoverInterval)
					require.NoDirExists(t, spool)
				} else {
					r.assignPartitions()
					r.assignPartitions(0)
					time.Sleep(time.Minute)
					require.NoError(t, r.seal())
					require.Equal(t, c.want, slices.Concat(r.written()...))
				}
				r.stopAndWait()
			})
		})
	}
}

// TestLeftoverIsReadAgainAfterAnAssignment: a partition that was ours between two sweeps has read
// further, so an entry that covers the files it left before does not cover its present ones.
func TestLeftoverIsReadAgainAfterAnAssignment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.runToCheckpoint("a", "b", "a")
		var asked atomic.Int64
		told := make(chan struct{})
		r.mu.Lock()
		r.onEntry = func(context.Context) error {
			if asked.Add(1) == 1 { // the call of the sweep
				<-told
			}
			return nil
		}
		r.mu.Unlock()
		r.assignPartitions(1)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, asked.Load())
		r.assignPartitions(0)
		synctest.Wait()
		require.NoError(t, r.seal())
		r.produce("b")
		time.Sleep(time.Minute)
		r.assignPartitions(1)
		close(told)
		time.Sleep(2 * leftoverInterval)
		require.DirExists(t, filepath.Join(r.spoolsDir(), "0"))
		r.stopAndWait()
	})
}

// TestDeletingBlocksNoAssignment: deleting a day's chunks takes minutes. Neither the next
// assignment nor a stop waits for it, and a later sweep deletes what a stop left.
func TestDeletingBlocksNoAssignment(t *testing.T) {
	for hazard, dir := range map[string]func(r *rig) string{
		"local_files":         func(r *rig) string { return filepath.Join(r.spoolsDir(), "0") },
		"remembered_messages": func(r *rig) string { return filepath.Join(r.storesDir(), "0") },
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				defer func() { unlink = os.Remove }()
				unlink = func(path string) error {
					time.Sleep(time.Minute)
					return os.Remove(path)
				}
				cfg := Config{DedupWindow: time.Hour}
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				parent := filepath.Dir(dir(r))
				require.NoError(t, os.MkdirAll(dir(r), 0o700))
				for i := range 100 {
					require.NoError(t, os.WriteFile(filepath.Join(dir(r), strconv.Itoa(i)), nil, 0o600))
				}
				old := time.Now().Add(-2 * time.Hour)
				require.NoError(t, os.Chtimes(dir(r), old, old))
				ctx, stop := context.WithCancel(t.Context())
				r.stop = stop
				go func() { r.ended <- r.Run(ctx) }()
				r.assignPartitions(1)
				time.Sleep(5 * time.Minute)
				require.NoDirExists(t, dir(r))
				left, err := os.ReadDir(parent)
				require.NoError(t, err)
				require.NotEmpty(t, left, "deletion has not begun, or is over")

				begun := time.Now()
				r.assignPartitions(0) // assigned again
				r.produce("a")
				time.Sleep(time.Second)
				require.NoError(t, r.seal())
				require.Less(t, time.Since(begun), 10*time.Second)
				require.LessOrEqual(t, r.stopAndWait(), time.Minute)

				next := r.restarted(cfg)
				next.run()
				time.Sleep(3 * time.Hour)
				require.DirExists(t, dir(next), "directory of an assigned partition was deleted")
				left, err = os.ReadDir(filepath.Dir(dir(next)))
				require.NoError(t, err)
				for _, d := range left {
					require.Len(t, d.Name(), 1, "directory is not named by a partition number")
				}
				next.stopAndWait()
			})
		})
	}
}

// TestSweepAsksAFailingLedgerOnce: while the ledger is down, a sweep asks it once, not for every
// partition with leftover files; and nothing else waits for a sweep.
func TestSweepAsksAFailingLedgerOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.runToCheckpoint("a", "b", "a")
		spool := filepath.Join(r.spoolsDir(), "0")
		for _, n := range []string{"1", "2"} {
			require.NoError(t, os.CopyFS(filepath.Join(r.spoolsDir(), n), os.DirFS(spool)))
		}
		var asked atomic.Int64
		r.mu.Lock()
		r.onEntry = func(ctx context.Context) error {
			asked.Add(1)
			<-ctx.Done() // until the worker stops
			return ctx.Err()
		}
		r.mu.Unlock()
		r.assignPartitions(0)
		r.setFetchErr(errTest)
		r.produce("a")
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, asked.Load())
		require.EqualValues(t, 1, lag(r.Appender))
		r.mu.Lock()
		r.onEntry = func(context.Context) error { asked.Add(1); return errTest }
		r.mu.Unlock()
		r.stopAndWait()
		require.EqualValues(t, 1, asked.Load())

		asked.Store(0)
		ctx, stop := context.WithCancel(t.Context())
		next := r.restarted(Config{})
		next.onEntry = func(context.Context) error { asked.Add(1); return errTest }
		next.stop = stop
		go func() { next.ended <- next.Run(ctx) }()
		next.assignPartitions()
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, asked.Load())
		next.stopAndWait()
	})
}

// TestSweepContinuesWhereTheLastOneEnded: a leftover whose chain nobody writes to any more is
// checked every minute, indefinitely, so a sweep reads only entries that the last one has not seen.
func TestSweepContinuesWhereTheLastOneEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.runToCheckpoint("a", "b", "a")
		r.stopAndWait()
		next := r.restarted(Config{Incarnation: "2"})
		chain := next.chain
		for range 100 {
			chain = covers("w", 0)(chain)
		}
		log := ledger.Log{Topic: r.cfg.Topic, Incarnation: r.cfg.Incarnation}
		next.chains = map[ledger.Log][]*ledger.Entry{log: chain}
		next.chain, next.head = nil, entry(0)
		var asked atomic.Int64
		next.onEntry = func(context.Context) error { asked.Add(1); return nil }
		next.run()
		time.Sleep(time.Minute)
		require.Greater(t, asked.Load(), int64(100))
		asked.Store(0)
		time.Sleep(time.Hour)
		require.Positive(t, asked.Load())
		require.LessOrEqual(t, asked.Load(), int64(time.Hour/leftoverInterval))
		next.mu.Lock()
		next.chains[log] = covers("w", 3)(chain)
		next.mu.Unlock()
		time.Sleep(2 * leftoverInterval)
		require.NoDirExists(t, filepath.Join(next.cfg.DataDir, spoolDir, log.Topic, log.Incarnation, "0"))
		next.stopAndWait()
	})
}

// ofALaterRelease makes a file of local files one that a later release might have written: its first
// frame is whole, and has a higher format.
func ofALaterRelease(t *testing.T, path string, b []byte) {
	size := 92 + int(b[13]) + int(b[14]) + int(binary.LittleEndian.Uint32(b[8:]))
	b[15]++
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b[8:size], crc32.MakeTable(crc32.Castagnoli)))
	require.NoError(t, os.WriteFile(path, b, 0o600))
}

// contents returns what is in the files below dir, by their paths.
func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, dir)] = string(b)
		return err
	}))
	return all
}

// TestLocalFilesOfALaterRelease: an appender that cannot read them does not start, whosever the
// partition is. It leaves all of them as they are, so that the later release can continue with
// them, although Kafka has lost the records.
func TestLocalFilesOfALaterRelease(t *testing.T) {
	for name, c := range map[string]struct {
		ext         string
		incarnation string // of the older appender
	}{
		"a_journal":              {ext: ".journal"},
		"a_chunk":                {ext: ".spool"},
		"of_another_incarnation": {ext: ".journal", incarnation: "2"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToChunk()
				r.stopAndWait()
				r.retainFrom(2)

				goForward := r.rot(c.ext, ofALaterRelease)
				older := r.restarted(Config{Incarnation: c.incarnation})
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := older.Run(ctx)
				require.ErrorContains(t, err, "a later release wrote local files")
				require.ErrorContains(t, err, filepath.Join(older.cfg.DataDir, spoolDir, r.cfg.Topic, r.cfg.Incarnation, "0"))
				require.ErrorContains(t, err, c.ext+`"; run that release again`)
				require.Equal(t, contents(t, filepath.Join(r.cfg.DataDir, spoolDir)), contents(t, filepath.Join(older.cfg.DataDir, spoolDir)))

				goForward()
				later := r.restarted(Config{})
				later.run()
				time.Sleep(time.Minute)
				require.NoError(t, later.seal())
				require.Equal(t, []string{"a/0-2", "b/1-1", "c/3-3"}, slices.Concat(later.written()...))
				later.stopAndWait()
			})
		})
	}
}

// TestNotOfALaterRelease: neither damage nor files that are being deleted keep an appender from
// starting.
func TestNotOfALaterRelease(t *testing.T) {
	for name, spoil := range map[string]func(r *rig){
		"a_rotten_format": func(r *rig) {
			r.rot(".journal", func(t *testing.T, path string, b []byte) {
				b[15] ^= 4
				require.NoError(t, os.WriteFile(path, b, 0o600))
			})
		},
		"half_deleted": func(r *rig) {
			r.rot(".journal", ofALaterRelease)
			require.NoError(r.t, os.Rename(filepath.Join(r.spoolsDir(), "0"), filepath.Join(r.spoolsDir(), "0.18a5")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToCheckpoint("a", "b", "a")
				r.stopAndWait()
				spoil(r)
				next := r.restarted(Config{})
				next.run()
				time.Sleep(time.Minute)
				require.NoError(t, next.seal())
				require.Equal(t, []string{"a/0-2", "b/1-1"}, slices.Concat(next.written()...))
				require.EqualValues(t, 3, next.RecordsForTesting(), "records read again")
				left, err := os.ReadDir(next.spoolsDir())
				require.NoError(t, err)
				require.Len(t, left, 1)
				next.stopAndWait()
			})
		})
	}
}
