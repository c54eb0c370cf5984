package appender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// produceMessages appends a record of each message to the log.
func (r *rig) produceMessages(messages ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range messages {
		r.records = append(r.records, stream.Record{
			Topic: r.cfg.Topic, Offset: int64(len(r.records)), Key: []byte("a"), Value: []byte("{}"),
			Headers: []stream.Header{
				{Key: route.HeaderSource, Value: []byte("a")}, {Key: route.HeaderMessage, Value: []byte(m)},
				{Key: route.HeaderReceived, Value: strconv.AppendInt(nil, time.Now().UnixMilli(), 10)},
			},
		})
	}
	close(r.grown)
	r.grown = make(chan struct{})
}

// A batch that is sent twice is filed once, whatever happens in between to the process and its
// disk.
func TestResentMessagesAreFiledOnce(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for hazard, between := range map[string]func(t *testing.T, r *rig) *rig{
		"nothing": func(_ *testing.T, r *rig) *rig { return r },
		"a_restart": func(_ *testing.T, r *rig) *rig {
			r.stopAndWait()
			return r.restarted(cfg)
		},
		"a_kill": func(_ *testing.T, r *rig) *rig {
			next := r.restarted(cfg)
			r.stopAndWait()
			return next
		},
		"a_lost_disk": func(t *testing.T, r *rig) *rig {
			next := r.restarted(cfg)
			r.stopAndWait()
			require.NoError(t, os.RemoveAll(next.cfg.DataDir))
			return next
		},
		"a_lost_store": func(t *testing.T, r *rig) *rig {
			r.stopAndWait()
			next := r.restarted(cfg)
			require.NoError(t, os.RemoveAll(filepath.Join(next.cfg.DataDir, dedupDir)))
			return next
		},
		"a_lost_store_and_all_in_the_ledger": func(t *testing.T, r *rig) *rig {
			require.NoError(t, r.seal())
			next := r.restarted(cfg)
			r.stopAndWait()
			require.NoError(t, os.RemoveAll(filepath.Join(next.cfg.DataDir, dedupDir)))
			return next
		},
		"an_abandoned_partition": func(t *testing.T, r *rig) *rig {
			r.mu.Lock()
			r.head = claim(r.head, "a rival")
			r.mu.Unlock()
			require.ErrorIs(t, r.seal(), ledger.ErrLost)
			return r
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.produceMessages("m1", "m2", "m3")
				time.Sleep(30 * time.Second) // until there is a checkpoint
				next := between(t, r)
				if next != r {
					next.run()
				}
				next.produceMessages("m1", "m4", "m3", "m3")
				time.Sleep(30 * time.Second)
				require.NoError(t, next.seal())
				require.NoError(t, next.seal())
				if hazard == "a_lost_store_and_all_in_the_ledger" {
					require.Equal(t, [][]string{{"a/0-2"}, {"a/4-4"}}, next.written()[:2])
				} else {
					require.Equal(t, []string{"a/0-4"}, next.written()[0])
				}
				require.EqualValues(t, 7, next.head.LowWatermark)
				require.EqualValues(t, 3, next.skipped)
				require.Empty(t, next.buried)
				next.stopAndWait()
			})
		})
	}
}

// A store that could not be opened at the takeover, because the ledger was down, is opened later
// and then learns what was read meanwhile.
func TestDuplicatesAreFoundOnceTheStoreOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: 24 * time.Hour}) // its chain lacks entry 0
		r.run()
		r.produceMessages("m1", "m2", "m1")
		time.Sleep(time.Second)
		r.mu.Lock()
		r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
		r.mu.Unlock()
		time.Sleep(30 * time.Second)
		r.produceMessages("m1", "m2", "m3")
		time.Sleep(time.Second)
		require.NoError(t, r.seal())
		require.Equal(t, []string{"a/0-5"}, r.written()[0])
		require.EqualValues(t, 2, r.skipped, "duplicates skipped after the store was opened")
		r.stopAndWait()
	})
}

// A tenure that ends before the ledger answers logs no warning.
func TestDisabledDedupIsLogged(t *testing.T) {
	for hazard, c := range map[string]struct {
		looking func(ctx context.Context) error
		says    string
	}{
		"ledger_away": {func(context.Context) error { return errors.New("no ledger") }, "duplicates are not removed"},
		"stopped":     {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var logged logtest.Buffer
				r := newRig(t, Config{DedupWindow: 24 * time.Hour})
				r.deps.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelWarn}))
				r.onEntry = c.looking
				r.run()
				r.stopAndWait()
				if c.says == "" {
					require.Empty(t, logged.String())
				}
				require.Contains(t, logged.String(), c.says)
			})
		})
	}
}

// At the start the request that identifies the log is retried, so that one failed request does not
// let duplicates pass. Reading waits for it no longer than firstBackfill, and not at all later.
func TestOriginOfTheChainIsRetried(t *testing.T) {
	for name, failing := range map[string]int{"first_request_fails": 1, "all_requests_fail": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{DedupWindow: 24 * time.Hour})
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				var asked []time.Time
				r.onEntry = func(context.Context) error {
					r.mu.Lock()
					defer r.mu.Unlock()
					if asked = append(asked, time.Now()); len(asked) > failing {
						return nil
					}
					return objstore.ErrUnavailable
				}
				r.run()
				r.produceMessages("m", "m")
				time.Sleep(firstBackfill + time.Second)
				require.EqualValues(t, 2, r.RecordsForTesting())
				r.mu.Lock()
				early := len(asked)
				r.mu.Unlock()
				require.Greater(t, early, 1)
				time.Sleep(time.Minute)
				r.mu.Lock()
				times := slices.Clone(asked)
				r.mu.Unlock()
				for i := early; i < len(times); i++ {
					require.Greater(t, times[i].Sub(times[i-1]), time.Second, "requests between checkpoints")
				}
				require.Equal(t, failing == 1, len(times) == early)
				require.NoError(t, r.seal())
				require.Equal(t, failing == 1, r.skipped == 1)
				r.stopAndWait()
			})
		})
	}
}

// Whoever begins a chain need not read its first entry to identify the log.
func TestOriginOfANewChainIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: 24 * time.Hour})
		r.head.Seq = -1 // so that the claim is entry 0
		r.onEntry = func(context.Context) error { return objstore.ErrUnavailable }
		r.run()
		r.produceMessages("m", "m")
		synctest.Wait()
		require.NoError(t, r.seal())
		require.EqualValues(t, 1, r.skipped)
		r.stopAndWait()
	})
}

// Offsets of one log mean nothing in another: a store from elsewhere is not used, nor is what a log
// held before it went back.
func TestStoreOfAnotherLogIsNotUsed(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for hazard, between := range map[string]func(t *testing.T, r *rig) *rig{
		"a_copied_directory": func(_ *testing.T, r *rig) *rig {
			r.stopAndWait()
			next := r.restarted(cfg)
			next.records, next.head, next.chain = nil, entry(0), []*ledger.Entry{{Attempt: "another"}}
			return next
		},
		"another_routing_rule_meanwhile": func(_ *testing.T, r *rig) *rig {
			r.stopAndWait()
			next := r.restarted(cfg)
			// Under the other rule the messages had no source. Now that rule has been switched.
			next.head = &ledger.Entry{Seq: 20, LowWatermark: 3, RouterFrom: 3, Owner: "another"}
			return next
		},
		"an_unclean_election": func(_ *testing.T, r *rig) *rig {
			r.mu.Lock()
			r.records = nil
			close(r.grown) // so that the reader fetches again
			r.grown = make(chan struct{})
			r.mu.Unlock()
			return r
		},
		"an_unclean_election_while_the_origin_is_unknown": func(_ *testing.T, r *rig) *rig {
			r.assignPartitions()
			r.mu.Lock()
			r.chain = r.chain[1:]
			r.mu.Unlock()
			r.assignPartitions(0)
			time.Sleep(3 * time.Second)
			r.mu.Lock()
			r.records = nil
			close(r.grown)
			r.grown = make(chan struct{})
			r.mu.Unlock()
			time.Sleep(time.Second)
			r.mu.Lock()
			r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
			r.mu.Unlock()
			return r
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, cfg)
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				r.run()
				r.produceMessages("m1", "m2", "m3")
				time.Sleep(30 * time.Second)
				next := between(t, r)
				if next != r {
					next.run()
				}
				time.Sleep(30 * time.Second)
				next.produceMessages("m0", "m1", "m2", "m3")
				time.Sleep(30 * time.Second)
				require.NoError(t, next.seal())
				last := len(next.records) - 1
				require.Equal(t, []string{fmt.Sprintf("a/%d-%d", last-3, last)}, slices.Concat(next.written()...), "all four messages are filed")
				require.Zero(t, next.skipped)
				next.stopAndWait()
			})
		})
	}
}

// Duplicates are counted by exactly one entry, whoever writes it.
func TestDuplicatesAreCountedOnce(t *testing.T) {
	store, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer store.Close()
	c := newTestCore(t, entry(0))
	store.Start(0)
	add := func(offset int64, source, message string) {
		t.Helper()
		_, err := c.addUnlessDuplicate(store, store.Key(source, []byte(message)), offset, source, t0, t0, []byte("{}"))
		require.NoError(t, err)
	}
	add(0, "b", "holds the watermark back")
	add(1, "a", "m")
	add(2, "a", "m") // below the last offset of a's file
	add(3, "a", "n")
	add(4, "a", "m")
	add(5, "a", "o")
	add(6, "a", "m") // above it
	require.Len(t, c.duplicates, 1)
	require.NoError(t, c.seal(ledger.StreamOf("a", t0), segment.ReasonRequest))
	b := c.cut()
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 2}, b.Skipped)
	head := &ledger.Entry{Seq: 1, LowWatermark: 0, SealedThrough: []ledger.SealedStream{{Source: "a", Hour: ledger.StreamOf("a", t0).Hour, Offset: 5}}}
	c.won(head)

	// Another owner continues from the head, with an empty store.
	other, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer other.Close()
	mine, store2 := c, store
	c, store = newTestCore(t, head), other
	store.Start(0)
	for o, m := range []string{"holds the watermark back", "m", "m", "n", "m", "o", "m"} {
		source := "a"
		if o == 0 {
			source = "b"
		}
		add(int64(o), source, m)
	}
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 1}, c.cut().Skipped)

	c, store = mine, store2
	add(7, "a", "p")
	add(8, "a", "p")
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 2}, c.cut().Skipped)
}

// However duplicates alternate with lines, also with lines of other sources and the first lines of
// files, recording them takes little memory.
func TestDuplicateRunsTakeLittleMemory(t *testing.T) {
	for _, sources := range []int64{1, 100} {
		t.Run(fmt.Sprint(sources), func(t *testing.T) {
			c := newTestCore(t, entry(0))
			const rounds = 20_000
			for i := range int64(rounds) {
				source := fmt.Sprint("s", i*7919%(1+i*sources/rounds)) // more and more sources
				add(t, c, fateFiled, c.position, source, t0, t0, []byte("{}"))
				require.NoError(t, c.skipDuplicate(ledger.StreamOf(source, t0), c.position, t0))
			}
			require.Len(t, c.open, int(sources))
			require.LessOrEqual(t, len(c.allDuplicates()), int(2*sources))
			require.Len(t, c.allDuplicates(), c.duplicateRuns)
			bytes, err := c.save()
			require.NoError(t, err)
			require.Less(t, bytes, 4*rounds+sources*500, "checkpoint is larger than its lines")
			require.NoError(t, c.sealAll(segment.ReasonRequest))
			require.Equal(t, map[string]int64{ledger.SkippedDuplicate: rounds}, c.cut().Skipped)
		})
	}
}

// Duplicates from former hours belong to streams that have no file, while files of the present hour
// are begun one after the other. Recording them takes little memory.
func TestDuplicatesWithoutAFileTakeLittleMemory(t *testing.T) {
	c := newTestCore(t, entry(0))
	c.cfg.maxRuns = 300
	former := func(n int) {
		for i := range n {
			require.NoError(t, c.skipDuplicate(ledger.StreamOf(fmt.Sprint("s", i%100), t0-hour), c.position, t0))
		}
	}
	for i := range 1000 {
		former(100)
		feed(t, c, fmt.Sprintf("s%d@1", i))
	}
	require.LessOrEqual(t, len(c.allDuplicates()), 300+100)
	require.Len(t, c.allDuplicates(), c.duplicateRuns)
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	c.cfg.maxFiles = 1000
	b := c.cut()
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 100_000}, b.Skipped)
	former(200) // read while the entry is being written
	c.won(entry(b.LowWatermark))
	require.Equal(t, 100, c.duplicateRuns)
	c.advanceTo(c.position, true, t0+3*hour)
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 200}, c.cut().Skipped)
}

// When there are many runs, they extend from one cut to the next. A file that begins inside one
// then does not make a watermark.
func TestNoWatermarkFallsInsideARun(t *testing.T) {
	for name, c := range map[string]struct {
		maxRuns int
		low     int64
		first   map[string]int64
		second  map[string]int64
	}{
		"few":  {10, 3, map[string]int64{ledger.SkippedDuplicate: 1, "x": 1}, map[string]int64{ledger.SkippedDuplicate: 2, "x": 1}},
		"many": {0, 1, map[string]int64{}, map[string]int64{ledger.SkippedDuplicate: 3, "x": 2}},
	} {
		t.Run(name, func(t *testing.T) {
			core := newTestCore(t, entry(0))
			core.cfg.maxRuns = c.maxRuns
			double := func() {
				require.NoError(t, core.skipDuplicate(ledger.StreamOf("d", t0), core.position, t0))
			}
			feed(t, core, "a@1")
			require.NoError(t, core.skip(1, "x"))
			double() // at offset 2
			feed(t, core, "b@1")
			require.NoError(t, core.skip(4, "x"))
			double() // at offset 5
			require.NoError(t, core.seal(ledger.StreamOf("a", t0), segment.ReasonRequest))
			b := core.cut()
			require.Equal(t, c.low, b.LowWatermark)
			require.Equal(t, c.first, b.Skipped)
			core.won(follow(core.base, b))

			double() // does not extend a run from before the cut
			feed(t, core, "c@1")
			require.NoError(t, core.seal(ledger.StreamOf("b", t0), segment.ReasonRequest))
			b = core.cut()
			require.EqualValues(t, 7, b.LowWatermark, "watermark is not where c begins")
			require.Equal(t, c.second, b.Skipped)
		})
	}
}

// A run between two lines of a file does not hold the watermark back: the file's entry counts it.
func TestWatermarkInsideARunOfItsOwnEntry(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@1")
	require.NoError(t, c.skipDuplicate(ledger.StreamOf("a", t0), 1, t0))
	feed(t, c, "b@1")
	require.NoError(t, c.skipDuplicate(ledger.StreamOf("a", t0), 3, t0))
	feed(t, c, "a@1")
	require.NoError(t, c.seal(ledger.StreamOf("a", t0), segment.ReasonRequest))
	b := c.cut()
	require.EqualValues(t, 2, b.LowWatermark, "watermark is not where b begins")
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 2}, b.Skipped)
}

// TestRecordsFromTheFutureDoNotProlongFilling: if one of a producer whose clock is ahead counted as
// received now, a new owner would read the whole log again, however little of it is in the window.
func TestRecordsFromTheFutureDoNotProlongFilling(t *testing.T) {
	store, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer store.Close()
	router, err := route.New("header", "record")
	require.NoError(t, err)
	l := &loop{core: newTestCore(t, entry(0)), router: router, deduper: &deduper{Store: store, buffersFree: make(chan struct{}, 1)}}
	store.Start(10)
	_, _, ok := store.NextFill()
	require.True(t, ok)
	var part logPart
	for i, at := range []int64{t0, time.Now().Add(30 * 24 * time.Hour).UnixMilli(), t0 + 1, t0 - 1} {
		part.records = append(part.records, stream.Record{
			Offset: int64(i), Time: time.UnixMilli(at), Value: []byte(`{}`),
			Headers: []stream.Header{{Key: route.HeaderSource, Value: []byte("a")}, {Key: route.HeaderMessage, Value: []byte("m")}},
		})
	}
	l.handleBackfill(part)
	require.Equal(t, t0+1, l.deduper.backfilling.newest)
}

// A record that fits no file is not remembered: a copy that fits counts as the first.
func TestUnfitLinesAreNotRemembered(t *testing.T) {
	store, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer store.Close()
	c := newTestCore(t, entry(0))
	store.Start(0)
	key := store.Key("a", []byte("m"))
	want := []fate{fateUnfit, fateFiled, fateDuplicate}
	for o, line := range []string{"{\n}", "{}", "{}"} {
		got, err := c.addUnlessDuplicate(store, key, int64(o), "a", t0, t0, []byte(line))
		require.NoError(t, err)
		require.Equal(t, want[o], got)
	}
}
