package appender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// request asks that everything up to the log's end be in the ledger.
type request struct {
	reason segment.Reason
	done   chan<- error
}

// rotateResult is the outcome of one entry.
type rotateResult struct {
	head *ledger.Entry
	err  error
}

// pendingRequest is a request that waits until everything below end is sealed and in the ledger.
type pendingRequest struct {
	request
	end    int64 // of the log at the time of the request
	sealed bool
}

// rotate hands the sealed files to the rotator, one entry at a time.
func (l *loop) rotate() {
	if !l.core.idle() {
		return
	}
	batch := l.core.cut()
	if batch == nil {
		l.answerRequests()
		return
	}
	base, tenure := l.core.base, *l.partition.tenure.Load()
	l.partition.view.noteWriting(time.Now())
	tenure.OnStaged = func() { l.partition.view.noteWriting(time.Now()) }
	go func() {
		head, err := l.partition.appender.deps.Rotator.Rotate(l.entryCtx, base, batch, tenure)
		l.rotations <- rotateResult{head: head, err: err}
	}()
}

// handleRotated handles the outcome of an entry.
func (l *loop) handleRotated(r rotateResult) error {
	l.partition.view.noteWriting(time.Time{})
	if ablation.On(ablation.KeepsLostState) && l.keepsLost(r.err) {
		return nil
	}
	if r.err != nil {
		l.core.failed()
		return r.err
	}
	l.core.won(r.head)
	l.answerRequests()
	if l.ruleSwitching && len(l.core.sealed) == 0 && len(r.head.SealedThrough) == 0 {
		return errRuleSwitch
	}
	return nil
}

// keepsLost implements ablation.KeepsLostState: the state continues on the head that a new claim
// finds, as if it had been read on top of that.
func (l *loop) keepsLost(err error) bool {
	if !errors.Is(err, ledger.ErrLost) {
		return false
	}
	ctx, cancel := context.WithTimeout(l.entryCtx, time.Minute) // entryCtx outlives the worker
	defer cancel()
	head, err := l.partition.appender.deps.Rotator.Acquire(ctx, l.partition.log, *l.partition.tenure.Load())
	if err != nil {
		return false
	}
	l.core.sealed = append(l.core.inFlight, l.core.sealed...)
	l.core.failed()
	l.core.rebase(head)
	return true
}

// answerRequests answers the requests whose records are all in the ledger.
func (l *loop) answerRequests() {
	kept := l.pendingRequests[:0]
	for _, w := range l.pendingRequests {
		if w.sealed && !l.core.hasUnwritten(w.end) {
			w.done <- nil
			continue
		}
		kept = append(kept, w)
	}
	l.pendingRequests = kept
}

// acceptRequest accepts a request. It is fulfilled when everything that the log holds now is in the
// ledger.
func (l *loop) acceptRequest(ctx context.Context, r request) error {
	bounds, err := l.partition.appender.bounds(ctx, l.partition.log)
	if err != nil {
		r.done <- fmt.Errorf("seal partition %d: %w", l.partition.log.Partition, err)
		return nil
	}
	l.pendingRequests = append(l.pendingRequests, pendingRequest{request: r, end: bounds.End})
	return l.sealDue()
}
