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

// TestALogThatWentBackVoidsWhatWasRead: what is on the disk then differs from what the log holds at
// these offsets.
func TestALogThatWentBackVoidsWhatWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute)
		r.mu.Lock()
		r.records = r.records[:1:1]
		r.mu.Unlock()
		time.Sleep(time.Minute)
		require.Zero(t, lag(r.Appender), "the log's end went back, too")
		r.produce("c", "c", "c")
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0", "c/1-3"}}, r.written())
		require.Equal(t, 2, r.acquisitions())
		r.end()
	})
}

// TestALogThatWentBackAndLacksTheWatermark: what was read since the watermark exists only on the
// disk. It is not given up for what the log may hold at the lost offsets.
func TestALogThatWentBackAndLacksTheWatermark(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a", "b", "a")
		time.Sleep(time.Minute)
		r.pass(2)
		r.mu.Lock()
		r.records = r.records[:4:4]
		r.mu.Unlock()
		time.Sleep(time.Minute)
		require.Equal(t, [][]string{{"a/0-4", "b/1-3"}}, r.written())
		require.EqualValues(t, 5, r.head.LowWatermark)
		require.ErrorIs(t, r.Ready(t.Context()), errHalted, "somebody has to look")
		r.produce("c", "c")
		time.Sleep(time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-4", "b/1-3"}, {"c/5-5"}}, r.written(), "offset 4 is not promised: it passes for read")
		r.end()
	})
}

// TestMessagesOfALogThatWentBack: messages in the ledger stay remembered. What the log holds at the
// lost offsets is in no file, so copies of it are not duplicates.
func TestMessagesOfALogThatWentBack(t *testing.T) {
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
		"and_its_beginning":                  {start: 2, end: 4, want: "a/6-6", skipped: 1},
		"below_the_watermark":                {end: 0, want: "a/6-6", skipped: 1},
		"and_its_beginning_without_memory":   {start: 2, end: 4, restart: true, want: "a/5-6"},
		"below_the_watermark_without_memory": {end: 0, restart: true, want: "a/5-6"},
		"as_long_again_without_memory":       {start: 2, end: 4, restart: true, late: true, want: "a/5-6"},
		"and_its_beginning_and_a_tenure":     {start: 2, end: 4, again: true, want: "a/7-7", skipped: 1},
		"below_the_watermark_and_a_tenure":   {end: 0, again: true, want: "a/7-7", skipped: 1},
		"without_memory_and_a_tenure":        {start: 2, end: 4, restart: true, again: true, want: "a/6-7"},
		"as_long_again_after_a_stop":         {start: 2, end: 4, restart: true, stopped: true, want: "a/5-6"},
		"without_memory_nor_name":            {start: 2, end: 4, restart: true, unnamed: true, want: "a/5-6"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.send("m0")
				if c.start == 0 {
					time.Sleep(time.Second)
					require.NoError(t, r.seal())
				}
				r.send("m1", "m2", "m3", "m4")
				time.Sleep(time.Minute)
				if c.restart {
					r.end()
					r = r.died(cfg)
					require.NoError(t, os.RemoveAll(filepath.Join(r.cfg.DataDir, recallDir)))
				}
				r.pass(c.start)
				r.mu.Lock()
				r.records = r.records[:c.end:c.end]
				r.mu.Unlock()
				release := make(chan struct{})
				if c.late {
					r.rotating = func(context.Context, int) error { <-release; return nil }
					r.chain = r.chain[1:] // so that nothing is read again yet
				}
				if c.stopped {
					r.rotating = func(ctx context.Context, _ int) error { <-ctx.Done(); return ctx.Err() }
				}
				if c.unnamed {
					r.chain = r.chain[1:]
					r.rotating = func(context.Context, int) error {
						r.mu.Lock()
						defer r.mu.Unlock()
						r.chain, r.rotating = slices.Insert(r.chain, 0, &ledger.Entry{}), nil
						return nil
					}
				}
				if c.restart {
					r.run()
				}
				time.Sleep(time.Minute)
				if c.stopped {
					r.end()
					r = r.died(cfg)
				} else if !c.late {
					require.ErrorIs(t, r.Ready(t.Context()), errHalted)
					require.EqualValues(t, 5, r.head.LowWatermark)
				}
				for len(r.records) < 5 {
					r.send("new")
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
					r.send("between")
					time.Sleep(time.Minute)
					require.NoError(t, r.seal())
					r.end()
					r = r.died(cfg)
					r.run()
					time.Sleep(time.Minute)
				}
				r.send("m4", "new")
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				require.NoError(t, r.seal())
				all := slices.Concat(r.written()...)
				require.Equal(t, c.want, all[len(all)-1])
				require.Equal(t, c.skipped, r.skipped)
				r.end()
			})
		})
	}
}

// TestMessagesOfALogWhoseBoundsAreNotTold: the log may have been cut, and once it has grown to its
// former end nobody can tell. Neither what it held at these offsets nor what it holds now is
// remembered, since it may be in no file.
func TestMessagesOfALogWhoseBoundsAreNotTold(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for name, c := range map[string]struct {
		rival   bool // the local files are of no use
		unnamed bool // no store can be opened in that tenure, but there is one on disk
		want    string
		skipped int64
	}{
		"and_what_was_read_is_dropped":          {rival: true, want: "a/0-3", skipped: 1},
		"and_what_was_read_is_taken_up":         {want: "a/0-4"},
		"and_what_was_read_is_dropped_unnamed":  {rival: true, unnamed: true, want: "a/0-3", skipped: 1},
		"and_what_was_read_is_taken_up_unnamed": {unnamed: true, want: "a/0-4"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.send("m1", "m2", "m3")
				time.Sleep(time.Minute)
				if c.unnamed {
					r.assigned()
					r.mu.Lock()
					r.chain = r.chain[1:]
					r.mu.Unlock()
					r.assigned(0)
					time.Sleep(3 * time.Second)
				}
				r.mu.Lock()
				r.away = errTest
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
				r.assigned()
				synctest.Wait()
				if c.rival {
					r.mu.Lock()
					r.head = claim(r.head, "a rival")
					r.chain = append(r.chain, r.head)
					r.mu.Unlock()
				}
				r.send("n2", "n3")
				r.mu.Lock()
				r.away = nil
				r.mu.Unlock()
				r.assigned(0)
				time.Sleep(time.Minute)
				r.send("m2", "n2")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{c.want}, slices.Concat(r.written()...))
				require.Equal(t, c.skipped, r.skipped)
				r.end()
			})
		})
	}
}

// TestMessagesOfALogThatWentBackOnADiskInTrouble: as long as the disk refuses to forget, no
// messages are remembered, because what the log holds at the lost offsets is in no file.
func TestMessagesOfALogThatWentBackOnADiskInTrouble(t *testing.T) {
	for name, leaves := range map[string]bool{"and_stays": false, "and_is_assigned_anew": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged logtest.Buffer
				cfg := Config{DedupWindow: 24 * time.Hour}
				first := newRig(t, cfg)
				first.chain = slices.Insert(first.chain, 0, &ledger.Entry{})
				first.run()
				first.send("m0", "m1", "m2", "m3", "m4")
				time.Sleep(time.Minute)
				first.end()
				r := first.died(cfg)
				r.deps.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelError}))
				dir := filepath.Join(r.recallsDir(), "0")
				require.NoError(t, os.RemoveAll(dir))
				r.pass(2)
				r.records = r.records[:4:4]
				inTheWay := filepath.Join(dir, "floor.tmp")
				r.rotating = func(context.Context, int) error { return os.MkdirAll(filepath.Join(inTheWay, "x"), 0o700) }
				r.run()
				time.Sleep(time.Minute)
				require.ErrorIs(t, r.Ready(t.Context()), errHalted)
				require.Contains(t, logged.String(), "is not forgotten on the disk")
				r.mu.Lock()
				r.rotating = nil
				r.mu.Unlock()
				if leaves {
					r.assigned()
					r.assigned(0)
				}
				r.send("new")
				time.Sleep(time.Minute)
				r.send("m4", "new")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{"a/0-4", "a/5-6"}, slices.Concat(r.written()...))

				require.NoError(t, os.RemoveAll(inTheWay))
				time.Sleep(time.Minute)
				r.send("m4", "new", "m5")
				time.Sleep(time.Minute)
				require.NoError(t, r.seal())
				require.Equal(t, []string{"a/0-4", "a/5-6", "a/9-9"}, slices.Concat(r.written()...))
				require.EqualValues(t, 2, r.skipped)
				require.FileExists(t, filepath.Join(dir, "floor"))
				r.end()
			})
		})
	}
}

// TestATopicThatWasMadeAnew: what was read of the former topic exists nowhere else, and nothing of
// the new one belongs to its ledger.
func TestATopicThatWasMadeAnew(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, anew := range []int{0, 1} { // number of records in the new topic
			t.Run(fmt.Sprintf("restart=%v/%d", restart, anew), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, Config{})
					r.run()
					r.produce("a", "b")
					require.NoError(t, r.seal())
					r.produce("a", "b", "a")
					time.Sleep(time.Minute)
					if restart {
						r.end()
						r = r.died(Config{})
					}
					r.mu.Lock()
					r.records = nil
					r.mu.Unlock()
					for range anew {
						r.produce("new")
					}
					if restart {
						r.run()
					}
					time.Sleep(time.Minute)
					require.ErrorIs(t, r.Ready(t.Context()), errHalted)
					require.Equal(t, [][]string{{"a/0-0", "b/1-1"}, {"a/2-4", "b/3-3"}}, r.written())
					require.EqualValues(t, 5, r.head.LowWatermark)
					r.end()
				})
			})
		}
	}
}
