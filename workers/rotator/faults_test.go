package rotator

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/stream"
)

// ghosts makes every PUT below the prefix time out and arrive later, when ReleaseGhosts is called.
func ghosts(prefix string) func(objstore.Op) objstore.Fault {
	return func(op objstore.Op) objstore.Fault {
		if op.Name == "put" && strings.HasPrefix(op.Key, prefix) {
			return objstore.Fault{Before: errors.New("timeout"), Ghost: true}
		}
		return objstore.Fault{}
	}
}

// requireOneContentPerKey holds I1, I4 and I8 for everything that was ever stored.
func requireOneContentPerKey(t *testing.T, b *rig) {
	t.Helper()
	stored := map[string]int{}
	for _, put := range b.staging.Puts("") {
		if put.Applied {
			stored[put.Key]++
		}
	}
	for key, times := range stored {
		require.Equal(t, 1, times, key)
	}
}

// TestZombieLosesWhateverItsSuccessorDid: a worker that pauses anywhere between reading and its
// ledger PUT, and resumes after its successor has written some entries, writes nothing that counts.
func TestZombieLosesWhateverItsSuccessorDid(t *testing.T) {
	for name, sealed := range map[string]int64{"claim_only": 0, "one_entry": 1, "many_entries": 5} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			ctx := context.Background()
			base, err := b.Acquire(ctx, testLog, b.tenure("zombie", -1))
			require.NoError(t, err)
			head, err := b.Acquire(ctx, testLog, b.tenure("w2", -1))
			require.NoError(t, err)
			for i := range sealed {
				head, err = b.Rotate(ctx, head, batch(t, 10*i+10, fmt.Sprintf("a@%d", 10*i+1)), b.tenure("w2", -1))
				require.NoError(t, err)
			}
			jobs, low := len(b.jobs), b.commits[len(b.commits)-1]

			_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("zombie", -1))
			require.ErrorIs(t, err, ledger.ErrLost)
			require.Len(t, b.jobs, jobs, "jobs for files in no entry")
			require.Equal(t, low, b.commits[len(b.commits)-1], "the zombie committed an offset")
			now, err := ledger.NewChain(b.staging, testLog).Head(ctx)
			require.NoError(t, err)
			require.Equal(t, head, now)
			requireOneContentPerKey(t, b)
		})
	}
}

// TestLatePutOfAStagedFileIsHarmless: the PUT of a file may arrive after the same file was sent
// again and its entry was written.
func TestLatePutOfAStagedFileIsHarmless(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t)
		base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		late := ghosts("data/")
		b.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.N > 1 {
				return objstore.Fault{}
			}
			return late(op)
		})
		head, err := b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
		require.NoError(t, err)
		require.Zero(t, b.staging.ReleaseGhosts(), "late PUTs that were applied")
		requireOneContentPerKey(t, b)
		require.Len(t, head.Files, 1)
	})
}

// TestLatePutOfAnEntryDecidesOnce: the PUT of a ledger entry may arrive after its author has given
// up, before or after the next owner's claim.
func TestLatePutOfAnEntryDecidesOnce(t *testing.T) {
	abandoned := func(t *testing.T, b *rig) {
		base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		b.staging.SetFault(ghosts("ledger/"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		b.staging.SetFault(nil)
		require.Empty(t, b.jobs)
	}
	t.Run("before_the_claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRig(t)
			abandoned(t, b)
			require.Equal(t, 1, b.staging.ReleaseGhosts(), "late PUTs that were applied")
			claim, err := b.Acquire(t.Context(), testLog, b.tenure("w2", -1))
			require.NoError(t, err)
			require.EqualValues(t, 42, claim.LowWatermark, "watermark after the late entry")
			require.Len(t, b.jobs, 2, "jobs of the late entry")
			requireOneContentPerKey(t, b)
		})
	})
	t.Run("after_the_claim", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := newRig(t)
			abandoned(t, b)
			claim, err := b.Acquire(t.Context(), testLog, b.tenure("w2", -1))
			require.NoError(t, err)
			require.Zero(t, claim.LowWatermark)
			require.Zero(t, b.staging.ReleaseGhosts())
			head, err := b.Rotate(t.Context(), claim, batch(t, 42, "a@40"), b.tenure("w2", -1))
			require.NoError(t, err)
			require.EqualValues(t, 2, head.Seq)
			require.Len(t, b.jobs, 2)
			requireOneContentPerKey(t, b)
		})
	})
}

// TestClaimsHaveOneWinner: whatever the outcome of a claim's PUT, exactly one claim wins and its
// author knows.
func TestClaimsHaveOneWinner(t *testing.T) {
	broken := errors.New("connection reset")
	first := func(f objstore.Fault) func(objstore.Op) objstore.Fault {
		return func(op objstore.Op) objstore.Fault {
			if op.Name == "put" && strings.HasPrefix(op.Key, "ledger/") && op.N == 1 {
				return f
			}
			return objstore.Fault{}
		}
	}
	for name, fault := range map[string]objstore.Fault{
		"not_applied":       {Before: broken},
		"reply_lost":        {After: broken},
		"own_success_412":   {After: objstore.ErrExists},
		"conflict":          {Before: objstore.ErrConflict},
		"throttled":         {Before: objstore.ErrUnavailable},
		"throttled_applied": {After: objstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t)
				_, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				b.staging.SetFault(first(fault))
				claim, err := b.Acquire(t.Context(), testLog, b.tenure("w2", -1))
				require.NoError(t, err)
				require.EqualValues(t, 1, claim.Seq)
				stored, err := ledger.NewChain(b.staging, testLog).Head(t.Context())
				require.NoError(t, err)
				require.Equal(t, claim, stored)
				requireOneContentPerKey(t, b)
			})
		})
	}
	t.Run("two_claimers", func(t *testing.T) {
		b := newRig(t)
		ctx := context.Background()
		_, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		// The rival is faster: it claims between this worker's read of the head and its PUT.
		rival := sync.OnceFunc(func() {
			_, err := b.Acquire(ctx, testLog, b.tenure("faster", -1))
			require.NoError(t, err)
		})
		slow := New(b.cfg, b.deps)
		slow.deps.Staging = objstoretest.Before{Store: b.staging, Do: func(_ context.Context, op, key string) error {
			if op == "put" && strings.HasPrefix(key, "ledger/") {
				rival()
			}
			return nil
		}}
		_, err = slow.Acquire(ctx, testLog, b.tenure("slower", -1))
		require.ErrorIs(t, err, ledger.ErrLost)
		claim, err := slow.Acquire(ctx, testLog, b.tenure("slower", -1))
		require.NoError(t, err, "second try of the slower worker")
		require.EqualValues(t, 2, claim.Seq)
	})
}

// TestOutboxOfSeveralEntries: the next owner enqueues, oldest first, the jobs of all entries whose
// owners never did.
func TestOutboxOfSeveralEntries(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	head, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	head, err = b.Rotate(ctx, head, batch(t, 10, "a@1"), b.tenure("w1", -1))
	require.NoError(t, err)
	chain := ledger.NewChain(b.staging, testLog)
	for i := range int64(2) { // both entries are written, but their authors die before enqueuing
		e := sealEntry(head, []ledger.File{head.Files[0]}, batch(t, 20+10*i), b.tenure("w1", -1))
		e.Files[0].First, e.Files[0].Last = 12+10*i, 12+10*i
		e.Attempt, e.DispatchedThrough = fmt.Sprint("a", i), 0
		require.NoError(t, chain.Append(ctx, e))
		head = e
	}
	b.jobs = nil
	_, err = b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	var seqs []int64
	for _, j := range b.jobs {
		seqs = append(seqs, j.File.Seq)
	}
	require.Equal(t, []int64{1, 1, 2, 2, 3, 3}, seqs)
}

// partialProducer accepts the first record of the first call, and fails for the others until the
// last try.
type partialProducer struct {
	*rig
	tries, last int
	tooLarge    bool
}

func (h *partialProducer) Produce(ctx context.Context, records ...stream.Record) error {
	if h.tries++; h.tries >= h.last {
		return h.rig.Produce(ctx, records...)
	}
	if h.tries > 1 { // the first record is in the topic by now
		return &stream.Unwritten{Failed: records, Err: errors.New("no leader")}
	}
	if err := h.rig.Produce(ctx, records[0]); err != nil {
		return err
	}
	if h.tooLarge {
		return &stream.Unwritten{TooLarge: records[1:], Err: stream.ErrRecordTooLarge}
	}
	return &stream.Unwritten{Failed: records[1:], Err: errors.New("no leader")}
}

// TestEnqueuedJobsAreNotSentAgain: only the jobs that were not written are retried, since
// their partitions may have no leader for hours.
func TestEnqueuedJobsAreNotSentAgain(t *testing.T) {
	for name, tooLarge := range map[string]bool{"no_leader": false, "max_message_bytes_was_too_small": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t)
				jobs := &partialProducer{rig: b, last: 5, tooLarge: tooLarge}
				b.deps.Jobs = jobs
				base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				_, err = b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
				require.NoError(t, err)
				require.Equal(t, 5, jobs.tries)
				var owed []string
				for _, j := range b.jobs {
					owed = append(owed, j.Destination)
				}
				require.Equal(t, []string{"ws/a", "ws/b"}, owed)
			})
		})
	}
}

// TestFailedCommitChangesNothing: the committed offset is only a hint, and the generation may
// be over by the time it is sent.
func TestFailedCommitChangesNothing(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	tenure := b.tenure("w1", -1)
	tenure.Commit = func(context.Context, int64, string) error { return errors.New("illegal generation") }
	base, err := b.Acquire(ctx, testLog, tenure)
	require.NoError(t, err)
	head, err := b.Rotate(ctx, base, batch(t, 42, "a@40"), tenure)
	require.NoError(t, err)
	require.Len(t, b.jobs, 2)
	tenure = b.tenure("w2", -1)
	claim, err := b.Acquire(ctx, testLog, tenure)
	require.NoError(t, err)
	require.Equal(t, head.LowWatermark, claim.LowWatermark)
	require.Equal(t, []int64{42}, b.commits, "offsets committed by the next owner")
}
