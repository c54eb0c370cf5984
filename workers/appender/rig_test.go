package appender

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an appender whose dependencies are all in memory. It must run in a synctest bubble and
// uses its time.
type rig struct {
	*Appender
	t           *testing.T
	generations chan *stream.Generation
	stop        context.CancelFunc
	ended       chan error

	mu          sync.Mutex // guards all below
	records     []stream.Record
	logStart    int64         // retention removed what is below
	grown       chan struct{} // closed when records grew
	head        *ledger.Entry
	chain       []*ledger.Entry                // entries written by this rig, including the head
	chains      map[ledger.Log][]*ledger.Entry // of other topics and incarnations
	acquired    int
	boundsErr   error                                        // the error of Bounds for another partition
	fetchErr    error                                        // the error of every fetch
	uncommitted int64                                        // records above the high watermark that a new leader reports
	leaveHangs  bool                                         // leaving the group is never answered
	rival       bool                                         // another worker takes the partition each time
	batches     [][]string                                   // files of each entry
	skipped     int64                                        // records counted as skipped by all entries
	onAcquire   func(ctx context.Context) error              // called by every takeover before its claim; may be nil
	onEntry     func(ctx context.Context) error              // called for every entry read; may be nil
	onRotate    func(ctx context.Context, nth int) error     // called before the nth entry is written; may be nil
	staged      func()                                       // Tenure.OnStaged of the entry that is being written
	onBury      func(nth int, records []stream.Record) error // called for the nth Produce of dead letters; may be nil
	buried      []stream.Record
	burials     int
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	// The clock of a synctest bubble begins in 2000; records that old are rejected. Ten minutes into an
	// hour, no entry without files is due before the next hour.
	time.Sleep(time.Until(time.Date(2001, 9, 10, 0, 10, 0, 0, time.UTC)))
	r := &rig{t: t, generations: make(chan *stream.Generation), ended: make(chan error, 1), grown: make(chan struct{}), head: entry(0)}
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	a, err := New(cfg, Deps{
		Log: r, Join: func(string) (Membership, error) { return r, nil }, DeadLetters: deadLetterSink{r}, Rotator: r,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	r.Appender = a
	return r
}

// run starts the appender and assigns partition 0 to it.
func (r *rig) run() {
	ctx, stop := context.WithCancel(r.t.Context())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	r.assignPartitions(0)
	synctest.Wait()
}

// runToCheckpoint runs the appender until a checkpoint has records of these sources.
func (r *rig) runToCheckpoint(sources ...string) {
	r.run()
	r.produce(sources...)
	time.Sleep(time.Minute)
}

// runToChunk runs the appender, while staging is away, until a checkpoint has the files of a, b and a
// in a chunk, and the line of c after that. It returns a function that brings staging back.
func (r *rig) runToChunk() (back func()) {
	back = r.stagingAway()
	r.run()
	r.produce("a", "b", "a")
	synctest.Wait()
	go func() { _ = r.seal() }() // writes the files into a chunk
	synctest.Wait()
	r.produce("c")
	time.Sleep(time.Minute / 2)
	return back
}

func (r *rig) assignPartitions(partitions ...int) {
	gen := &stream.Generation{Assignments: map[string][]stream.Assignment{}}
	for _, p := range partitions {
		gen.Assignments[r.cfg.Topic] = append(gen.Assignments[r.cfg.Topic], stream.Assignment{Partition: p, Mark: stream.Mark{Committed: -1}})
	}
	r.generations <- gen
}

// stopAndWait stops the appender and returns how long that took.
func (r *rig) stopAndWait() time.Duration {
	begin := time.Now()
	r.stop()
	require.NoError(r.t, <-r.ended)
	return time.Since(begin)
}

// produce appends records of these sources to the log; "" is a record that cannot be routed.
func (r *rig) produce(sources ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range sources {
		r.records = append(r.records, stream.Record{
			Topic: r.cfg.Topic, Offset: int64(len(r.records)), Key: []byte(s), Value: []byte("{}"),
			Headers: []stream.Header{
				{Key: route.HeaderSource, Value: []byte(s)}, {Key: route.HeaderReceived, Value: strconv.AppendInt(nil, time.Now().UnixMilli(), 10)},
			},
		})
	}
	close(r.grown)
	r.grown = make(chan struct{})
}

func (r *rig) Next(ctx context.Context) (*stream.Generation, error) {
	select {
	case g := <-r.generations:
		return g, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *rig) Close(ctx context.Context) error {
	if r.leaveHangs {
		<-ctx.Done()
	}
	return nil
}

func (r *rig) Fetcher(string, int) Fetcher { return r }

func (r *rig) Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error) {
	deadline := time.NewTimer(opts.MaxWait)
	defer deadline.Stop()
	for waited := false; ; {
		r.mu.Lock()
		start, end, safe, grown, err := r.logStart, int64(len(r.records)), int64(len(r.records))-r.uncommitted, r.grown, r.fetchErr
		got := r.records[min(offset, safe):safe:safe]
		r.mu.Unlock()
		switch {
		case err != nil:
			return stream.Fetched{}, err
		case offset < start || offset > end:
			return stream.Fetched{}, stream.ErrOffsetOutOfRange
		case len(got) > 0 || waited:
			return stream.Fetched{Records: got, Next: max(offset, safe), HighWatermark: safe, LogStart: start}, nil
		}
		select {
		case <-ctx.Done():
			return stream.Fetched{}, ctx.Err()
		case <-grown:
		case <-deadline.C:
			waited = true
		}
	}
}

func (r *rig) Bounds(context.Context, string, ...int) (map[int]stream.Bounds, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.boundsErr, errTest) {
		return nil, r.boundsErr
	}
	return map[int]stream.Bounds{0: {First: r.logStart, End: int64(len(r.records))}}, r.boundsErr
}

func (r *rig) Ping(context.Context) error { return nil }

func (r *rig) Acquire(ctx context.Context, _ ledger.Log, tenure ledger.Tenure) (*ledger.Entry, error) {
	r.mu.Lock()
	next, start, end, acquiring := r.nextClaim(tenure.Owner), r.logStart, int64(len(r.records)), r.onAcquire
	r.mu.Unlock()
	if tenure.LocalEnd != nil && (start > next.LowWatermark || end < next.LowWatermark) {
		local, err := tenure.LocalEnd(ctx, next, end)
		switch {
		case errors.Is(err, segment.ErrDamaged):
			return nil, fmt.Errorf("%w: %v", errHalted, err) //nolint:errorlint // as the rotator does
		case err != nil || local <= next.LowWatermark:
			return nil, cmp.Or(err, errHalted)
		}
	}
	if acquiring != nil {
		if err := acquiring(ctx); err != nil {
			return nil, err
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acquired++
	if r.rival {
		return nil, ledger.ErrLost
	}
	r.head = r.nextClaim(tenure.Owner)
	r.chain = append(r.chain, r.head)
	return r.head, nil
}

// nextClaim returns the entry by which the given worker would take the partition over. The caller
// holds mu.
func (r *rig) nextClaim(owner string) *ledger.Entry {
	e := claim(r.head, owner)
	if len(e.SealedThrough) == 0 {
		e.Router = r.routerRule
	}
	return e
}

func (r *rig) Entry(ctx context.Context, log ledger.Log, seq int64) (*ledger.Entry, error) {
	r.mu.Lock()
	looking := r.onEntry
	r.mu.Unlock()
	if looking != nil {
		if err := looking(ctx); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	chain := r.chain
	if log.Topic != "" && (log.Topic != r.cfg.Topic || log.Incarnation != r.cfg.Incarnation) {
		chain = r.chains[log]
	}
	i, there := slices.BinarySearchFunc(chain, seq, func(e *ledger.Entry, seq int64) int { return cmp.Compare(e.Seq, seq) })
	if !there {
		return nil, ledger.ErrNotFound
	}
	return chain[i], nil
}

// claim returns an entry that takes the partition over.
func claim(base *ledger.Entry, owner string) *ledger.Entry {
	e := *base
	e.Seq++
	e.Owner, e.Attempt = owner, fmt.Sprintf("claim-%d-%s", e.Seq, owner)
	return &e
}

// follow returns the entry for a batch.
func follow(base *ledger.Entry, b *segment.Batch) *ledger.Entry {
	e := claim(base, base.Owner)
	e.LowWatermark, e.CompleteThrough = b.LowWatermark, b.CompleteThrough
	through := base.Filter()
	for _, f := range b.Files {
		through[f.Stream] = f.Last
	}
	e.SetFilter(through)
	return e
}

func (r *rig) acquisitions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acquired
}

func (r *rig) Rotate(ctx context.Context, base *ledger.Entry, batch *segment.Batch, tenure ledger.Tenure) (*ledger.Entry, error) {
	r.mu.Lock()
	rotating, nth := r.onRotate, len(r.batches)
	r.staged = tenure.OnStaged
	r.mu.Unlock()
	if rotating != nil {
		if err := rotating(ctx, nth); err != nil {
			return nil, err
		}
	}
	for _, f := range batch.Files {
		if got, err := io.ReadAll(f.Reader()); err != nil || sha256.Sum256(got) != f.SHA256 {
			return nil, fmt.Errorf("%w: file of %v from offset %d: %w", segment.ErrDamaged, f.Stream, f.First, cmp.Or(err, errTest))
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if base.Seq != r.head.Seq {
		return nil, ledger.ErrLost
	}
	r.batches = append(r.batches, files(batch))
	for _, n := range batch.Skipped {
		r.skipped += n
	}
	r.head = follow(base, batch)
	r.chain = append(r.chain, r.head)
	return r.head, nil
}

// deadLetterSink implements the dead letters of the rig.
type deadLetterSink struct{ *rig }

func (b deadLetterSink) Produce(ctx context.Context, records ...stream.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.burials++
	if b.onBury != nil {
		if err := b.onBury(b.burials, records); err != nil {
			if _, large := stream.NotWritten(err, records); len(large) > 0 {
				offset := func(d stream.Record) string { v, _ := d.Header(deadletter.HeaderOffset); return string(v) }
				b.buried = append(b.buried, slices.DeleteFunc(slices.Clone(records), func(d stream.Record) bool {
					return slices.ContainsFunc(large, func(l stream.Record) bool { return offset(l) == offset(d) })
				})...)
			}
			return err
		}
	}
	b.buried = append(b.buried, records...)
	return ctx.Err()
}

// written returns the files of all entries.
func (r *rig) written() [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.batches
}

func (r *rig) seal() error {
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	return r.SealAll(ctx)
}

var (
	errTest   = errors.New("made to fail")
	errHalted = errors.New("halted: the log does not hold the watermark")
)
