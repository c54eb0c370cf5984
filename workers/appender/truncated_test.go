package appender

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/logtest"
)

// TestTruncatedLogVoidsTheState: what is on the disk then differs from what the log holds at
// these offsets.
func TestTruncatedLogVoidsTheState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute)
		r.mu.Lock()
		r.records = r.records[:1:1]
		r.mu.Unlock()
		time.Sleep(time.Minute)
		require.Zero(t, lag(r.Appender), "lag after the log's end went back")
		r.produce("c", "c", "c")
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0", "c/1-3"}}, r.written())
		require.Equal(t, 2, r.acquisitions())
		r.stopAndWait()
	})
}

// TestTruncatedLogWithoutTheWatermark: what was read since the watermark exists only on the
// disk. It is not given up for what the log may hold at the lost offsets.
func TestTruncatedLogWithoutTheWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a", "b", "a")
		time.Sleep(time.Minute)
		r.retainFrom(2)
		r.mu.Lock()
		r.records = r.records[:4:4]
		r.mu.Unlock()
		time.Sleep(time.Minute)
		require.Equal(t, [][]string{{"a/0-4", "b/1-3"}}, r.written())
		require.EqualValues(t, 5, r.head.LowWatermark)
		require.ErrorIs(t, r.Ready(t.Context()), errHalted, "partition was not halted")
		r.produce("c", "c")
		time.Sleep(time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-4", "b/1-3"}, {"c/5-5"}}, r.written(), "files; offset 4 counts as read")
		r.stopAndWait()
	})
}

// TestMessagesAfterATruncatedLog: messages in the ledger stay remembered. What the log holds at the
// lost offsets is in no file, so copies of it are not duplicates.
func TestMessagesAfterATruncatedLog(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for name, c := range map[string]struct {
		start, end int64 // of the log when it was cut
		restart    bool  // before the cut; what was remembered is lost
		late       bool  // the entry is written when the log has grown to its former end
		unnamed    bool  // only then the ledger answers the request that identifies the log
		again      bool  // the partition is read for a while and taken over once more
		stopped    bool  // stopped before the entry is written, and started when the log has grown to its former end
		want       string
		skipped    int64
	}{
		"cut_at_both_ends":                   {start: 2, end: 4, want: "a/6-6", skipped: 1},
		"cut_below_the_watermark":            {end: 0, want: "a/6-6", skipped: 1},
		"cut_at_both_ends_store_lost":        {start: 2, end: 4, restart: true, want: "a/5-6"},
		"cut_below_the_watermark_store_lost": {end: 0, restart: true, want: "a/5-6"},
		"grown_back_store_lost":              {start: 2, end: 4, restart: true, late: true, want: "a/5-6"},
		"cut_at_both_ends_another_tenure":    {start: 2, end: 4, again: true, want: "a/7-7", skipped: 1},
		"cut_below_another_tenure":           {end: 0, again: true, want: "a/7-7", skipped: 1},
		"store_lost_another_tenure":          {start: 2, end: 4, restart: true, again: true, want: "a/6-7"},
		"grown_back_after_a_stop":            {start: 2, end: 4, restart: true, stopped: true, want: "a/5-6"},
		"store_lost_origin_unknown":          {start: 2, end: 4, restart: true, unnamed: true, want: "a/5-6"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.produceMessages("m0")
				if c.start == 0 {
					time.Sleep(time.Second)
					require.NoError(t, r.seal())
				}
				r.produceMessages("m1", "m2", "m3", "m4")
				time.Sleep(time.Minute)
				if c.restart {
					r.stopAndWait()
					r = r.restarted(cfg)
					require.NoError(t, os.RemoveAll(filepath.Join(r.cfg.DataDir, dedupDir)))
				}
				r.retainFrom(c.start)
				r.mu.Lock()
				r.records = r.records[:c.end:c.end]
				r.mu.Unlock()
				release := make(chan struct{})
				if c.late {
					r.onRotate = func(context.Context, int) error { <-release; return nil }
					r.chain = r.chain[1:] // so that nothing is read again yet
				}
				if c.stopped {
					r.onRotate = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
				}
				if c.unnamed {
					r.chain = r.chain[1:]
					r.onRotate = func(context.Context, int) error {
						r.mu.Lock()
						defer r.mu.Unlock()
						r.chain, r.onRotate = slices.Insert(r.chain, 0, &ledger.Entry{}), nil
						return nil
					}
				}
				if c.restart {
					r.run()
				}
				time.Sleep(time.Minute)
				if c.stopped {
					r.stopAndWait()
					r = r.restarted(cfg)
				} else if !c.late {
					require.ErrorIs(t, r.Ready(t.Context()), errHalted)
					require.EqualValues(t, 5, r.head.LowWatermark)
				}
				for len(r.records) < 5 {
					r.produceMessages("new")
				}
				if c.late {
					r.mu.Lock()
					r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
					r.mu.Unlock()
				}
				if c.stopped {
					r.run()
				}
				time.Sleep(time.Minute) // it is taken over, and what is missing is read again
				close(release)
				time.Sleep(time.Minute)
				if c.again {
					r.produceMessages("between")
					time.Sleep(time.Minute)
					require.NoError(t, r.seal())
					r.stopAndWait()
					r = r.restarted(cfg)
					r.run()
					time.Sleep(time.Minute)
				}
				r.produceMessages("m4", "new")
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				require.NoError(t, r.seal())
				all := slices.Concat(r.written()...)
				require.Equal(t, c.want, all[len(all)-1])
				require.Equal(t, c.skipped, r.skipped)
				r.stopAndWait()
			})
		})
	}
}

// TestMessagesOfALogWithUnknownBounds: the log may have been cut, and once it has grown to its
// former end nobody can tell. Neither what it held at these offsets nor what it holds now is
// remembered, since it may be in no file.
func TestMessagesOfALogWithUnknownBounds(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for name, c := range map[string]struct {
		rival   bool // the local files are of no use
		unnamed bool // no store can be opened in that tenure, but there is one on disk
		want    string
		skipped int64
	}{
		"state_dropped":                {rival: true, want: "a/0-3", skipped: 1},
		"state_resumed":                {want: "a/0-4"},
		"state_dropped_origin_unknown": {rival: true, unnamed: true, want: "a/0-3", skipped: 1},
		"state_resumed_origin_unknown": {unnamed: true, want: "a/0-4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.produceMessages("m1", "m2", "m3")
				time.Sleep(time.Minute)
				if c.unnamed {
					r.assignPartitions()
					r.mu.Lock()
					r.chain = r.chain[1:]
					r.mu.Unlock()
					r.assignPartitions(0)
					time.Sleep(3 * time.Second)
				}
				r.mu.Lock()
				r.boundsErr = errTest
				r.records = r.records[:1:1]
				close(r.grown) // so that the reader fetches again
				r.grown = make(chan struct{})
				r.mu.Unlock()
				time.Sleep(time.Second)
				if c.unnamed {
					r.mu.Lock()
					r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
					r.mu.Unlock()
				}
				r.assignPartitions()
				synctest.Wait()
				if c.rival {
					r.mu.Lock()
					r.head = claim(r.head, "a rival")
					r.chain = append(r.chain, r.head)
					r.mu.Unlock()
				}
				r.produceMessages("n2", "n3")
				r.mu.Lock()
				r.boundsErr = nil
				r.mu.Unlock()
				r.assignPartitions(0)
				time.Sleep(time.Minute)
				r.produceMessages("m2", "n2")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{c.want}, slices.Concat(r.written()...))
				require.Equal(t, c.skipped, r.skipped)
				r.stopAndWait()
			})
		})
	}
}

// TestMessagesAfterATruncatedLogWithAFailingDisk: as long as the disk refuses to forget, no
// messages are remembered, because what the log holds at the lost offsets is in no file.
func TestMessagesAfterATruncatedLogWithAFailingDisk(t *testing.T) {
	for name, leaves := range map[string]bool{"same_assignment": false, "assigned_again": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged logtest.Buffer
				cfg := Config{DedupWindow: 24 * time.Hour}
				first := newRig(t, cfg)
				first.chain = slices.Insert(first.chain, 0, &ledger.Entry{})
				first.run()
				first.produceMessages("m0", "m1", "m2", "m3", "m4")
				time.Sleep(time.Minute)
				first.stopAndWait()
				r := first.restarted(cfg)
				r.deps.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
				dir := filepath.Join(r.storesDir(), "0")
				require.NoError(t, os.RemoveAll(dir))
				r.retainFrom(2)
				r.records = r.records[:4:4]
				inTheWay := filepath.Join(dir, "floor.tmp")
				r.onRotate = func(context.Context, int) error { return os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700) }
				r.run()
				time.Sleep(time.Minute)
				require.ErrorIs(t, r.Ready(t.Context()), errHalted)
				require.Contains(t, logged.String(), "is not forgotten on the disk")
				r.mu.Lock()
				r.onRotate = nil
				r.mu.Unlock()
				if leaves {
					r.assignPartitions()
					r.assignPartitions(0)
				}
				r.produceMessages("new")
				time.Sleep(time.Minute)
				r.produceMessages("m4", "new")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{"a/0-4", "a/5-6"}, slices.Concat(r.written()...))

				require.NoError(t, os.RemoveAll(inTheWay))
				time.Sleep(time.Minute)
				r.produceMessages("m4", "new", "m5")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{"a/0-4", "a/5-6", "a/9-9"}, slices.Concat(r.written()...))
				require.EqualValues(t, 2, r.skipped)
				require.FileExists(t, filepath.Join(dir, "floor"))
				r.stopAndWait()
			})
		})
	}
}

// TestRecreatedTopic: what was read of the former topic exists nowhere else, and nothing of
// the new one belongs to its ledger. If the new one lacks the partition, what was read is written
// when the partition has been added.
func TestRecreatedTopic(t *testing.T) {
	for _, meanwhile := range []string{"nothing", "restart", "no_such_partition"} {
		restart := meanwhile == "restart"
		for _, anew := range []int{0, 1} { // number of records in the new topic
			t.Run(fmt.Sprintf("%s/%d", meanwhile, anew), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					r.run()
					r.produce("a", "b")
					require.NoError(t, r.seal())
					r.produce("a", "b", "a")
					time.Sleep(time.Minute)
					if restart {
						r.stopAndWait()
						r = r.restarted(Config{})
					}
					if meanwhile == "no_such_partition" {
						r.assignPartitions()
						time.Sleep(2 * leftoverInterval)
					}
					r.mu.Lock()
					r.records = nil
					r.mu.Unlock()
					for range anew {
						r.produce("new")
					}
					switch meanwhile {
					case "restart":
						r.run()
					case "no_such_partition":
						r.assignPartitions(0)
					}
					time.Sleep(time.Minute)
					require.ErrorIs(t, r.Ready(t.Context()), errHalted)
					require.Equal(t, [][]string{{"a/0-0", "b/1-1"}, {"a/2-4", "b/3-3"}}, r.written())
					require.EqualValues(t, 5, r.head.LowWatermark)
					r.stopAndWait()
				})
			})
		}
	}
}
