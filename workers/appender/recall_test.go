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

// send appends a record of each message to the log.
func (r *rig) send(messages ...string) {
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

// A batch that is sent twice is filed once, whatever happens between to the
// process and its disk.
func TestResent(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for hazard, between := range map[string]func(t *testing.T, r *rig) *rig{
		"nothing": func(_ *testing.T, r *rig) *rig { return r },
		"a_restart": func(_ *testing.T, r *rig) *rig {
			r.end()
			return r.died(cfg)
		},
		"a_kill": func(_ *testing.T, r *rig) *rig {
			next := r.died(cfg)
			r.end()
			return next
		},
		"a_lost_disk": func(t *testing.T, r *rig) *rig {
			next := r.died(cfg)
			r.end()
			require.NoError(t, os.RemoveAll(next.cfg.DataDir))
			return next
		},
		"a_lost_store": func(t *testing.T, r *rig) *rig {
			r.end()
			next := r.died(cfg)
			require.NoError(t, os.RemoveAll(filepath.Join(next.cfg.DataDir, recallDir)))
			return next
		},
		"a_lost_store_and_all_in_the_ledger": func(t *testing.T, r *rig) *rig {
			require.NoError(t, r.seal())
			next := r.died(cfg)
			r.end()
			require.NoError(t, os.RemoveAll(filepath.Join(next.cfg.DataDir, recallDir)))
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
				r.send("m1", "m2", "m3")
				time.Sleep(30 * time.Second) // a checkpoint
				next := between(t, r)
				if next != r {
					next.run()
				}
				next.send("m1", "m4", "m3", "m3")
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
				next.end()
			})
		})
	}
}

// A store that could not be opened at the takeover, for want of the ledger, is
// opened later, and knows what was read meanwhile.
func TestDuplicatesAreFoundOnceTheStoreOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: 24 * time.Hour}) // without entry 0
		r.run()
		r.send("m1", "m2", "m1")
		time.Sleep(time.Second)
		r.mu.Lock()
		r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
		r.mu.Unlock()
		time.Sleep(30 * time.Second)
		r.send("m1", "m2", "m3")
		time.Sleep(time.Second)
		require.NoError(t, r.seal())
		require.Equal(t, []string{"a/0-5"}, r.written()[0])
		require.EqualValues(t, 2, r.skipped, "the first copy of m1 came before")
		r.end()
	})
}

// A tenure that ends before the ledger answered has nothing to warn of.
func TestDuplicatesThatPassAreLogged(t *testing.T) {
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
				r.looking = c.looking
				r.run()
				r.end()
				if c.says == "" {
					require.Empty(t, logged.String())
				}
				require.Contains(t, logged.String(), c.says)
			})
		})
	}
}

// What names the log is asked for again at the beginning, lest duplicates pass for want
// of one answer. Reading waits no longer than firstRecall for it, and not at all later.
func TestTheLogsNameIsAskedForAgain(t *testing.T) {
	for name, failing := range map[string]int{"one_answer_is_missing": 1, "all_are": 1000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{DedupWindow: 24 * time.Hour})
				r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
				var asked []time.Time
				r.looking = func(context.Context) error {
					r.mu.Lock()
					defer r.mu.Unlock()
					if asked = append(asked, time.Now()); len(asked) > failing {
						return nil
					}
					return objstore.ErrUnavailable
				}
				r.run()
				r.send("m", "m")
				time.Sleep(firstRecall + time.Second)
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
					require.Greater(t, times[i].Sub(times[i-1]), time.Second, "one request at each save")
				}
				require.Equal(t, failing == 1, len(times) == early)
				require.NoError(t, r.seal())
				require.Equal(t, failing == 1, r.skipped == 1)
				r.end()
			})
		})
	}
}

// Offsets of one log say nothing of another: a directory that came from
// elsewhere is not believed, nor is what a log held before it went back.
func TestOffsetsOfAnotherLog(t *testing.T) {
	cfg := Config{DedupWindow: 24 * time.Hour}
	for hazard, between := range map[string]func(t *testing.T, r *rig) *rig{
		"a_copied_directory": func(_ *testing.T, r *rig) *rig {
			r.end()
			next := r.died(cfg)
			next.records, next.head, next.chain = nil, entry(0), []*ledger.Entry{{Attempt: "another"}}
			return next
		},
		"another_routing_rule_meanwhile": func(_ *testing.T, r *rig) *rig {
			r.end()
			next := r.died(cfg)
			// By the other, the messages were of no source. Now it is given up.
			next.head = &ledger.Entry{Seq: 20, LowWatermark: 3, RouterFrom: 3, Owner: "another"}
			return next
		},
		"an_unclean_election": func(_ *testing.T, r *rig) *rig {
			r.mu.Lock()
			r.records = nil
			close(r.grown) // the reader asks again
			r.grown = make(chan struct{})
			r.mu.Unlock()
			return r
		},
		"an_unclean_election_while_nobody_names_the_log": func(_ *testing.T, r *rig) *rig {
			r.assigned()
			r.mu.Lock()
			r.chain = r.chain[1:]
			r.mu.Unlock()
			r.assigned(0)
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
				r.send("m1", "m2", "m3")
				time.Sleep(30 * time.Second)
				next := between(t, r)
				if next != r {
					next.run()
				}
				time.Sleep(30 * time.Second)
				next.send("m0", "m1", "m2", "m3")
				time.Sleep(30 * time.Second)
				require.NoError(t, next.seal())
				last := len(next.records) - 1
				require.Equal(t, []string{fmt.Sprintf("a/%d-%d", last-3, last)}, slices.Concat(next.written()...), "all four")
				require.Zero(t, next.skipped)
				next.end()
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
		_, err := c.addOnce(store, store.Key(source, []byte(message)), offset, source, t0, t0, []byte("{}"))
		require.NoError(t, err)
	}
	add(0, "b", "holds the watermark back")
	add(1, "a", "m")
	add(2, "a", "m") // below the last of a's file
	add(3, "a", "n")
	add(4, "a", "m")
	add(5, "a", "o")
	add(6, "a", "m") // above it
	require.Len(t, c.doubles, 1)
	require.NoError(t, c.seal(ledger.StreamOf("a", t0), segment.ReasonRequest))
	b := c.cut()
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 2}, b.Skipped)
	head := &ledger.Entry{Seq: 1, LowWatermark: 0, SealedThrough: []ledger.Through{{Source: "a", Hour: ledger.StreamOf("a", t0).Hour, Offset: 5}}}
	c.won(head)

	// Another owner reads on from the head, knowing nothing.
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

// However duplicates and lines alternate, noting them takes no memory.
func TestDuplicatesTakeNoMemory(t *testing.T) {
	store, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer store.Close()
	c := newTestCore(t, entry(0))
	store.Start(0)
	for o := range int64(1000) {
		message := "m"
		if o%2 == 0 {
			message = fmt.Sprint(o)
		}
		_, err := c.addOnce(store, store.Key("a", []byte(message)), o, "a", t0, t0, []byte("{}"))
		require.NoError(t, err)
	}
	require.LessOrEqual(t, len(c.savedDoubles()), 2)
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	require.Equal(t, map[string]int64{ledger.SkippedDuplicate: 499}, c.cut().Skipped)
}

// What fits no file is not remembered: a copy that fits is a first copy.
func TestUnfitLinesAreNotRemembered(t *testing.T) {
	store, err := dedup.Open(dedup.Config{Dir: t.TempDir()})
	require.NoError(t, err)
	defer store.Close()
	c := newTestCore(t, entry(0))
	store.Start(0)
	key := store.Key("a", []byte("m"))
	want := []fate{fateUnfit, fateFiled, fateDuplicate}
	for o, line := range []string{"{\n}", "{}", "{}"} {
		got, err := c.addOnce(store, key, int64(o), "a", t0, t0, []byte(line))
		require.NoError(t, err)
		require.Equal(t, want[o], got)
	}
}
