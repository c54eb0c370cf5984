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
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
)

// directedSchedule returns a schedule without randomness: one worker has read the records
// "source@minutes" of its partition, written a checkpoint, and was killed.
func directedSchedule(t *testing.T, records ...string) (*schedule, *worker) {
	t.Helper()
	s := newSchedule(t, 1)
	w := s.workers[0]
	s.takeOver(w)
	feed(t, w.core, records...)
	_, err := w.core.save()
	require.NoError(t, err)
	s.kill(w)
	return s, w
}

// appendEntry appends an entry of the given worker and makes it the head.
func (s *schedule) appendEntry(owner string, low int64, through ...ledger.SealedStream) {
	e := claim(s.head, owner)
	e.LowWatermark, e.SealedThrough = low, through
	s.head = e
	s.chain = append(s.chain, e)
}

// holdings returns what a core holds: its position, then its files.
func holdings(c *core) (held []string) {
	held = append(held, fmt.Sprint(c.position))
	for _, f := range c.sealed {
		held = append(held, fmt.Sprintf("%s/%d-%d sealed for %s", f.Stream.Source, f.First, f.Last, f.Reason))
	}
	c.spool.Files(func(m segment.Meta) {
		held = append(held, fmt.Sprintf("%s/%d-%d", m.Stream.Source, m.First, m.Last))
	})
	return held
}

// TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain: what a killed worker resumes, depending on
// what happened to the ledger since.
func TestLocalFilesAreTrustedOnlyByTheirAuthorOnTheirChain(t *testing.T) {
	// Offsets: a 0, b 1, a 2, b 3; position 4.
	for name, c := range map[string]struct {
		since func(s *schedule)
		want  []string
	}{
		"nothing": {
			since: func(*schedule) {},
			want:  []string{"4", "a/0-2", "b/1-3"},
		},
		"own_claim": {
			since: func(s *schedule) { s.appendEntry("w1", 0) },
			want:  []string{"4", "a/0-2", "b/1-3"},
		},
		"own_entry_of_what_was_read": {
			since: func(s *schedule) { s.appendEntry("w1", 1, ledger.SealedStream{Source: "a", Hour: t0, Offset: 2}) },
			want:  []string{"4", "b/1-3"},
		},
		"own_entry_of_what_was_read_later_too": {
			since: func(s *schedule) { s.appendEntry("w1", 1, ledger.SealedStream{Source: "a", Hour: t0, Offset: 9}) },
			want:  []string{"4", "b/1-3"},
		},
		"own_entry_of_all_and_more": {
			since: func(s *schedule) { s.appendEntry("w1", 9) },
			want:  []string{"9"},
		},
		"an_entry_that_ends_within_a_file": { // written by a copy of the disk that had read less
			since: func(s *schedule) { s.appendEntry("w1", 1, ledger.SealedStream{Source: "a", Hour: t0, Offset: 1}) },
			want:  []string{"1"},
		},
		"a_watermark_within_a_file": {
			since: func(s *schedule) { s.appendEntry("w1", 1) },
			want:  []string{"1"},
		},
		"claim_of_another": {
			since: func(s *schedule) { s.appendEntry("w2", 0) },
			want:  []string{"0"},
		},
		"claim_of_another_and_ours_again": {
			since: func(s *schedule) { s.appendEntry("w2", 0); s.appendEntry("w1", 0) },
			want:  []string{"0"},
		},
		"another_chain": {
			since: func(s *schedule) {
				e := *s.head
				e.Attempt = "other"
				s.head, s.chain = &e, []*ledger.Entry{&e}
			},
			want: []string{"0"},
		},
		"rolled_back": {
			since: func(s *schedule) { s.head, s.chain = entry(0), []*ledger.Entry{entry(0)} },
			want:  []string{"0"},
		},
		"other_routing_rule": {
			since: func(s *schedule) { s.routerRule = "key;header" }, // the claim switches to it, because the filter is empty
			want:  []string{"0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, w := directedSchedule(t, "a@1", "b@2", "a@3", "b@4")
			c.since(s)
			s.takeOver(w)
			require.ElementsMatch(t, c.want, holdings(w.core))
			s.kill(w)
		})
	}
}

// TestCancelledTakeoverKeepsLocalFiles: a takeover that is cancelled while it reads local files
// leaves them to the next one.
func TestCancelledTakeoverKeepsLocalFiles(t *testing.T) {
	s, w := directedSchedule(t, "a@1", "b@2", "a@3", "b@4")
	base, err := s.Acquire(t.Context(), ledger.Log{}, ledger.Tenure{Owner: w.name})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.partition.startCore(ctx, &takeover{base: base}, w.name)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, w.partition.findLocalFiles(ctx, new(takeover), base, w.name), context.Canceled)
	s.takeOver(w)
	require.ElementsMatch(t, []string{"4", "a/0-2", "b/1-3"}, holdings(w.core))
	s.kill(w)
}

// TestChainWalkRetriesRequests: the walk that decides whether local files are trusted
// survives a failed request, but does not retry forever.
func TestChainWalkRetriesRequests(t *testing.T) {
	for name, c := range map[string]struct {
		fails   error
		failing int           // number of failing requests
		after   time.Duration // time that each takes
		asked   int
		err     error
	}{
		"some":      {fails: objstore.ErrUnavailable, failing: 3, asked: 4},
		"some_mute": {fails: objstore.ErrUnavailable, failing: 3, asked: 4, after: 30 * time.Second},
		"all":       {fails: objstore.ErrUnavailable, failing: 1000, asked: 5, err: objstore.ErrUnavailable},
		"refused":   {fails: objstore.ErrDenied, failing: 1000, asked: 1, err: objstore.ErrDenied},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, w := directedSchedule(t, "a@1")
				base, err := s.Acquire(t.Context(), ledger.Log{}, ledger.Tenure{Owner: w.name})
				require.NoError(t, err)
				asked := 0
				s.onEntry = func(context.Context) error {
					if asked++; asked > c.failing {
						return nil
					}
					time.Sleep(c.after)
					return c.fails
				}
				to := new(takeover)
				defer to.close()
				require.ErrorIs(t, w.partition.findLocalFiles(t.Context(), to, base, w.name), c.err)
				require.Equal(t, c.err == nil, to.local != nil)
				require.Equal(t, c.asked, asked)
				s.kill(w)
			})
		})
	}
}

// TestResumeWithAWatermarkWithinSkippedRecords: an entry by a copy of the disk that had skipped
// only some of the records makes the local files unusable, since it is unknown which of them were
// counted.
func TestResumeWithAWatermarkWithinSkippedRecords(t *testing.T) {
	for name, c := range map[string]struct {
		low     int64
		want    string
		skipped map[string]int64 // by the records read from there on and those read before
	}{
		"before":  {low: 0, want: "3", skipped: map[string]int64{"x": 3}},
		"among":   {low: 1, want: "1", skipped: map[string]int64{}},
		"between": {low: 3, want: "3", skipped: map[string]int64{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule(t, 1)
			w := s.workers[0]
			s.takeOver(w)
			for o := range int64(3) {
				require.NoError(t, w.core.skip(o, "x"))
			}
			_, err := w.core.save()
			require.NoError(t, err)
			s.kill(w)
			s.appendEntry("w1", c.low)
			s.takeOver(w)
			require.Equal(t, []string{c.want}, holdings(w.core))
			feed(t, w.core, "a@1")
			require.NoError(t, w.core.sealAll(segment.ReasonRequest))
			require.Equal(t, c.skipped, w.core.cut().Skipped)
			s.kill(w)
		})
	}
}

// TestResumeWithDuplicatesPartlyInTheLedger: the same for duplicates.
func TestResumeWithDuplicatesPartlyInTheLedger(t *testing.T) {
	for name, c := range map[string]struct {
		low  int64
		last int64 // last offset of their stream in the filter; -1: none
		want string
	}{
		"none_of_them":           {low: 0, last: -1, want: "3"},
		"all_of_them":            {low: 3, last: -1, want: "3"},
		"a_watermark_among_them": {low: 1, last: -1, want: "1"},
		"a_file_ends_among_them": {low: 0, last: 1, want: "0"},
		"a_file_ends_after_them": {low: 0, last: 2, want: "3"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule(t, 1)
			w := s.workers[0]
			s.takeOver(w)
			for o := range int64(3) {
				require.NoError(t, w.core.skipDuplicate(ledger.StreamOf("a", t0), o, t0))
			}
			_, err := w.core.save()
			require.NoError(t, err)
			s.kill(w)
			var through []ledger.SealedStream
			if c.last >= 0 {
				through = append(through, ledger.SealedStream{Source: "a", Hour: t0, Offset: c.last})
			}
			s.appendEntry("w1", c.low, through...)
			s.takeOver(w)
			require.Equal(t, []string{c.want}, holdings(w.core))
			s.kill(w)
		})
	}
}

// TestResumeRestoresTheState: deadlines, sealed files that are in no entry, and skipped
// records survive a restart.
func TestResumeRestoresTheState(t *testing.T) {
	s := newSchedule(t, 1)
	w := s.workers[0]
	s.takeOver(w)
	feed(t, w.core, "late@-300", "a@10", "b@50", "a@61", "b@62") // a/1-1, b/2-2 and late/0-0 are due
	require.NoError(t, w.core.skip(5, "x"))
	require.NoError(t, w.core.seal(ledger.StreamOf("a", t0+61*60_000), segment.ReasonRequest)) // a/3-3
	feed(t, w.core, "a@63")
	w.core.cfg.maxFiles = 1
	require.Equal(t, []string{"late/0-0"}, files(w.core.cut())) // in flight
	_, err := w.core.save()
	require.NoError(t, err)
	deadlines, progress := w.core.open, w.core.progress
	s.kill(w)
	s.takeOver(w)
	require.ElementsMatch(t, []string{
		"7", "late/0-0 sealed for time", "a/1-1 sealed for time", "b/2-2 sealed for time", "a/3-3 sealed for request", "b/4-4", "a/6-6",
	}, holdings(w.core))
	require.Equal(t, deadlines, w.core.open)
	require.Equal(t, progress, w.core.progress)
	require.NoError(t, w.core.sealAll(segment.ReasonRequest))
	b := w.core.cut()
	require.Equal(t, []string{"late/0-0", "a/1-1", "b/2-2", "a/3-3", "b/4-4", "a/6-6"}, files(b))
	require.Equal(t, map[string]int64{"x": 1}, b.Skipped)
	s.kill(w)
}

// restarted returns a rig for a process that starts with copies of this one's disk and ledger, as
// if this one had been killed.
func (r *rig) restarted(cfg Config) *rig {
	cfg.DataDir = r.t.TempDir()
	require.NoError(r.t, os.CopyFS(cfg.DataDir, os.DirFS(r.cfg.DataDir)))
	next := newRig(r.t, cfg)
	r.mu.Lock()
	defer r.mu.Unlock()
	next.records, next.logStart, next.head, next.chain, next.batches, next.skipped = r.records, r.logStart, r.head, r.chain, r.batches, r.skipped
	return next
}

// TestRestartContinuesFromTheCheckpoint: a killed worker continues from its checkpoint, and a
// stopped one from where it stopped.
func TestRestartContinuesFromTheCheckpoint(t *testing.T) {
	for name, c := range map[string]struct {
		stopped bool
		reads   int64
	}{
		"killed":  {stopped: false, reads: 2},
		"stopped": {stopped: true, reads: 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.run()
				r.produce("a", "b", "", "a")
				time.Sleep(16 * time.Second) // until there is a checkpoint
				r.produce("a")
				synctest.Wait()
				if c.stopped {
					r.stopAndWait()
				}
				next := r.restarted(Config{})
				if !c.stopped {
					r.stopAndWait()
				}
				next.produce("b")
				next.run()
				synctest.Wait()
				require.Equal(t, c.reads, next.RecordsForTesting())
				require.NoError(t, next.seal())
				require.Equal(t, [][]string{{"a/0-4", "b/1-5"}}, next.written())
				next.stopAndWait()
			})
		})
	}
}

// TestEntryWrittenBeforeAKillIsNotRepeated: a worker was killed before it learned that its entry
// was written.
func TestEntryWrittenBeforeAKillIsNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b")
		time.Sleep(16 * time.Second)
		require.NoError(t, r.seal())
		next := r.restarted(Config{})
		r.stopAndWait()
		next.produce("a")
		next.run()
		require.NoError(t, next.seal())
		require.Equal(t, [][]string{{"a/0-0", "b/1-1"}, {"a/2-2"}}, next.written())
		require.EqualValues(t, 1, next.RecordsForTesting())
		next.stopAndWait()
	})
}

// TestUnresolvedEntryIsDecidedByTheHead: a worker stops while the staging bucket is down. Its files
// are still on its disk, and end up in exactly one entry.
func TestUnresolvedEntryIsDecidedByTheHead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.onRotate = func(ctx context.Context, nth int) error { <-ctx.Done(); return ctx.Err() }
		r.run()
		r.produce("a", "b")
		synctest.Wait()
		go func() { _ = r.seal() }()
		synctest.Wait()
		r.stopAndWait()
		next := r.restarted(Config{})
		next.run()
		require.NoError(t, next.seal())
		require.Equal(t, [][]string{{"a/0-0", "b/1-1"}}, next.written())
		require.Zero(t, next.RecordsForTesting())
		next.stopAndWait()
	})
}

// TestUselessLeftoversAreDeleted: local files of partitions that are not ours, and of other
// topics and incarnations, are deleted if nobody could continue with them.
func TestUselessLeftoversAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		kept := filepath.Join(r.spoolsDir(), "0", "00000000.journal")
		gone := []string{
			filepath.Join(r.spoolsDir(), "1", "00000000.journal"),
			filepath.Join(r.cfg.DataDir, spoolDir, r.cfg.Topic, "2", "0", "00000000.journal"),
			filepath.Join(r.cfg.DataDir, spoolDir, "other", "1", "0", "00000000.journal"),
			filepath.Join(r.cfg.DataDir, spoolDir, "other", "1", "00", "00000000.journal"),
		}
		for _, path := range append(gone, kept) {
			require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
			require.NoError(t, os.WriteFile(path, nil, 0o600))
		}
		ctx, stop := context.WithCancel(t.Context())
		r.stop = stop
		go func() { r.ended <- r.Run(ctx) }()
		synctest.Wait()
		require.FileExists(t, kept)
		require.FileExists(t, gone[0])
		r.assignPartitions(0, 1)
		synctest.Wait()
		require.DirExists(t, filepath.Dir(gone[0]))
		r.assignPartitions(0)
		time.Sleep(time.Minute)
		for _, path := range gone {
			require.NoFileExists(t, path)
			require.NoDirExists(t, filepath.Dir(path))
		}
		r.stopAndWait()
	})
}

// TestLocalFilesOfAnotherTopicOrIncarnation: they may be the only copy, and the configured name may
// be a mistake, so they stay until their own ledger has them or has an entry of another worker.
func TestLocalFilesOfAnotherTopicOrIncarnation(t *testing.T) {
	for name, c := range map[string]struct {
		cfg   Config
		since func(chain []*ledger.Entry) []*ledger.Entry
		gone  string // why it is deleted
	}{
		"incarnation":           {cfg: Config{Incarnation: "2"}},
		"topic":                 {cfg: Config{Topic: "sealift.event"}},
		"a_ledger_that_is_away": {cfg: Config{Topic: "sealift.event"}, since: func([]*ledger.Entry) []*ledger.Entry { return nil }},
		"the_ledger_has_a_part": {cfg: Config{Incarnation: "2"}, since: covers("w", 2)},
		"the_ledger_has_all":    {cfg: Config{Incarnation: "2"}, since: covers("w", 3), gone: "the ledger has them all"},
		"another_worker_came":   {cfg: Config{Incarnation: "2"}, since: covers("w2", 0), gone: "of \\\"w2\\\""},
		"of_another_environment": {cfg: Config{Incarnation: "2"}, since: func(chain []*ledger.Entry) []*ledger.Entry {
			other := *chain[0]
			other.Attempt = "other"
			return []*ledger.Entry{&other, claim(&other, "w2")}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.run()
				r.produce("a", "b", "a")
				time.Sleep(time.Minute)
				r.stopAndWait()
				next := r.restarted(c.cfg)
				var logged bytes.Buffer
				next.deps.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				log := ledger.Log{Topic: r.cfg.Topic, Incarnation: r.cfg.Incarnation}
				next.chains = map[ledger.Log][]*ledger.Entry{log: next.chain}
				if c.since != nil {
					next.chains[log] = c.since(next.chain)
				}
				next.chain, next.head = nil, entry(0)
				next.run()
				time.Sleep(10 * time.Minute)
				spool := filepath.Join(next.cfg.DataDir, spoolDir, log.Topic, log.Incarnation, "0")
				if c.gone != "" {
					require.NoDirExists(t, spool)
				} else {
					require.DirExists(t, spool)
				}
				next.stopAndWait()
				require.Contains(t, logged.String(), "keeping local files of another topic or incarnation")
				require.Equal(t, c.gone != "", strings.Contains(logged.String(), "are deleted"))
				require.Contains(t, logged.String(), c.gone)
			})
		})
	}
}

// covers appends an entry that covers everything below low, by the given worker; "w" is the chain's
// own.
func covers(owner string, low int64) func(chain []*ledger.Entry) []*ledger.Entry {
	return func(chain []*ledger.Entry) []*ledger.Entry {
		if owner == "w" {
			owner = chain[0].Owner
		}
		e := claim(chain[len(chain)-1], owner)
		e.LowWatermark = low
		return append(slices.Clone(chain), e)
	}
}
