package rotator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

func TestTakeoverEnqueuesItsFormerOwnersJobs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t)
		base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		b.jobsErr = func(int) error { return errors.New("kafka is away") }
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Empty(t, b.jobs)

		b.jobsErr = nil
		claim, err := b.Acquire(t.Context(), testLog, b.tenure("w2", -1))
		require.NoError(t, err)
		require.Len(t, b.jobs, 2)
		require.EqualValues(t, 42, claim.LowWatermark)
		_, err = b.Acquire(t.Context(), testLog, b.tenure("w3", -1))
		require.NoError(t, err)
		require.Len(t, b.jobs, 2, "jobs were enqueued again")
	})
}

// TestUnknownRoutingRuleWritesNoClaim: a worker that does not know the chain's routing rule writes
// no claim, which would be useless and permanent.
func TestUnknownRoutingRuleWritesNoClaim(t *testing.T) {
	b := newRig(t)
	b.cfg.Router = ledger.RouterRule("key", "record")
	_, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	writes := len(b.staging.Puts("ledger/"))
	tenure := b.tenure("w2", -1)
	unknown := errors.New("unknown rule")
	tenure.CheckRouter = func(rule string) error {
		require.Equal(t, b.cfg.Router, rule)
		return unknown
	}
	for range 3 {
		_, err = b.Acquire(t.Context(), testLog, tenure)
		require.ErrorIs(t, err, unknown)
	}
	require.Len(t, b.staging.Puts("ledger/"), writes)
}

// TestAcquireIgnoresOtherPartitions: a partition without a leader, for example while brokers are
// down, does not prevent other partitions from being taken over.
func TestAcquireIgnoresOtherPartitions(t *testing.T) {
	b := newRig(t)
	b.boundsErr = errors.New("partition 7 has no leader")
	head, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	require.Zero(t, head.Seq)
	other := testLog
	other.Partition = 7
	_, err = b.Acquire(t.Context(), other, b.tenure("w1", -1))
	require.ErrorIs(t, err, b.boundsErr)
}

func TestContradictionsHalt(t *testing.T) {
	all := stream.Bounds{First: 0, End: 100}
	note := func(change func(*ledger.Note)) func(ledger.Note) string {
		return func(n ledger.Note) string { change(&n); return n.String() }
	}
	for name, c := range map[string]struct {
		noChain bool // else there is a chain with entries 0 and 1 and watermark 42
		cluster string
		bounds  stream.Bounds
		note    func(ledger.Note) string // made from the note of the last commit
		says    string
	}{
		"ledger_lost":              {noChain: true, bounds: all, note: note(func(*ledger.Note) {}), says: "there is no ledger"},
		"ledger_lost_at_its_start": {noChain: true, bounds: all, note: note(func(n *ledger.Note) { n.Seq, n.LowWatermark = 0, 0 }), says: "there is no ledger"},
		"entry_rolled_back":        {bounds: all, note: note(func(n *ledger.Note) { n.Seq = 2 }), says: "committed entry 2, its newest is 1: the staging bucket was rolled back"},
		"watermark_rolled_back":    {bounds: all, note: note(func(n *ledger.Note) { n.LowWatermark = 43 }), says: "committed offset 43, above its watermark 42: the staging bucket was rolled back"},
		"another_history":          {bounds: all, note: note(func(n *ledger.Note) { n.Attempt = "other" }), says: "entry 1 is not the one that the group has committed"},
		"another_longer_history":   {bounds: all, note: note(func(n *ledger.Note) { n.Seq, n.Attempt = 0, "other" }), says: "staging.bucket"},
		"another_incarnation":      {bounds: all, note: note(func(n *ledger.Note) { n.Incarnation = "2" }), says: "kafka.incarnation"},
		"new_incarnation":          {noChain: true, bounds: all, note: note(func(n *ledger.Note) { n.Incarnation = "0" }), says: "delete the group's offsets"},
		"log_shorter":              {bounds: stream.Bounds{First: 0, End: 41}, says: "set a new kafka.incarnation"},
		"log_shorter_by_a_loss":    {bounds: stream.Bounds{First: 0, End: 41}, says: "continues by itself once the topic ends at offset 42"},
		"log_begins_later":         {bounds: stream.Bounds{First: 43, End: 100}, says: "sealift ledger accept-loss --partition 3"},
		"other_kafka_cluster":      {cluster: "c2", bounds: all, says: "cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			ctx := context.Background()
			base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			head, err := b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
			require.NoError(t, err)
			require.Equal(t, ledger.NoteOf(head).String(), b.note)
			if c.noChain {
				b.staging = objstore.NewMemory("empty")
				b.deps.Staging = b.staging
			}
			if c.cluster != "" {
				b.cfg.Cluster = c.cluster
			}
			b.bounds = c.bounds
			writes := len(b.staging.Puts("ledger/"))
			tenure := b.tenure("w2", 1)
			if c.note != nil {
				tenure.Note = c.note(ledger.NoteOf(head))
			}
			_, err = b.Acquire(ctx, testLog, tenure)
			require.ErrorIs(t, err, ErrHalted)
			require.ErrorContains(t, err, c.says)
			require.Len(t, b.staging.Puts("ledger/"), writes, "entries written by a halted partition")
		})
	}
}

// TestAcquireWithoutTheWatermarkNeedsLocalFiles: if the log does not have the watermark any more, a
// worker takes the partition over only if it has on its disk records read since, at least to write
// those.
func TestAcquireWithoutTheWatermarkNeedsLocalFiles(t *testing.T) {
	for name, c := range map[string]struct {
		first int64
		end   int64 // 0: 100
		local int64
		err   error
		want  error // nil: the partition is taken over
	}{
		"nothing_on_the_disk":         {first: 50, local: -1, want: ErrHalted},
		"what_is_in_the_ledger":       {first: 50, local: 42, want: ErrHalted},
		"all_that_is_gone":            {first: 50, local: 50},
		"some_of_what_is_gone":        {first: 50, local: 43},
		"local_files_unknown":         {first: 50, local: -1, err: objstore.ErrNotFound, want: objstore.ErrNotFound},
		"recreated":                   {end: 41, local: -1, want: ErrHalted},
		"recreated_and_all_on_disk":   {end: 41, local: 50},
		"nothing_gone":                {first: 42, local: -1},
		"nothing_gone_files_not_read": {first: 42, err: objstore.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			head, err := b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
			require.NoError(t, err)
			b.bounds = stream.Bounds{First: c.first, End: cmp.Or(c.end, 100)}
			tenure := b.tenure("w1", 42)
			var shown *ledger.Entry
			tenure.LocalEnd = func(_ context.Context, claim *ledger.Entry, end int64) (int64, error) {
				require.Equal(t, []int64{head.Seq + 1, b.bounds.End}, []int64{claim.Seq, end})
				shown = claim
				return c.local, c.err
			}
			claim, err := b.Acquire(t.Context(), testLog, tenure)
			require.ErrorIs(t, err, c.want)
			if c.want == nil {
				require.True(t, shown == nil || shown == claim, "local files were checked against another claim")
				require.EqualValues(t, 42, claim.LowWatermark, "watermark of the claim")
			}
		})
	}
}

// TestHaltNamesTheDamage: if the log lost what this worker had read, and the disk as well, the
// partition halts, and the reason names both and what can be done. Nothing is written, since an
// intact copy of the files may exist.
func TestHaltNamesTheDamage(t *testing.T) {
	for name, c := range map[string]struct {
		bounds stream.Bounds
		says   string
	}{
		"retention_passed": {stream.Bounds{First: 50, End: 100}, "sealift ledger accept-loss --partition 3"},
		"log_shorter":      {stream.Bounds{End: 41}, "continues by itself once the topic ends at offset 42"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			_, err = b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
			require.NoError(t, err)
			b.bounds = c.bounds
			tenure, writes := b.tenure("w1", 42), len(b.staging.Puts("ledger/"))
			tenure.LocalEnd = func(context.Context, *ledger.Entry, int64) (int64, error) {
				return 100, fmt.Errorf("recover spool %q: %w", "/data/3", segment.ErrDamaged)
			}
			_, err = b.Acquire(t.Context(), testLog, tenure)
			require.ErrorIs(t, err, ErrHalted)
			require.NotErrorIs(t, err, segment.ErrDamaged, "a halt is not counted as another damage")
			require.NotContains(t, err.Error(), "%!")
			for _, says := range []string{`damaged on its disk (recover spool "/data/3": spool is damaged)`, "snapshot", c.says} {
				require.ErrorContains(t, err, says)
			}
			require.Len(t, b.staging.Puts("ledger/"), writes, "entries written by a halted partition")
		})
	}
}

// TestAcceptLoss: accepting a loss lets a halted partition continue, once, and the next owner
// still enqueues the jobs that the former one had not.
func TestAcceptLoss(t *testing.T) {
	b := newRig(t)
	ctx := t.Context()
	chain := ledger.NewChain(b.staging, testLog)
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	_, err = AcceptLoss(ctx, chain, "c1", b.bounds, "operator")
	require.ErrorIs(t, err, ErrNothingLost)
	head, err := b.Rotate(ctx, base, batch(t, 42, "a@40", "b@60"), b.tenure("w1", -1))
	require.NoError(t, err)
	require.NotEmpty(t, head.SealedThrough)

	b.bounds.First = 100
	_, err = b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.ErrorIs(t, err, ErrHalted)
	_, err = AcceptLoss(ctx, chain, "c2", b.bounds, "operator")
	require.ErrorContains(t, err, "cluster")
	lost, err := AcceptLoss(ctx, chain, "c1", b.bounds, "operator")
	require.NoError(t, err)
	require.Equal(t, map[string]int64{ledger.SkippedLost: 58}, lost.Skipped)
	require.EqualValues(t, 100, lost.LowWatermark)
	require.Empty(t, lost.SealedThrough)
	require.Equal(t, head.DispatchedThrough, lost.DispatchedThrough)
	_, err = b.Rotate(ctx, head, batch(t, 150, "a@149"), b.tenure("w1", -1))
	require.ErrorIs(t, err, ledger.ErrLost, "entry of the previous owner")

	b.jobs = nil
	claim, err := b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	require.EqualValues(t, 100, claim.LowWatermark)
	require.EqualValues(t, 100, claim.RouterFrom, "offset from which messages are remembered")
	require.Len(t, b.jobs, 4, "jobs of two files with two destinations each")
	_, err = AcceptLoss(ctx, chain, "c1", b.bounds, "operator")
	require.ErrorIs(t, err, ErrNothingLost)
}

// staleListing is a store whose listings show no entry after newest.
type staleListing struct {
	objstore.Store
	newest int64
}

func (b *staleListing) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	infos, err := b.Store.List(ctx, prefix, after, 1000)
	infos = slices.DeleteFunc(infos, func(i objstore.Info) bool {
		_, seq, ok := ledger.ParseEntryKey(i.Key)
		return ok && seq > b.newest
	})
	return infos[:min(limit, len(infos))], err
}

// TestStaleListingIsNoRollback: if the entry that the group has committed exists but is not
// listed yet, a later try succeeds and the partition is not halted.
func TestStaleListingIsNoRollback(t *testing.T) {
	for name, newest := range map[string]int64{"no_entry": -1, "an_older_entry": 0} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			_, err = b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
			require.NoError(t, err)
			tenure := b.tenure("w2", 42)
			tenure.Note = b.note
			b.bounds = stream.Bounds{First: 42, End: 100} // all of it was read, then removed by retention
			b.deps.Staging = &staleListing{b.staging, newest}
			_, err = b.Acquire(t.Context(), testLog, tenure)
			require.ErrorContains(t, err, "listings are behind")
			require.NotErrorIs(t, err, ErrHalted)
			b.deps.Staging = b.staging
			_, err = b.Acquire(t.Context(), testLog, tenure)
			require.NoError(t, err)
		})
	}
}

// TestOffsetsSetByOtherToolsChangeNothing holds I6: kafka-consumer-groups.sh writes no note, so an
// offset that it set is no evidence against the ledger.
func TestOffsetsSetByOtherToolsChangeNothing(t *testing.T) {
	for name, c := range map[string]struct {
		committed int64
		note      string
		noChain   bool
		warns     bool
	}{
		"never_committed":        {committed: -1},
		"to_earliest":            {committed: 0, warns: true},
		"to_the_watermark":       {committed: 42, warns: true},
		"to_latest":              {committed: 1000, warns: true},
		"with_a_note_of_its_own": {committed: 77, note: "ops was here", warns: true},
		"before_the_first_start": {committed: 77, noChain: true, warns: true},
		"an_older_note_of_ours":  {committed: 0, note: "ours"},
		"deleted":                {committed: -1},
		"first_start":            {committed: -1, noChain: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			var logs strings.Builder
			b.deps.Logger = slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelWarn}))
			ctx, low := context.Background(), int64(0)
			tenure := b.tenure("w2", c.committed)
			tenure.Note = c.note
			if !c.noChain {
				base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				if c.note == "ours" {
					tenure.Note = b.note // the newest commit did not arrive
				}
				_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
				require.NoError(t, err)
				low = 42
			}
			e, err := b.Acquire(ctx, testLog, tenure)
			require.NoError(t, err)
			require.Equal(t, low, e.LowWatermark)
			require.Equal(t, low, b.commits[len(b.commits)-1], "committed offset after the takeover")
			require.Equal(t, ledger.NoteOf(e).String(), b.note)
			if !c.warns {
				require.Empty(t, logs.String())
				return
			}
			require.Equal(t, 1, strings.Count(logs.String(), "level=WARN"))
			require.Contains(t, logs.String(), fmt.Sprintf("committed=%d", c.committed))
		})
	}
}

// TestRouterRuleChangesOnlyOverAnEmptyFilter: a record that the old rule put into a file must
// still be found in the filter when it is read again.
func TestRouterRuleChangesOnlyOverAnEmptyFilter(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	require.Empty(t, base.Router)
	b.cfg.Router = "key;record" // a rolling restart with another configuration
	base, err = b.Rotate(ctx, base, batch(t, 5, "a@9"), b.tenure("w1", -1))
	require.NoError(t, err)
	require.Empty(t, base.Router, "rule of an entry within a tenure")

	claim, err := b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	require.NotEmpty(t, claim.SealedThrough)
	require.Empty(t, claim.Router, "rule while the filter holds a stream")
	head, err := b.Rotate(ctx, claim, batch(t, 20, "b@5"), b.tenure("w2", -1))
	require.NoError(t, err)
	require.Empty(t, head.SealedThrough)
	require.Empty(t, head.Router)

	claim, err = b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	require.Equal(t, "key;record", claim.Router)
	head, err = b.Rotate(ctx, claim, batch(t, 30, "b@25"), b.tenure("w2", -1))
	require.NoError(t, err)
	require.Equal(t, "key;record", head.Router)
	require.EqualValues(t, 20, head.RouterFrom, "offset at which the rule was switched")

	b.cfg.Router = "" // and back again
	claim, err = b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	require.Empty(t, claim.Router)
	require.EqualValues(t, 30, claim.RouterFrom)
}

func TestAcquireWithOffsetsAtTheWatermark(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
	require.NoError(t, err)
	b.bounds = stream.Bounds{First: 42, End: 42} // all of it was read, then removed by retention
	e, err := b.Acquire(ctx, testLog, b.tenure("w2", 42))
	require.NoError(t, err)
	require.EqualValues(t, 42, e.LowWatermark)
}
