package appender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// partition reads one assigned partition. Its run goroutine owns the core and the spool; other
// goroutines talk to it through requests.
type partition struct {
	appender *Appender
	log      ledger.Log
	logger   *slog.Logger

	requests chan request                  // answered by the run goroutine
	tenure   atomic.Pointer[ledger.Tenure] // of the newest generation that assigned the partition to us
	view     view                          // what metrics and readiness read
	readTo   int64                         // offset up to which this worker has ever read, as far as it knows
	origin   string                        // attempt of the ledger's first entry, once known
	forget   *pendingForget                // what its message store has to forget; outlives the partition
	// tenureEnded says that an earlier tenure of this process has ended. Local files are then not
	// resumed as long as the log holds their records.
	tenureEnded bool
	damages     int       // tenures in a row that ended because of damaged local files, see noteDamage
	damagedAt   time.Time // when the last of them ended
}

// run owns the partition until ctx ends: it takes it over, reads it, and takes it over again
// whenever the state turns out to be void.
func (p *partition) run(ctx context.Context) {
	// Jittered, so that two workers that were both assigned the partition do not keep taking it from
	// each other in step.
	backoff := jitter.Backoff{Min: 200 * time.Millisecond, Max: 30 * time.Second}
	for ctx.Err() == nil {
		p.awaitTenure(ctx)
		start := time.Now()
		err := p.runTenure(ctx)
		if ctx.Err() != nil {
			return
		}
		p.appender.metrics.abandoned.Inc()
		if time.Since(start) > time.Minute {
			backoff.Reset()
		}
		level := slog.LevelWarn
		if errors.Is(err, ledger.ErrLost) || errors.Is(err, errRuleSwitch) {
			level = slog.LevelInfo
		}
		if errors.Is(err, segment.ErrDamaged) {
			level = slog.LevelError
			p.noteDamage(err)
		}
		wait := backoff.Next().Round(time.Millisecond)
		p.logger.Log(ctx, level, "partition abandoned, taking it over again", "err", err, "in", wait)
		p.view.noteProblem(err)
		p.rejectRequests(ctx, err, wait)
	}
}

// errGenerationEnded says that the assignment by the group is out of date.
var errGenerationEnded = errors.New("the consumer group's generation has ended, the next one decides whose the partition is")

// awaitTenure returns when the partition is ours in a generation that has not ended as far as we
// know, or when ctx ends. Without it, a worker that is cut off from the group would take the
// partition back each time its new owner took it, and neither could ever write an entry.
func (p *partition) awaitTenure(ctx context.Context) {
	for ctx.Err() == nil {
		select {
		case <-p.tenure.Load().Done:
		default:
			return
		}
		p.view.noteProblem(errGenerationEnded)
		p.rejectRequests(ctx, errGenerationEnded, 200*time.Millisecond)
	}
}

// rejectRequests waits, and meanwhile answers requests with err.
func (p *partition) rejectRequests(ctx context.Context, err error, wait time.Duration) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case r := <-p.requests:
			r.done <- fmt.Errorf("seal partition %d: %w", p.log.Partition, err)
		}
	}
}

// runTenure takes the partition over and reads it until something makes the state void.
func (p *partition) runTenure(ctx context.Context) error {
	defer p.view.noteAlive(time.Time{})
	p.view.noteAlive(time.Now())
	if err := p.checkWritable(); err != nil {
		return err
	}
	p.view.noteAlive(time.Time{}) // taking over has its own time limit and reports when it is slow
	tenure := *p.tenure.Load()
	t, err := p.takeOver(ctx, tenure)
	if err != nil {
		return err
	}
	defer t.close()
	router, outdated, err := p.appender.routerFor(t.base.Router)
	if err != nil {
		return err
	}
	c, err := p.startCore(ctx, t, tenure.Owner)
	if err != nil {
		return err
	}
	if ablation.On(ablation.ResumesAtCommitted) && tenure.Committed >= 0 {
		c.position = tenure.Committed
	}
	reading, cancel := context.WithCancel(ctx)
	l := p.newLoop(reading, c, router, outdated)
	p.view.clearProblem()
	if err = l.salvage(t); err == nil {
		err = l.run(reading)
	}
	cancel()
	l.close(reading, err)
	return err
}
