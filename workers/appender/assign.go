package appender

import (
	"context"
	"maps"
	"slices"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/stream"
)

// runningPartition is a partition with its goroutine.
type runningPartition struct {
	*partition
	cancel context.CancelFunc
	done   chan struct{}
}

// assign starts the partitions that a generation adds and stops those that it takes away, and waits
// until those have stopped. A partition that stays ours continues undisturbed.
func (a *Appender) assign(ctx context.Context, worker string, gen *stream.Generation) {
	a.assignMu.Lock()
	defer a.assignMu.Unlock()
	a.assignments++
	tenures := map[int]*ledger.Tenure{}
	if gen != nil {
		for _, as := range gen.Assignments[a.cfg.Topic] {
			tenures[as.Partition] = &ledger.Tenure{
				Owner: worker, Generation: gen.ID, Committed: as.Committed, Note: as.Note, Done: gen.Done(),
				Commit: func(ctx context.Context, offset int64, note string) error {
					return gen.Commit(ctx, a.cfg.Topic, map[int]stream.Mark{as.Partition: {Committed: offset, Note: note}})
				},
			}
		}
		a.deps.Logger.InfoContext(ctx, "partitions assigned", "topic", a.cfg.Topic, "partitions", len(tenures), "generation", gen.ID)
	}
	a.mu.Lock()
	var stopped []*runningPartition
	// Sorted, here and below, so that a simulated run can be repeated.
	for _, n := range slices.Sorted(maps.Keys(a.partitions)) {
		if r := a.partitions[n]; tenures[n] == nil {
			r.cancel()
			stopped = append(stopped, r)
			delete(a.partitions, n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(tenures)) {
		tenure := tenures[n]
		if r := a.partitions[n]; r != nil {
			r.tenure.Store(tenure)
			continue
		}
		a.partitions[n] = a.start(ctx, n, tenure)
	}
	a.mu.Unlock()
	for _, r := range stopped {
		<-r.done
	}
}

// start starts a partition. The caller holds mu.
func (a *Appender) start(ctx context.Context, n int, tenure *ledger.Tenure) *runningPartition {
	if a.pendingForgets[n] == nil {
		a.pendingForgets[n] = new(pendingForget)
	}
	p := &partition{
		appender: a,
		log:      ledger.Log{Topic: a.cfg.Topic, Incarnation: a.cfg.Incarnation, Partition: n},
		logger:   a.deps.Logger.With("topic", a.cfg.Topic, "partition", n),
		requests: make(chan request),
		forget:   a.pendingForgets[n],
	}
	p.tenure.Store(tenure)
	p.view.noteRead(max(tenure.Committed, 0), 0) // until it is taken over; otherwise the whole log would count as lag
	ctx, cancel := context.WithCancel(ctx)
	r := &runningPartition{partition: p, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		p.run(ctx)
	}()
	return r
}
