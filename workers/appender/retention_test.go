package appender

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// retainFrom simulates retention: it removes everything below the offset.
func (r *rig) retainFrom(offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logStart = offset
}

// setFetchErr makes fetches fail with err; nil makes them succeed again.
func (r *rig) setFetchErr(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fetchErr = err
}

// TestRetentionPassesTheReader: what was read and is in no entry yet exists only on the local
// disk, so it must get into the ledger. Nothing is lost except what Kafka itself deleted.
func TestRetentionPassesTheReader(t *testing.T) {
	read := []string{"a/0-2", "b/1-1"}
	for name, c := range map[string]struct {
		before func(r *rig)      // before retention passes
		after  func(r *rig) *rig // after retention has passed; nil: time passes
	}{
		"open_files": {},
		"a_fetch_fails_while_the_bounds_are_unknown": {
			before: func(r *rig) { r.boundsErr = errTest },
			after: func(r *rig) *rig {
				time.Sleep(time.Minute)
				require.Empty(r.t, r.written())
				r.mu.Lock()
				r.boundsErr = nil
				r.mu.Unlock()
				return r
			},
		},
		"staging_away": {
			before: func(r *rig) {
				back := time.Now().Add(3 * time.Hour)
				r.onRotate = func(context.Context, int) error { time.Sleep(time.Until(back)); return nil }
			},
			after: func(r *rig) *rig {
				time.Sleep(2 * time.Hour)
				require.Empty(r.t, r.written())
				require.ErrorContains(r.t, r.Ready(r.t.Context()), "out of range")
				time.Sleep(2 * time.Hour)
				return r
			},
		},
		"staging_away_and_a_restart": {
			before: func(r *rig) {
				r.onRotate = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
			},
			after: func(r *rig) *rig {
				time.Sleep(2 * time.Hour)
				r.stopAndWait()
				next := r.restarted(Config{})
				next.run()
				return next
			},
		},
		"a_restart_before_a_fetch_fails": {
			before: func(r *rig) {
				r.onRotate = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
				r.fetchErr = errTest
			},
			after: func(r *rig) *rig {
				time.Sleep(time.Hour)
				r.stopAndWait()
				next := r.restarted(Config{})
				next.run()
				return next
			},
		},
		"the_disk_fails_while_files_are_sealed": {
			before: func(r *rig) {
				// The name of the next chunk. The directory is deleted when local files are
				// resumed.
				require.NoError(r.t, os.Mkdir(filepath.Join(r.spoolsDir(), "0", "00000001.spool"), 0o700))
			},
		},
		"an_entry_that_fails": {
			before: func(r *rig) {
				failed := false
				r.onRotate = func(context.Context, int) error {
					if failed {
						return nil
					}
					failed = true
					return errTest
				}
			},
		},
		"a_kill": {
			before: func(r *rig) { r.fetchErr = errTest },
			after: func(r *rig) *rig {
				next := r.restarted(Config{})
				r.stopAndWait()
				next.run()
				return next
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToCheckpoint("a", "b", "a", "")
				r.setFetchErr(errTest)
				time.Sleep(time.Minute)
				r.produce("a", "b", "b")
				r.retainFrom(6)
				r.mu.Lock()
				r.fetchErr = nil
				if c.before != nil {
					c.before(r)
				}
				r.mu.Unlock()
				if c.after != nil {
					r = c.after(r)
				}
				time.Sleep(time.Minute)
				require.Equal(t, [][]string{read}, r.written())
				require.EqualValues(t, 4, r.head.LowWatermark, "watermark after everything read was written")
				require.ErrorIs(t, r.Ready(t.Context()), errHalted)
				require.ErrorIs(t, r.seal(), errHalted, "seal request of a halted partition")
				require.EqualValues(t, 1, r.skipped)
				r.stopAndWait()
			})
		})
	}
}

// TestRetentionPassesTheWatermark but not the reader: after a restart the local files cover
// what is gone. They are written to the ledger at once: until then every other worker is halted,
// and an operator may accept the loss.
func TestRetentionPassesTheWatermark(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(next *rig)
		want  [][]string // entries written at once; nil: the partition halts
	}{
		"local_files": {spoil: func(*rig) {}, want: [][]string{{"a/0-2", "b/1-1"}}},
		"another_owner_since": {spoil: func(next *rig) {
			next.head = claim(next.head, "w2")
			next.chain = append(next.chain, next.head)
		}},
		"a_ledger_without_their_entry": {spoil: func(next *rig) { next.chain = nil }},
		"a_journal_that_is_damaged_from_its_start": {spoil: func(next *rig) {
			next.rot(".journal", func(t *testing.T, path string, b []byte) {
				b[0] ^= 4
				require.NoError(t, os.WriteFile(path, b, 0o600))
			})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.run()
				r.produce("a", "b", "a")
				time.Sleep(time.Minute)
				r.retainFrom(2)
				r.stopAndWait()
				next := r.restarted(Config{})
				next.produce("", "a")
				c.spoil(next)
				var logged bytes.Buffer
				next.deps.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				entries := len(next.chain)
				var asked atomic.Int64
				next.onEntry = func(context.Context) error { asked.Add(1); return nil }
				next.run()
				if c.want != nil {
					require.EqualValues(t, entries, asked.Load(), "ledger entries read by the takeover")
				}
				time.Sleep(time.Minute)
				if c.want == nil {
					require.ErrorIs(t, next.Ready(t.Context()), errHalted)
					require.Len(t, next.chain, entries, "entries written by a halted partition")
				} else {
					require.NoError(t, next.Ready(t.Context()))
					require.GreaterOrEqual(t, next.head.LowWatermark, next.logStart, "watermark is still below the log's start")
				}
				require.Equal(t, c.want, next.written())
				if c.want != nil {
					require.NoError(t, next.seal())
					require.Equal(t, append(c.want, []string{"a/4-4"}), next.written())
					require.EqualValues(t, 2, next.RecordsForTesting(), "records read after the restart")
				}
				next.stopAndWait()
				require.Equal(t, c.want == nil, strings.Contains(logged.String(), "local files cannot be used"), "the halt does not say why the files are of no use, so the log must")
			})
		})
	}
}

// TestTakeoverTimeoutExcludesReadingLocalFiles: reading a day's files of all partitions from a cold
// disk may take long. What comes after it has the full time limit again.
func TestTakeoverTimeoutExcludesReadingLocalFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute)
		r.retainFrom(2)
		r.stopAndWait()
		next := r.restarted(Config{})
		wait := func(ctx context.Context, long time.Duration) error {
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), errTest)
			case <-time.After(long):
				return nil
			}
		}
		next.onEntry = func(ctx context.Context) error { return wait(ctx, time.Hour) }
		var claims atomic.Int32
		next.onAcquire = func(ctx context.Context) error {
			if claims.Add(1) > 1 {
				return nil
			}
			return wait(ctx, time.Hour)
		}
		next.run()
		time.Sleep(time.Hour + 3*time.Minute) // reading one entry takes an hour, then the claim hangs
		require.EqualValues(t, 1, claims.Load())
		require.ErrorIs(t, next.Ready(t.Context()), errTest)
		require.ErrorContains(t, next.Ready(t.Context()), "within 2m0s")
		time.Sleep(2*time.Hour + 3*time.Minute) // the next try reads the entry again
		require.EqualValues(t, 2, claims.Load())
		require.NoError(t, next.Ready(t.Context()))
		require.Equal(t, []string{"a/0-2", "b/1-1"}, next.written()[0])
		next.stopAndWait()
	})
}

// TestPartitionRevokedWhileTheLogLacksWhatWasRead: its next owner is halted, and its
// former owner writes what it read once the partition is back.
func TestPartitionRevokedWhileTheLogLacksWhatWasRead(t *testing.T) {
	for name, c := range map[string]struct {
		start  int64 // beginning of the log
		owned  bool  // another owner claims it meanwhile
		failed bool  // an earlier tenure failed, and staging has accepted no claim since
		want   [][]string
	}{
		"the_reader":           {start: 6, want: [][]string{{"a/0-2", "b/1-1"}}},
		"the_watermark":        {start: 2, want: [][]string{{"a/0-2", "b/1-1"}, {"a/3-5"}}},
		"after_a_failure":      {start: 2, failed: true, want: [][]string{{"a/0-2", "b/1-1"}, {"a/3-5"}}},
		"nothing":              {start: 0, want: [][]string{{"a/0-5", "b/1-1"}}},
		"accepted_by_an_owner": {start: 2, owned: true, want: [][]string{{"a/2-5"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				var away atomic.Bool
				away.Store(true)
				r.onRotate = func(ctx context.Context, _ int) error {
					if away.Load() {
						<-ctx.Done()
					}
					return ctx.Err()
				}
				r.run()
				r.produce("a", "b", "a")
				time.Sleep(time.Minute)
				if c.failed {
					r.mu.Lock()
					r.onRotate = func(context.Context, int) error { return errTest }
					r.onAcquire = func(context.Context) error { return errTest }
					r.mu.Unlock()
					require.ErrorIs(t, r.seal(), errTest)
				}
				r.setFetchErr(errTest)
				r.produce("a", "a", "a")
				r.retainFrom(c.start)
				time.Sleep(time.Minute) // until the bounds are known
				if readable := c.start <= 3; !readable {
					r.setFetchErr(nil) // a fetch finds out that it is gone
					time.Sleep(time.Minute)
				}
				r.assignPartitions()
				time.Sleep(2 * leftoverInterval) // later sweeps must not delete it either
				kept, err := os.ReadDir(r.spoolsDir())
				require.NoError(t, err)
				require.Len(t, kept, 1)
				away.Store(false)
				r.setFetchErr(nil)
				if c.failed {
					r.mu.Lock()
					r.onRotate, r.onAcquire = nil, nil
					r.mu.Unlock()
				}
				if c.owned {
					r.mu.Lock()
					r.head = claim(r.head, "w2")
					r.head.LowWatermark = c.start
					r.chain = append(r.chain, r.head)
					r.mu.Unlock()
				}
				r.assignPartitions(0)
				time.Sleep(time.Minute)
				if c.start <= 3 {
					require.NoError(t, r.seal())
				}
				require.Equal(t, c.want, r.written())
				r.assignPartitions()
				time.Sleep(2 * leftoverInterval)
				if c.start <= 3 {
					require.NoDirExists(t, filepath.Join(r.spoolsDir(), "0"), "local files that are in the ledger were kept")
				}
				r.stopAndWait()
			})
		})
	}
}

// TestTenureFailsWhileTheLogLacksTheWatermark: the next tenure continues with what the failed
// one read. If the log holds everything, the next one reads it again, since that frees the disk.
func TestTenureFailsWhileTheLogLacksTheWatermark(t *testing.T) {
	for name, c := range map[string]struct {
		start  int64 // beginning of the log
		reread int64
	}{
		"all":           {start: 0, reread: 5},
		"the_watermark": {start: 2, reread: 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToCheckpoint("a", "b", "a")
				r.retainFrom(c.start)
				r.produce("a", "b")
				synctest.Wait()
				failures := 1
				r.mu.Lock()
				r.onRotate = func(context.Context, int) error {
					if failures--; failures < 0 {
						return nil
					}
					return errTest
				}
				r.mu.Unlock()
				before := r.RecordsForTesting()
				require.ErrorIs(t, r.seal(), errTest)
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				require.NoError(t, r.seal())
				require.Equal(t, c.reread, r.RecordsForTesting()-before)
				require.Equal(t, 2, r.acquisitions())
				require.EqualValues(t, 5, r.head.LowWatermark)
				all := slices.Concat(r.written()...)
				if c.start > 0 {
					require.Equal(t, []string{"a/0-2", "b/1-1", "a/3-3", "b/4-4"}, all)
				} else {
					require.Equal(t, []string{"a/0-3", "b/1-4"}, all)
				}
				r.stopAndWait()
			})
		})
	}
}

// TestRetentionPassesDuringAClaim: what the log held before a claim may be gone minutes later,
// after it. The local files of a failed tenure are then the only copy.
func TestRetentionPassesDuringAClaim(t *testing.T) {
	for name, told := range map[string]bool{"bounds_told": true, "bounds_not_told": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToCheckpoint("a", "b", "a")
				r.mu.Lock()
				r.onRotate = func(context.Context, int) error {
					r.mu.Lock()
					defer r.mu.Unlock()
					r.onRotate = nil
					return errTest
				}
				r.onAcquire = func(context.Context) error {
					r.retainFrom(2)
					r.mu.Lock()
					defer r.mu.Unlock()
					r.onAcquire = nil
					if !told {
						r.boundsErr = errTest
					}
					return nil
				}
				r.mu.Unlock()
				require.ErrorIs(t, r.seal(), errTest)
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				require.Equal(t, 3, r.acquisitions(), "claims, the last after the local files were read")
				require.Equal(t, [][]string{{"a/0-2", "b/1-1"}}, r.written(), "local files were not written at once")
				r.stopAndWait()
			})
		})
	}
}

// TestTenuresFailForHours: tenures that keep failing after their claims do not use up the only
// copy.
func TestTenuresFailForHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.runToCheckpoint("a", "b", "a")
		r.retainFrom(2)
		var healed atomic.Bool
		r.mu.Lock()
		r.onRotate = func(context.Context, int) error {
			if r.acquisitions() < 1000 {
				return errTest
			}
			healed.Store(true)
			return nil
		}
		r.mu.Unlock()
		require.ErrorIs(t, r.seal(), errTest)
		time.Sleep(24 * time.Hour)
		require.True(t, healed.Load())
		require.NoError(t, r.Ready(t.Context()))
		require.Equal(t, []string{"a/0-2", "b/1-1"}, slices.Concat(r.written()...))
		r.stopAndWait()
	})
}

// TestUnreadableLocalFiles: the only copy is not given up while the disk has trouble or is damaged,
// and the partition continues with it once the disk, or a copy of it, is back.
func TestUnreadableLocalFiles(t *testing.T) {
	read := [][]string{{"a/0-2", "b/1-1"}}
	aside := func(t *testing.T, spool string) func() {
		aside := filepath.Join(t.TempDir(), "aside")
		require.NoError(t, os.Rename(spool, aside))
		require.NoError(t, os.WriteFile(spool, nil, 0o600))
		return func() {
			require.NoError(t, os.Remove(spool))
			require.NoError(t, os.Rename(aside, spool))
		}
	}
	for name, c := range map[string]struct {
		after bool // the damage happens after the claim; otherwise before it
		late  bool // retention passes during the claim
		spoil func(t *testing.T, spool string) (heal func())
		says  string // what Ready says until the disk is healed
		want  [][]string
	}{
		"trouble_of_the_disk": {
			spoil: aside,
			says:  "not a directory",
			want:  read,
		},
		"trouble_of_the_disk_after_the_claim": {
			after: true,
			spoil: aside,
			says:  "not a directory",
			want:  read,
		},
		"trouble_of_the_disk_while_retention_passes": {
			after: true,
			late:  true,
			spoil: aside,
			says:  "not a directory",
			want:  read,
		},
		"damage": {
			spoil: func(t *testing.T, spool string) func() {
				chunks, err := filepath.Glob(filepath.Join(spool, "*.spool"))
				require.NoError(t, err)
				require.NotEmpty(t, chunks)
				b, err := os.ReadFile(chunks[0])
				require.NoError(t, err)
				b[len(b)/2] ^= 1
				require.NoError(t, os.WriteFile(chunks[0], b, 0o600))
				return func() {}
			},
			says: errHalted.Error() + ": recover spool",
		},
		"damage_until_an_operator_restores_a_copy": {
			spoil: func(t *testing.T, spool string) func() {
				chunks, err := filepath.Glob(filepath.Join(spool, "*.spool"))
				require.NoError(t, err)
				require.NotEmpty(t, chunks)
				b, err := os.ReadFile(chunks[0])
				require.NoError(t, err)
				rotten := bytes.Clone(b)
				rotten[len(b)/2] ^= 1
				require.NoError(t, os.WriteFile(chunks[0], rotten, 0o600))
				return func() { require.NoError(t, os.WriteFile(chunks[0], b, 0o600)) }
			},
			says: errHalted.Error() + ": recover spool",
			want: read,
		},
		"nothing_there": {
			spoil: func(t *testing.T, spool string) func() {
				require.NoError(t, os.RemoveAll(spool))
				return func() {}
			},
			says: errHalted.Error(),
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.onRotate = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
				r.run()
				r.produce("a", "b", "a")
				synctest.Wait()
				go func() { _ = r.seal() }() // writes files into chunks
				synctest.Wait()
				if !c.late {
					r.retainFrom(2)
				}
				r.stopAndWait()
				next := r.restarted(Config{})
				spool := filepath.Join(next.spoolsDir(), "0")
				var heal func()
				if c.after {
					next.onAcquire = func(context.Context) error { // the files have been read by now
						if heal == nil {
							heal = c.spoil(t, spool)
							next.retainFrom(2)
						}
						return nil
					}
				} else {
					heal = c.spoil(t, spool)
				}
				next.run()
				time.Sleep(time.Minute)
				require.ErrorContains(t, next.Ready(t.Context()), c.says)
				heal()
				time.Sleep(time.Minute)
				require.Equal(t, c.want, next.written())
				next.stopAndWait()
			})
		})
	}
}
