package appender

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is an appender with all that it works with in memory. It is for use in
// a synctest bubble, whose time it follows.
type rig struct {
	*Appender
	t           *testing.T
	generations chan *stream.Generation
	stop        context.CancelFunc
	ended       chan error

	mu       sync.Mutex // guards all below
	records  []stream.Record
	grown    chan struct{} // closed when records grew
	head     *ledger.Entry
	acquired int
	rival    bool                                         // another takes the partition each time
	batches  [][]string                                   // files of each entry
	rotating func(ctx context.Context, nth int) error     // before the nth entry is written; may be nil
	burying  func(nth int, records []stream.Record) error // the nth Produce of dead letters; may be nil
	buried   []stream.Record
	burials  int
}

func newRig(t *testing.T, cfg Config) *rig {
	t.Helper()
	r := &rig{t: t, generations: make(chan *stream.Generation), ended: make(chan error, 1), grown: make(chan struct{}), head: entry(0)}
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	a, err := New(cfg, Deps{
		Log: r, Join: func(string) (Membership, error) { return r, nil }, DeadLetters: buryIn{r}, Rotator: r,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	r.Appender = a
	return r
}

// run starts the appender and gives it partition 0.
func (r *rig) run() {
	ctx, stop := context.WithCancel(r.t.Context())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	r.assigned(0)
	synctest.Wait()
}

func (r *rig) assigned(partitions ...int) {
	gen := &stream.Generation{Assignments: map[string][]stream.Assignment{}}
	for _, p := range partitions {
		gen.Assignments[r.cfg.Topic] = append(gen.Assignments[r.cfg.Topic], stream.Assignment{Partition: p, Mark: stream.Mark{Committed: -1}})
	}
	r.generations <- gen
}

// end stops the appender and returns how long that took.
func (r *rig) end() time.Duration {
	begin := time.Now()
	r.stop()
	require.NoError(r.t, <-r.ended)
	return time.Since(begin)
}

// produce appends records of these sources to the log; "" is poison.
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

func (r *rig) Close() error { return nil }

func (r *rig) Fetcher(string, int) Fetcher { return r }

func (r *rig) Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error) {
	deadline := time.NewTimer(opts.MaxWait)
	defer deadline.Stop()
	for waited := false; ; {
		r.mu.Lock()
		end, grown := int64(len(r.records)), r.grown
		got := r.records[min(offset, end):end:end]
		r.mu.Unlock()
		if len(got) > 0 || waited {
			return stream.Fetched{Records: got, Next: end, HighWatermark: end}, nil
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

func (r *rig) Ends(context.Context, string) (map[int]int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return map[int]int64{0: int64(len(r.records))}, nil
}

func (r *rig) Ping(context.Context) error { return nil }

func (r *rig) Acquire(_ context.Context, _ ledger.Log, _ ledger.Tenure) (*ledger.Entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.acquired++
	if r.rival {
		return nil, ledger.ErrLost
	}
	e := *r.head
	e.Seq++
	r.head = &e
	return &e, nil
}

func (r *rig) acquisitions() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.acquired
}

func (r *rig) Rotate(ctx context.Context, base *ledger.Entry, batch *segment.Batch, _ ledger.Tenure) (*ledger.Entry, error) {
	r.mu.Lock()
	rotating, nth := r.rotating, len(r.batches)
	r.mu.Unlock()
	if rotating != nil {
		if err := rotating(ctx, nth); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if base.Seq != r.head.Seq {
		return nil, ledger.ErrLost
	}
	r.batches = append(r.batches, files(batch))
	r.head = &ledger.Entry{Seq: base.Seq + 1, LowWatermark: batch.LowWatermark}
	return r.head, nil
}

// buryIn is the rig's dead letters.
type buryIn struct{ *rig }

func (b buryIn) Produce(ctx context.Context, records ...stream.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.burials++
	if b.burying != nil {
		if err := b.burying(b.burials, records); err != nil {
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

var errTest = errors.New("made to fail")
