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

// loop is one tenure of a partition.
type loop struct {
	p         *partition
	c         *core
	router    *route.Router // of the head, see outdated
	outdated  bool          // the rule is not the one configured: it is to be switched
	switching bool          // all is sealed and nothing is read, until the filter is empty
	reads     *reads
	recall    *recall         // nil: duplicates pass
	work      context.Context // of entries in flight
	abort     context.CancelFunc
	rotations chan rotated
	waiting   []pendingRequest
	paused    string    // why nothing is read, or ""
	short     time.Time // since when the disk is short though nothing here is to be staged; see shrink
	counted   int       // sealed files, as counted in pressure.waiting
	saved     savepoint // of the last checkpoint
	logState  logState
	gone      error // why the log lacks the next offset; only used when it does
}

// savepoint identifies the state that a checkpoint holds.
type savepoint struct{ position, seq int64 }

// newLoop begins to read on from what c holds, until ctx ends. It is to be ended.
func (p *partition) newLoop(ctx context.Context, c *core, router *route.Router, outdated bool) *loop {
	p.view.noteAlive(time.Now())
	l := &loop{p: p, c: c, router: router.Reader(), outdated: outdated, rotations: make(chan rotated, 1), short: time.Now()}
	l.recall = p.recall(ctx, c, p.entry)
	l.reads = p.read(ctx, c.position)
	// Entries outlive ctx by the drain, if the worker stops.
	l.work, l.abort = context.WithCancel(context.WithoutCancel(ctx))
	return l
}

// run reads until ctx ends or something voids the state.
func (l *loop) run(ctx context.Context) error {
	tick := time.NewTicker(l.p.a.tickEvery())
	defer tick.Stop()
	save := time.NewTimer(saveEvery())
	defer save.Stop()
	for {
		in := l.reads.results
		again, wait := l.fillRound(ctx)
		if l.paused != "" || l.switching || l.logState != logReadable || wait {
			in = nil
		}
		var err error
		select {
		case <-ctx.Done():
			return l.stop(ctx)
		case got := <-in:
			err = l.received(ctx, got)
		case s := <-again:
			l.filled(s)
		case r := <-l.rotations:
			err = l.rotated(r)
		case r := <-l.p.requests:
			err = l.ask(ctx, r)
		case <-tick.C:
			err = l.tick(ctx)
		case <-save.C:
			err = l.checkpoint(ctx)
			save.Reset(saveEvery())
		}
		if err != nil {
			return err
		}
		l.rotate()
		if l.logState.writeOnly() && l.c.idle() { // and cut had nothing to say
			return l.gone
		}
		l.p.view.noteAlive(time.Now())
		l.p.view.noteRead(l.c.position, l.reads.end)
	}
}

// received takes up the outcome of a fetch.
func (l *loop) received(ctx context.Context, got read) error {
	if got.err != nil {
		l.logState, l.gone = logUnknown, got.err
		return l.whyGone(ctx)
	}
	if err := l.take(ctx, got); err != nil {
		if errors.Is(err, errOffset) {
			l.logState = logCut
		}
		return err
	}
	l.reads.again(got)
	return nil
}

// tick looks at what changes with time.
func (l *loop) tick(ctx context.Context) error {
	l.c.clock(time.Now().UnixMilli())
	l.paused = l.p.a.pressure.paused(l.paused, l.count())
	l.p.view.noteState(l.c, l.paused)
	if err := l.c.spool.Relieve(); err != nil {
		return err
	}
	if l.recall != nil {
		l.shrink()
		l.p.view.noteRecall(l.recall)
	}
	if err := l.sealDue(); err != nil {
		return err
	}
	return l.whyGone(ctx)
}

// checkpoint makes what was read outlive the process.
func (l *loop) checkpoint(ctx context.Context) error {
	if l.recall == nil {
		l.recall = l.p.recall(ctx, l.c, l.p.entryNow) // what it lacked may be there by now
	}
	return l.save()
}

// count tells how many sealed files wait, here and for all to see.
func (l *loop) count() int {
	n := len(l.c.sealed) + len(l.c.flight)
	l.p.a.pressure.waiting.Add(int64(n - l.counted))
	l.counted = n
	return n
}

// take files the records of one fetch.
func (l *loop) take(ctx context.Context, got read) error {
	now := time.Now().UnixMilli()
	var dead []stream.Record
	again := int64(0)
	var chunk [routeChunk]routed
	for i := range got.Records {
		if i%routeChunk == 0 {
			l.routeAll(got.Records[i:min(i+routeChunk, len(got.Records))], &chunk)
		}
		r, to := &got.Records[i], &chunk[i%routeChunk]
		if r.Offset < l.p.readTo {
			again++
		}
		reason := to.reason
		if reason == "" {
			became, err := l.add(r.Offset, to, now)
			if err != nil {
				return err
			}
			switch became {
			case fateUnfit:
				reason = reasonLine
			case fateDuplicate:
				l.p.a.metrics.duplicates.Inc()
			}
		} else if err := l.c.skip(r.Offset, reason); err != nil {
			return err
		}
		if reason != "" {
			dead = append(dead, deadLetter(r, reason))
			l.p.a.metrics.deadLetters.WithLabelValues(reason).Inc()
		}
	}
	// A new leader may not know yet how much of the log is safe: the end that it tells
	// is then below what was read, and its answer is empty.
	atEnd := got.Next == got.HighWatermark
	l.c.reached(got.Next, atEnd, got.sentAt.UnixMilli())
	l.p.readTo = max(l.p.readTo, l.c.position)
	if l.recall != nil {
		l.recall.Reached(l.c.position)
		l.recall.live++
		l.recall.idle = atEnd
	}
	l.p.a.metrics.read.Add(int64(len(got.Records)))
	l.p.a.metrics.reread.Add(float64(again))
	// No entry may pass a record that is in no file before its dead letter is
	// safe: entries are cut only between calls of take.
	if len(dead) > 0 {
		if err := l.p.bury(ctx, dead); err != nil {
			return err
		}
		l.p.lg.WarnContext(ctx, "records went to the dead letters", "records", len(dead), "offset", dead[0].Offset)
	}
	return l.sealDue()
}

// add files a record, or finds that it is a duplicate.
func (l *loop) add(offset int64, to *routed, now int64) (fate, error) {
	if to.known {
		return l.c.addOnce(l.recall.Store, to.key, offset, to.Source, to.Received, now, to.Line)
	}
	return l.c.add(offset, to.Source, to.Received, now, to.Line)
}

// sealDue seals what is due.
func (l *loop) sealDue() error {
	if err := l.c.sealDue(); err != nil {
		return err
	}
	if l.outdated && !l.switching && l.c.pastFilter() {
		l.switching = true
		l.c.quiet = 0
		if err := l.c.sealAll(segment.ReasonConfig); err != nil {
			return err
		}
	}
	if l.paused == pausedDisk && l.c.idle() && len(l.c.sealed) == 0 {
		if err := l.c.sealAll(segment.ReasonDisk); err != nil {
			return err
		}
	}
	for i := range l.waiting {
		w := &l.waiting[i]
		if !w.sealed && l.c.position >= w.end {
			if err := l.c.sealAll(w.reason); err != nil {
				return err
			}
			w.sealed = true
		}
	}
	return nil
}

// sealNow seals what is held, for the next entry to say it, lines or none.
func (l *loop) sealNow() error {
	l.c.quiet = 0
	return l.c.sealAll(segment.ReasonStop)
}

// stop ends the tenure. A worker that stops finishes the entry in flight and,
// with SealOnStop, seals what is open and writes it too, within the drain
// time; what remains stays on its disk, for itself. A partition that was taken
// away is left at once; but if the log lacks some of what was read, that stays on the
// disk as well, for the next owner is halted for want of it.
func (l *loop) stop(ctx context.Context) error {
	switch begins := l.p.view.begins(); {
	case l.p.a.stopping.Load():
		defer time.AfterFunc(l.p.a.cfg.DrainTimeout, l.abort).Stop()
		if err := l.drain(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
	case l.logState.writeOnly() || begins > l.c.base.LowWatermark:
		l.p.lg.WarnContext(ctx, "partition was taken away while this disk has records that the log has lost; to write them, stop the other appenders until the partition is back here",
			"offset", l.c.base.LowWatermark, "read_to", l.c.position, "log_start", begins)
	default:
		return ctx.Err()
	}
	// The outcome of an entry that was cut off is open; its files stay sealed,
	// and the head tells whether they are in the ledger.
	return errors.Join(ctx.Err(), l.save())
}

func (l *loop) drain() error {
	if !l.c.idle() {
		if err := l.rotated(<-l.rotations); err != nil {
			return err
		}
	}
	if !l.p.a.cfg.SealOnStop {
		return nil
	}
	if err := l.c.sealAll(segment.ReasonStop); err != nil {
		return err
	}
	for {
		l.rotate()
		if l.c.idle() {
			return nil
		}
		if err := l.rotated(<-l.rotations); err != nil {
			return err
		}
	}
}

// end gives up what the tenure holds, after its context has ended; err is why it did.
// It waits for all that the loop started.
func (l *loop) end(ctx context.Context, err error) {
	l.abort()
	// 1. fetching
	l.reads.wait()
	// 2. the entry in flight: it reads files of the spool
	if !l.c.idle() {
		<-l.rotations
		l.p.view.noteWriting(time.Time{})
	}
	l.p.a.pressure.waiting.Add(-int64(l.counted))
	// 3. requests
	for _, r := range l.waiting {
		r.done <- fmt.Errorf("seal partition %d: %w", l.p.log.Partition, err)
	}
	// 4. the spool
	l.p.ended = true
	if l.logState == logCut || errors.Is(err, stream.ErrOffsetOutOfRange) {
		l.c.spool.Discard() // the log has other records there, or the ledger all that was read
	} else {
		// What is on the disk is of the last checkpoint. The next tenure finds out
		// whether the log holds it all: what this one knew may be from before an outage.
		l.c.spool.Close()
	}
	// 5. what is remembered of messages
	l.closeRecall(ctx)
}
