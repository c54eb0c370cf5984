package appender

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// loop reads a partition during one tenure.
type loop struct {
	partition       *partition
	core            *core
	router          *route.Router // for the routing rule of the head, see ruleOutdated
	ruleOutdated    bool          // that rule is not the configured one and has to be switched
	ruleSwitching   bool          // everything is sealed and nothing is read until the head's filter is empty
	prefetch        *prefetcher
	deduper         *deduper        // nil: duplicates are not removed
	entryCtx        context.Context // context of entries in flight
	abortEntry      context.CancelFunc
	rotations       chan rotateResult
	pendingRequests []pendingRequest
	paused          string    // why nothing is read, or ""
	shortSince      time.Time // since when the disk has been short although nothing here waits to be staged; see shrinkStore
	waitingFiles    int       // sealed files, as last added to pressure.waiting
	logState        logState
	missingErr      error // why the log lacks the next offset, if it does
}

// newLoop starts reading from the position of c, until ctx ends. The caller must call close.
func (p *partition) newLoop(ctx context.Context, c *core, router *route.Router, outdated bool) *loop {
	p.view.noteAlive(time.Now())
	l := &loop{partition: p, core: c, router: router.WithNameCache(), ruleOutdated: outdated, rotations: make(chan rotateResult, 1), shortSince: time.Now()}
	l.paused = p.appender.pressure.pauseReason("", 0) // nothing is read that a full disk could not take
	l.deduper = p.openDeduper(ctx, c, p.entryWithRetry)
	l.prefetch = p.startPrefetch(ctx, c.position)
	// Entries in flight outlive ctx until they are drained, if the worker stops.
	l.entryCtx, l.abortEntry = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// run reads until ctx ends or something makes the state void.
func (l *loop) run(ctx context.Context) error {
	tick := time.NewTicker(l.partition.appender.tickInterval())
	defer tick.Stop()
	save := time.NewTimer(saveInterval())
	defer save.Stop()
	for {
		in := l.prefetch.results
		backfill, wait := l.backfillRound(ctx)
		if l.paused != "" || l.ruleSwitching || l.logState != logReadable || wait {
			in = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return l.stop(ctx)
		case got := <-in:
			err = l.handleFetch(ctx, got)
		case s := <-backfill:
			l.handleBackfill(s)
		case r := <-l.rotations:
			err = l.handleRotated(r)
		case r := <-l.partition.requests:
			err = l.acceptRequest(ctx, r)
		case <-tick.C:
			err = l.tick(ctx)
		case <-save.C:
			err = l.checkpoint(ctx)
			save.Reset(saveInterval())
		}
		if err != nil {
			return err
		}
		l.rotate()
		if l.logState.writeOnly() && l.core.idle() { // and cut had nothing left to write
			return l.missingErr
		}
		l.partition.view.noteAlive(time.Now())
		l.partition.view.noteRead(l.core.position, l.prefetch.end)
	}
}

// handleFetch handles the outcome of a fetch.
func (l *loop) handleFetch(ctx context.Context, got fetchResult) error {
	if got.err != nil {
		l.logState, l.missingErr = logUnknown, got.err
		return l.resolveMissing(ctx)
	}
	if err := l.addRecords(ctx, got); err != nil {
		if errors.Is(err, errOffsetWentBack) {
			l.logState = logCut
		}
		return err
	}
	l.prefetch.release(got)
	return nil
}

// tick handles what depends on time.
func (l *loop) tick(ctx context.Context) error {
	l.core.setClock(time.Now().UnixMilli())
	l.paused = l.partition.appender.pressure.pauseReason(l.paused, l.updateWaiting())
	l.partition.view.noteState(l.core, l.partition.appender.pressure.explain(l.paused))
	if err := l.core.spool.EnforceBudget(); err != nil {
		return err
	}
	if l.deduper != nil {
		l.shrinkStore()
		l.partition.view.noteDedup(l.deduper)
	}
	if err := l.sealDue(); err != nil {
		return err
	}
	return l.resolveMissing(ctx)
}

// checkpoint saves the state, so that it outlives the process.
func (l *loop) checkpoint(ctx context.Context) error {
	if l.deduper == nil {
		l.deduper = l.partition.openDeduper(ctx, l.core, l.partition.entryOnce) // what was missing the last time may be available now
	}
	return l.save()
}

// updateWaiting returns how many sealed files of this partition wait, and updates the total of all
// partitions.
func (l *loop) updateWaiting() int {
	n := len(l.core.sealed) + len(l.core.inFlight)
	l.partition.appender.pressure.waiting.Add(int64(n - l.waitingFiles))
	l.waitingFiles = n
	return n
}

// addRecords adds the records of one fetch to their files.
func (l *loop) addRecords(ctx context.Context, got fetchResult) error {
	now := time.Now().UnixMilli()
	var dead []stream.Record
	reread := int64(0)
	var chunk [routeChunk]routed
	for i := range got.Records {
		if i%routeChunk == 0 {
			l.routeAll(got.Records[i:min(i+routeChunk, len(got.Records))], &chunk)
		}
		r, to := &got.Records[i], &chunk[i%routeChunk]
		if r.Offset < l.partition.readTo {
			reread++
		}
		reason := to.reason
		if reason == "" {
			outcome, err := l.add(r.Offset, to, now)
			if err != nil {
				return err
			}
			switch outcome {
			case fateUnfit:
				reason = reasonLine
			case fateDuplicate:
				l.partition.appender.metrics.duplicates.Inc()
			}
		} else if err := l.core.skip(r.Offset, reason); err != nil {
			return err
		}
		if reason != "" {
			dead = append(dead, deadLetter(r, reason))
			l.partition.appender.metrics.deadLetters.WithLabelValues(reason).Inc()
		}
	}
	// A new leader may not know yet how much of the log is committed. It then reports an end below
	// what was already read, and returns no records.
	atEnd := got.Next == got.HighWatermark
	l.core.advanceTo(got.Next, atEnd, got.sentAt.UnixMilli())
	l.partition.readTo = max(l.partition.readTo, l.core.position)
	if l.deduper != nil {
		l.deduper.AdvanceTo(l.core.position)
		l.deduper.liveFetches++
		l.deduper.liveAtEnd = atEnd
	}
	l.partition.appender.metrics.read.Add(int64(len(got.Records)))
	l.partition.appender.metrics.reread.Add(float64(reread))
	// A record that is in no file must be safe in the dead letters before an entry passes it.
	// Entries are cut only between calls of addRecords.
	if len(dead) > 0 {
		if err := l.partition.writeDeadLetters(ctx, dead); err != nil {
			return err
		}
		l.partition.logger.WarnContext(ctx, "records went to the dead letters", "records", len(dead), "offset", dead[0].Offset)
	}
	return l.sealDue()
}

// add adds a record to its file, unless it is a duplicate.
func (l *loop) add(offset int64, to *routed, now int64) (fate, error) {
	if to.hasKey {
		return l.core.addUnlessDuplicate(l.deduper.Store, to.key, offset, to.Source, to.Received, now, to.Line)
	}
	return l.core.add(offset, to.Source, to.Received, now, to.Line)
}

// sealDue seals the files that are due, for whatever reason.
func (l *loop) sealDue() error {
	if err := l.core.sealDue(); err != nil {
		return err
	}
	if l.ruleOutdated && !l.ruleSwitching && l.core.pastFilter() {
		l.ruleSwitching = true
		l.core.quietUntil = 0
		if err := l.core.sealAll(segment.ReasonConfig); err != nil {
			return err
		}
	}
	if l.paused == pausedDisk && l.core.idle() && len(l.core.sealed) == 0 {
		if err := l.core.sealAll(segment.ReasonDisk); err != nil {
			return err
		}
	}
	for i := range l.pendingRequests {
		w := &l.pendingRequests[i]
		if !w.sealed && l.core.position >= w.end {
			if err := l.core.sealAll(w.reason); err != nil {
				return err
			}
			w.sealed = true
		}
	}
	return nil
}

// sealNow seals all open files. The next entry follows even if they hold no lines.
func (l *loop) sealNow() error {
	l.core.quietUntil = 0
	return l.core.sealAll(segment.ReasonStop)
}

// stop ends the tenure. A worker that stops finishes the entry in flight and, with SealOnStop, also
// seals and writes what is open, within the drain timeout. What remains stays on its disk for its
// next start. A partition that was taken away is left at once. If the log lacks some of what was
// read, that stays on the disk as well, because the next owner halts without it.
func (l *loop) stop(ctx context.Context) error {
	switch begins := l.partition.view.logStart(); {
	case l.partition.appender.stopping.Load():
		defer time.AfterFunc(l.partition.appender.cfg.DrainTimeout, l.abortEntry).Stop()
		if err := l.drain(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	case l.logState.writeOnly() || begins > l.core.base.LowWatermark:
		l.partition.logger.WarnContext(ctx, "partition was taken away while this disk has records that the log has lost; to write them, stop the other appenders until the partition is back here",
			"offset", l.core.base.LowWatermark, "read_to", l.core.position, "log_start", begins)
	default:
		return ctx.Err()
	}
	// The outcome of an entry that was cut off is open. Its files stay sealed, and the head will
	// tell whether they are in the ledger.
	return errors.Join(ctx.Err(), l.save())
}

func (l *loop) drain() error {
	if !l.core.idle() {
		if err := l.handleRotated(<-l.rotations); err != nil {
			return err
		}
	}
	if !l.partition.appender.cfg.SealOnStop {
		return nil
	}
	if err := l.sealNow(); err != nil {
		return err
	}
	for {
		l.rotate()
		if l.core.idle() {
			return nil
		}
		if err := l.handleRotated(<-l.rotations); err != nil {
			return err
		}
	}
}

// close releases everything that the tenure holds, after its context has ended; err is the reason.
// It waits for all that the loop started.
func (l *loop) close(ctx context.Context, err error) {
	l.abortEntry()
	// 1. fetching
	l.prefetch.wait()
	// 2. the entry in flight, which reads files of the spool
	if !l.core.idle() {
		<-l.rotations
		l.partition.view.noteWriting(time.Time{})
	}
	l.partition.appender.pressure.waiting.Add(-int64(l.waitingFiles))
	// 3. requests
	for _, r := range l.pendingRequests {
		r.done <- fmt.Errorf("seal partition %d: %w", l.partition.log.Partition, err)
	}
	// 4. the spool
	l.partition.tenureEnded = true
	if l.logState == logCut || errors.Is(err, stream.ErrOffsetOutOfRange) {
		l.core.spool.Discard() // the log has other records at these offsets, or they are all in the ledger
	} else {
		// The disk holds the state of the last checkpoint. The next tenure checks whether the log
		// still holds all of it, since what this one knew may date from before an outage.
		l.core.spool.Close()
	}
	// 5. the remembered messages
	l.closeDeduper(ctx)
}
