package appender

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// TestWhatIsKnownOfLeftFilesIsSmall, for it is kept as long as they are.
func TestWhatIsKnownOfLeftFilesIsSmall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DedupWindow: time.Hour})
		r.chain = slices.Insert(r.chain, 0, &ledger.Entry{})
		r.run()
		r.produce("", "a", "")
		r.send("m", "m")
		time.Sleep(time.Minute) // a checkpoint
		r.end()
		dir := filepath.Join(r.spoolsDir(), "0")
		state, err := segment.State(t.Context(), dir)
		require.NoError(t, err)
		require.Contains(t, string(state), `"doubles":[`)
		l, err := r.leftOf(t.Context(), ledger.Log{Topic: r.cfg.Topic}, dir)
		require.NoError(t, err)
		require.EqualValues(t, 5, l.Position)
		require.Empty(t, l.Skipped)
		require.Empty(t, l.Doubles)
	})
}

// TestLocalFilesAreKeptUntilAnotherOwnerWrites: also over a restart after which the
// partition is not ours. Its next owner is halted for want of them, and nobody else has them.
func TestLocalFilesAreKeptUntilAnotherOwnerWrites(t *testing.T) {
	for name, c := range map[string]struct {
		start int64 // of the log
		owned bool  // another owner writes to the ledger
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
				first.end()
				r := first.died(Config{})
				ctx, stop := context.WithCancel(t.Context())
				r.stop = stop
				go func() { r.ended <- r.Run(ctx) }()
				r.assigned(1) // not 0
				r.pass(c.start)
				time.Sleep(time.Hour)
				spool := filepath.Join(r.spoolsDir(), "0")
				require.DirExists(t, spool)
				if c.owned {
					r.mu.Lock()
					r.head = claim(r.head, "w2")
					r.chain = append(r.chain, r.head)
					r.mu.Unlock()
					time.Sleep(2 * leftEvery)
					require.NoDirExists(t, spool)
				} else {
					r.assigned()
					r.assigned(0)
					time.Sleep(time.Minute)
					require.NoError(t, r.seal())
					require.Equal(t, c.want, slices.Concat(r.written()...))
				}
				r.end()
			})
		})
	}
}

// TestFilesThatAreLeftAgainAreOthers: a partition that was ours between two sweeps
// has read on, so an entry that covers what it left before does not cover these.
func TestFilesThatAreLeftAgainAreOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute) // a checkpoint
		var asked atomic.Int64
		told := make(chan struct{})
		r.mu.Lock()
		r.looking = func(context.Context) error {
			if asked.Add(1) == 1 { // the sweep
				<-told
			}
			return nil
		}
		r.mu.Unlock()
		r.assigned(1)
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, asked.Load())
		r.assigned(0)
		synctest.Wait()
		require.NoError(t, r.seal())
		r.produce("b")
		time.Sleep(time.Minute)
		r.assigned(1)
		close(told)
		time.Sleep(2 * leftEvery)
		require.DirExists(t, filepath.Join(r.spoolsDir(), "0"))
		r.end()
	})
}

// TestALedgerThatIsAwayIsAskedOnce a sweep, not for every partition whose files
// are left; and nothing else waits for a sweep.
func TestALedgerThatIsAwayIsAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute) // a checkpoint
		spool := filepath.Join(r.spoolsDir(), "0")
		for _, n := range []string{"1", "2"} {
			require.NoError(t, os.CopyFS(filepath.Join(r.spoolsDir(), n), os.DirFS(spool)))
		}
		var asked atomic.Int64
		r.mu.Lock()
		r.looking = func(ctx context.Context) error {
			asked.Add(1)
			<-ctx.Done() // a stop
			return ctx.Err()
		}
		r.mu.Unlock()
		r.assigned(0)
		r.reachable(errTest)
		r.produce("a")
		time.Sleep(time.Hour)
		require.EqualValues(t, 1, asked.Load())
		require.EqualValues(t, 1, lag(r.Appender))
		r.mu.Lock()
		r.looking = func(context.Context) error { asked.Add(1); return errTest }
		r.mu.Unlock()
		r.end()
		require.EqualValues(t, 1, asked.Load())

		asked.Store(0)
		ctx, stop := context.WithCancel(t.Context())
		next := r.died(Config{})
		next.looking = func(context.Context) error { asked.Add(1); return errTest }
		next.stop = stop
		go func() { next.ended <- next.Run(ctx) }()
		next.assigned()
		time.Sleep(10 * time.Second)
		require.EqualValues(t, 1, asked.Load())
		next.end()
	})
}

// TestASweepGoesOnWhereTheLastOneEnded: what is left of a chain that nobody writes any
// more is looked at each minute, for ever.
func TestASweepGoesOnWhereTheLastOneEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(time.Minute) // a checkpoint
		r.end()
		next := r.died(Config{Incarnation: "2"})
		chain := next.chain
		for range 100 {
			chain = covers("w", 0)(chain)
		}
		log := ledger.Log{Topic: r.cfg.Topic, Incarnation: r.cfg.Incarnation}
		next.chains = map[ledger.Log][]*ledger.Entry{log: chain}
		next.chain, next.head = nil, entry(0)
		var asked atomic.Int64
		next.looking = func(context.Context) error { asked.Add(1); return nil }
		next.run()
		time.Sleep(time.Minute)
		require.Greater(t, asked.Load(), int64(100))
		asked.Store(0)
		time.Sleep(time.Hour)
		require.Positive(t, asked.Load())
		require.LessOrEqual(t, asked.Load(), int64(time.Hour/leftEvery))
		next.mu.Lock()
		next.chains[log] = covers("w", 3)(chain)
		next.mu.Unlock()
		time.Sleep(2 * leftEvery)
		require.NoDirExists(t, filepath.Join(next.cfg.DataDir, spoolDir, log.Topic, log.Incarnation, "0"))
		next.end()
	})
}
