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
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/segment"
)

// rot damages all files of partition 0's spool that have the extension, and returns what undoes it.
func (r *rig) rot(ext string, damage func(t *testing.T, path string, intact []byte)) (heal func()) {
	paths, err := filepath.Glob(filepath.Join(r.spoolsDir(), "0", "*"+ext))
	require.NoError(r.t, err)
	require.NotEmpty(r.t, paths)
	intact := map[string][]byte{}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		require.NoError(r.t, err)
		intact[path] = bytes.Clone(b)
		damage(r.t, path, b)
	}
	return func() {
		for path, b := range intact {
			require.NoError(r.t, os.RemoveAll(path))
			require.NoError(r.t, os.WriteFile(path, b, 0o600))
		}
	}
}

// damages are what a disk does to a file, as those see it who have it open, and those who open it.
var damages = map[string]func(t *testing.T, path string, intact []byte){
	"flipped": func(t *testing.T, path string, b []byte) { // near the end, in what was written last
		b[len(b)-3] ^= 4
		require.NoError(t, os.WriteFile(path, b, 0o600))
	},
	"unreadable": func(t *testing.T, path string, _ []byte) { // reading, or opening, is an error, as on a bad sector
		require.NoError(t, os.Truncate(path, 0))
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Symlink(path, path))
	},
}

// damagesCounted returns the value of the metric.
func (r *rig) damagesCounted() float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.metrics.damages)
	families, err := registry.Gather()
	require.NoError(r.t, err)
	return families[0].GetMetric()[0].GetCounter().GetValue()
}

// stagingAway makes entries wait until the returned function is called.
func (r *rig) stagingAway() (back func()) {
	released := make(chan struct{})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.onRotate = func(ctx context.Context, _ int) error {
		select {
		case <-released:
		case <-ctx.Done():
		}
		return ctx.Err()
	}
	return func() { close(released) }
}

// TestRottenFilesAreReadAgain: whichever local files rot, and whenever that is noticed, the
// partition goes on by itself. It reads again what is not in the ledger, and nothing else, and
// nothing that the ledger has is cut again.
func TestRottenFilesAreReadAgain(t *testing.T) {
	for when, c := range map[string]struct {
		ext     string
		restart bool
		reread  map[string]int64
		counted map[string]float64
	}{
		"a_chunk_while_staging_is_away": {
			ext: ".spool", reread: map[string]int64{"flipped": 4, "unreadable": 4}, counted: map[string]float64{"flipped": 1, "unreadable": 1},
		},
		"a_chunk_before_a_restart": {
			ext: ".spool", restart: true, reread: map[string]int64{"flipped": 4, "unreadable": 4}, counted: map[string]float64{"flipped": 1, "unreadable": 1},
		},
		"a_journal_before_a_restart": { // after a flipped bit, the checkpoint before that is used
			ext: ".journal", restart: true, reread: map[string]int64{"flipped": 1, "unreadable": 4}, counted: map[string]float64{"unreadable": 1},
		},
	} {
		for damage, spoil := range damages {
			t.Run(when+"/"+damage, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					var logged bytes.Buffer
					r.deps.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
					r.run()
					r.produce("a", "b")
					require.NoError(t, r.seal()) // these are in the ledger
					r.produce("a", "b", "a")
					time.Sleep(time.Minute) // until there is a checkpoint
					back := r.stagingAway()
					go func() { _ = r.seal() }() // writes the files into a chunk
					synctest.Wait()
					r.produce("c")
					time.Sleep(time.Minute / 2) // until there is a checkpoint with that chunk
					read := r.RecordsForTesting()
					if c.restart {
						r.stopAndWait()
						r, read = r.restarted(Config{}), 0
						r.rot(c.ext, spoil)
						r.run()
					} else {
						r.rot(c.ext, spoil)
						back()
					}
					time.Sleep(10 * time.Second)
					require.NoError(t, r.Ready(t.Context()))
					require.NoError(t, r.seal())
					require.Equal(t, []string{"a/0-0", "b/1-1", "a/2-4", "b/3-3", "c/5-5"}, slices.Concat(r.written()...))
					require.Equal(t, c.reread[damage], r.RecordsForTesting()-read, "records read again")
					require.Equal(t, c.counted[damage], r.damagesCounted())
					r.stopAndWait()
					require.Equal(t, !c.restart, strings.Contains(logged.String(), "spool is damaged"))
				})
			})
		}
	}
}

// TestRottenFilesThatTheLogHasLost: they are not dropped, since the intact ones among them exist
// nowhere else. The partition stands still, writes no claims, and says what there is to choose from.
func TestRottenFilesThatTheLogHasLost(t *testing.T) {
	says := map[string]string{"flipped": "spool is damaged", "unreadable": "repair it, or accept the loss (sealift ledger accept-loss --partition 0)"}
	for choice, c := range map[string]struct {
		make func(r *rig, heal func())
		want []string
	}{
		"an_intact_copy": {
			make: func(_ *rig, heal func()) { heal() },
			want: []string{"a/0-2", "b/1-1", "c/3-3"},
		},
		"the_loss": {
			make: func(r *rig, _ func()) {
				r.mu.Lock()
				defer r.mu.Unlock()
				r.head = claim(r.head, "operator")
				r.head.LowWatermark = r.logStart
				r.chain = append(r.chain, r.head)
			},
			want: []string{"a/2-2", "c/3-3"},
		},
	} {
		for damage, spoil := range damages {
			t.Run(choice+"/"+damage, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					back := r.runToChunk()
					r.retainFrom(2)
					heal := r.rot(".spool", spoil)
					back()
					time.Sleep(time.Hour)
					require.ErrorContains(t, r.Ready(t.Context()), says[damage])
					require.True(t, r.inTrouble())
					require.Empty(t, r.written())
					require.Equal(t, 1, r.acquisitions(), "claims, of which the last stays the head")
					require.EqualValues(t, 1, r.damagesCounted())
					c.make(r, heal)
					time.Sleep(time.Minute)
					require.NoError(t, r.Ready(t.Context()))
					require.NoError(t, r.seal())
					require.Equal(t, c.want, slices.Concat(r.written()...))
					r.stopAndWait()
				})
			})
		}
	}
}

// TestJournalRotsDuringAClaim: lines that the log has lost rot after the takeover has checked them,
// and before it loads them. Neither are they filed as they are, nor is the only copy dropped.
func TestJournalRotsDuringAClaim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.runToCheckpoint("a", "b", "a")
		r.retainFrom(2)
		r.stopAndWait()
		next := r.restarted(Config{})
		var heal func()
		next.onAcquire = func(context.Context) error {
			if heal == nil {
				heal = next.rot(".journal", func(t *testing.T, path string, b []byte) {
					b[bytes.IndexByte(b, '{')] ^= 4 // of the first line
					require.NoError(t, os.WriteFile(path, b, 0o600))
				})
			}
			return nil
		}
		next.run()
		time.Sleep(time.Minute)
		require.Error(t, next.Ready(t.Context()))
		require.Empty(t, next.written())
		require.EqualValues(t, 1, next.damagesCounted())
		heal()
		time.Sleep(time.Minute)
		require.NoError(t, next.Ready(t.Context()))
		require.Equal(t, [][]string{{"a/0-2", "b/1-1"}}, next.written())
		next.stopAndWait()
	})
}

// TestJournalRotsWhileTheChainIsChecked: lines that the log still has rot after they were checked,
// and before they are loaded. They are read again, and the damage counts like any other.
func TestJournalRotsWhileTheChainIsChecked(t *testing.T) {
	for damage, spoil := range map[string]func(t *testing.T, path string, b []byte){
		"flipped": func(t *testing.T, path string, b []byte) {
			b[bytes.IndexByte(b, '{')] ^= 4 // of the first line
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
		"unreadable": func(t *testing.T, path string, _ []byte) { require.NoError(t, os.Truncate(path, 0)) },
	} {
		t.Run(damage, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.runToCheckpoint("a", "b", "a")
				r.stopAndWait()
				next := r.restarted(Config{})
				var once sync.Once
				next.onEntry = func(context.Context) error {
					once.Do(func() { next.rot(".journal", spoil) })
					return nil
				}
				next.run()
				time.Sleep(time.Minute)
				require.NoError(t, next.Ready(t.Context()))
				require.NoError(t, next.seal())
				require.Equal(t, [][]string{{"a/0-2", "b/1-1"}}, next.written())
				require.EqualValues(t, 3, next.RecordsForTesting(), "records read again")
				require.EqualValues(t, 1, next.damagesCounted())
				next.stopAndWait()
			})
		})
	}
}

// TestDiskThatRotsEveryTime: reading the same records again and again must not go on forever. The
// worker ends, so that others get its partitions.
func TestDiskThatRotsEveryTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.onRotate = func(context.Context, int) error {
			r.rot(".spool", damages["flipped"])
			return nil
		}
		r.run()
		r.produce("a", "b", "a")
		for range mostDamages {
			require.ErrorIs(t, r.seal(), segment.ErrDamaged)
			time.Sleep(time.Minute)
		}
		require.NotEmpty(t, r.ended, "the worker has not ended")
		require.ErrorContains(t, <-r.ended, "replace it")
		require.Empty(t, r.written())
		require.Equal(t, mostDamages, r.acquisitions())
	})
}

// TestDiskThatRotsNowAndThen: a damage every other hour is made up for each time.
func TestDiskThatRotsNowAndThen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		var rots atomic.Bool
		r.onRotate = func(context.Context, int) error {
			if rots.Swap(false) {
				r.rot(".spool", damages["flipped"])
			}
			return nil
		}
		r.run()
		var want []string
		for n := range 2 * mostDamages {
			r.produce("a")
			rots.Store(true)
			require.ErrorIs(t, r.seal(), segment.ErrDamaged)
			time.Sleep(2 * time.Hour)
			want = append(want, fmt.Sprintf("a/%d-%[1]d", n))
		}
		require.Empty(t, r.ended)
		require.Equal(t, want, slices.Concat(r.written()...))
		r.stopAndWait()
	})
}
