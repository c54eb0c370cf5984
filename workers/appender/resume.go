package appender

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
)

// checkpoint is what a spool's checkpoint says of the core: with the files of
// the spool it is "entry Seq + records read since", up to Position.
type checkpoint struct {
	Seq      int64    `json:"seq"`
	Attempt  string   `json:"attempt"` // of entry Seq
	Router   string   `json:"router"`
	Position int64    `json:"position"`
	Progress int64    `json:"progress"`
	Quiet    int64    `json:"quiet"`
	Epoch    int      `json:"epoch"`
	Skipped  []skip   `json:"skipped"`
	Doubles  []double `json:"doubles,omitempty"`
}

// save makes the core outlive the process.
func (c *core) save() (bytes int64, err error) {
	state, err := json.Marshal(checkpoint{
		Seq: c.base.Seq, Attempt: c.base.Attempt, Router: c.base.Router,
		Position: c.position, Progress: c.progress, Quiet: c.quiet, Epoch: c.epoch, Skipped: c.skipped, Doubles: c.savedDoubles(),
	})
	if err != nil {
		return 0, fmt.Errorf("encode checkpoint: %w", err)
	}
	return c.spool.Checkpoint(state)
}

// errUntrusted says that local files are not the state that a claim's head
// leaves to its owner: the partition is read again from the watermark.
var errUntrusted = errors.New("local files cannot be used")

// inLedger reports whether all records of a local file are in files of the
// head. The head descends from the entry that the file was begun on, so either
// all are or none; if some are, the error is errUntrusted.
func (c *core) inLedger(m segment.Meta) (bool, error) {
	through, ok := c.through[m.Stream]
	if ablation.On(ablation.TrustsAnyFiles) {
		return false, nil
	}
	switch {
	case m.Last < c.base.LowWatermark || ok && m.Last <= through:
		return true, nil
	case m.First < c.base.LowWatermark || ok && m.First <= through:
		return false, fmt.Errorf("%w: offsets %d to %d of %v are in the ledger in part", errUntrusted, m.First, m.Last, m.Stream)
	}
	return false, nil
}

// resumeCore returns what the checkpoint and its files leave to a reader that
// has claimed the partition with base, a descendant of entry cp.Seq.
//
// Invariant: I5, I6. Whatever the head has that the checkpoint does not know
// was cut from records that it has, or from later ones: the former are dropped
// here, the latter are below the watermark or in the filter.
func resumeCore(cfg coreConfig, base *ledger.Entry, cp *checkpoint, local *segment.Recovery) (*core, error) {
	c := newCore(cfg, base, nil)
	c.position = max(cp.Position, base.LowWatermark)
	c.progress, c.quiet, c.epoch = cp.Progress, cp.Quiet, cp.Epoch
	for _, s := range cp.Skipped {
		switch {
		case s.First >= base.LowWatermark:
			c.skipped = append(c.skipped, s)
		case s.Last >= base.LowWatermark: // only a copy of this worker cuts there
			return nil, fmt.Errorf("%w: skipped offsets %d to %d are in the ledger in part", errUntrusted, s.First, s.Last)
		}
	}
	if err := c.loadDoubles(cp.Doubles); err != nil {
		return nil, err
	}
	spool, sealed, err := local.Resume(func(m segment.Meta) (bool, error) {
		if m.Last >= cp.Position {
			return false, fmt.Errorf("%w: offset %d of %v is not below the checkpoint's %d", errUntrusted, m.Last, m.Stream, cp.Position)
		}
		return c.inLedger(m)
	})
	if err != nil {
		return nil, err
	}
	c.spool, c.sealed = spool, sealed
	spool.Files(func(m segment.Meta) {
		// Its last frame may have the deadline from before the clock went back.
		c.due(m.Stream, min(m.Note, c.deadline(c.progress)))
	})
	return c, nil
}

func (a *Appender) spoolConfig(partition int) segment.Config {
	return segment.Config{
		Dir:      filepath.Join(a.spoolsDir(), strconv.Itoa(partition)),
		Level:    a.cfg.Level,
		MaxBytes: a.cfg.MaxBytes,
		Budget:   a.budget,
	}
}

// errPassed says that the log held the watermark when a claim began, and no longer does.
var errPassed = errors.New("the log ceased to hold the ledger's watermark while the partition was taken over")

// begin returns the core that a takeover leaves to this worker: with the files that
// it left on its disk if they can be trusted, else from the watermark on.
func (p *partition) begin(ctx context.Context, t *takeover, owner string) (*core, error) {
	cfg, base := p.a.spoolConfig(p.log.Partition), t.base
	c, err := p.resume(ctx, t, owner)
	if t.local == nil && (p.ended || errors.Is(err, errUntrusted)) {
		// The files are about to be dropped, and the bounds that the claim was checked
		// against are older than its jobs, its retries and the reading of the disk. If the
		// log lacks the watermark by now, the next try looks at the files before its claim.
		b, err := p.a.bounds(ctx, p.log)
		if err != nil || !b.Readable(base.LowWatermark) {
			return nil, cmp.Or(err, errPassed)
		}
	}
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, errUntrusted):
		p.lg.WarnContext(ctx, "local files are dropped, reading from the ledger's watermark", "entry", base.Seq, "offset", base.LowWatermark, "err", err)
	case !errors.Is(err, segment.ErrNoCheckpoint):
		return nil, err
	}
	spool, err := segment.New(cfg)
	if err != nil {
		return nil, err
	}
	p.lg.InfoContext(ctx, "partition taken over", "entry", base.Seq, "offset", base.LowWatermark)
	return newCore(p.a.coreConfig(p.log.Partition), base, spool), nil
}

// readFiles reads and checks the partition's local files, all of them: with much
// open and a slow disk it takes minutes, and then says so.
func (p *partition) readFiles(ctx context.Context) (*segment.Recovery, error) {
	const slow = 10 * time.Second
	cfg, start := p.a.spoolConfig(p.log.Partition), time.Now()
	done := make(chan struct{})
	var saying sync.WaitGroup
	saying.Go(func() {
		tick := time.NewTicker(slow)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				p.lg.InfoContext(ctx, "still reading local files before the partition is read on", "dir", cfg.Dir, "for", time.Since(start))
			}
		}
	})
	defer saying.Wait()
	defer close(done) // before
	return segment.Recover(ctx, cfg)
}

// resume takes up the local files: t.local if the takeover read them, because the log
// lacks what they hold, otherwise those on the disk; but after a tenure of this process
// has failed none of these, lest what ended it be met again. Its errors are
// segment.ErrNoCheckpoint, errUntrusted, or one that a later try may not meet.
func (p *partition) resume(ctx context.Context, t *takeover, owner string) (*core, error) {
	start, base := time.Now(), t.base
	if t.local == nil && p.ended {
		return nil, segment.ErrNoCheckpoint
	}
	local, cp := t.local, t.cp
	if local == nil {
		var err error
		local, err = p.readFiles(ctx)
		switch {
		case err == nil:
		case errors.Is(err, segment.ErrNoCheckpoint) || ctx.Err() != nil: // the latter says nothing of the files
			return nil, err
		default:
			return nil, fmt.Errorf("%w: %w", errUntrusted, err)
		}
		defer local.Close() // nothing, once resumed
		if cp, err = p.readCheckpoint(local); err != nil {
			return nil, err
		}
		if err = p.trust(ctx, cp, base, owner); err != nil && !ablation.On(ablation.TrustsAnyFiles) {
			return nil, err
		}
	}
	c, err := resumeCore(p.a.coreConfig(p.log.Partition), base, cp, local)
	if err != nil {
		if t.local != nil && !errors.Is(err, errUntrusted) && !errors.Is(err, segment.ErrDamaged) {
			return nil, err // trouble of the disk: they may be whole, and are nowhere else
		}
		return nil, fmt.Errorf("%w: %w", errUntrusted, err)
	}
	var records, bytes int64
	note := func(m segment.Meta) { records, bytes = records+m.Records, bytes+m.RawBytes }
	c.spool.Files(note)
	for _, f := range c.sealed {
		note(f.Meta)
	}
	p.a.metrics.resumedRecords.Add(float64(records))
	p.a.metrics.resumedBytes.Add(float64(bytes))
	p.lg.InfoContext(ctx, "partition taken over with its local files", "entry", base.Seq, "offset", c.position,
		"records", records, "bytes", bytes, "files", c.spool.Len()+len(c.sealed), "took", time.Since(start))
	return c, nil
}

func (p *partition) readCheckpoint(local *segment.Recovery) (*checkpoint, error) {
	cp := new(checkpoint)
	if err := json.Unmarshal(local.State, cp); err != nil {
		return nil, fmt.Errorf("%w: decode checkpoint: %w", errUntrusted, err)
	}
	p.readTo = max(p.readTo, cp.Position)
	return cp, nil
}

// trust returns nil if the checkpoint is of this very chain, and every entry
// since is this worker's own, up to its claim base.
//
// Invariant: I5. Only the state of which the head is made may go on from it.
func (p *partition) trust(ctx context.Context, cp *checkpoint, base *ledger.Entry, owner string) error {
	void := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", errUntrusted, fmt.Sprintf(format, args...))
	}
	switch {
	case cp.Seq >= base.Seq:
		return void("they build on entry %d, the head is %d", cp.Seq, base.Seq)
	case cp.Router != base.Router:
		return void("records were routed by %q, now by %q", cp.Router, base.Router)
	}
	for seq := cp.Seq; seq < base.Seq; seq++ {
		e, err := p.entry(ctx, seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return void("entry %d is not there", seq)
		case err != nil:
			return fmt.Errorf("trust local files: %w", err)
		case seq == cp.Seq && e.Attempt != cp.Attempt:
			return void("entry %d is not the one that they build on", seq)
		case e.Owner != owner:
			return void("entry %d is of %q", seq, e.Owner)
		}
	}
	return nil
}

// entry returns an entry of the ledger, or ledger.ErrNotFound. A walk of the chain is
// many requests, and one that fails would void all of it and what was read of the disk
// for it, so it is made again while the store is overloaded or out of reach.
func (p *partition) entry(ctx context.Context, seq int64) (e *ledger.Entry, err error) {
	err = objstore.Again(ctx, func() error {
		e, err = p.entryNow(ctx, seq)
		return err
	})
	return e, err
}

// save writes a checkpoint if there is anything new.
func (l *loop) save() error {
	if l.recall != nil {
		l.recall.Checkpoint()
	}
	at := savepoint{position: l.c.position, seq: l.c.base.Seq}
	if at == l.saved {
		return nil
	}
	start := time.Now()
	n, err := l.c.save()
	if err != nil {
		return err
	}
	l.saved = at
	l.p.a.metrics.checkpoint.Observe(time.Since(start).Seconds())
	l.p.a.metrics.checkpointBytes.Add(float64(n))
	return nil
}

// checkpointEvery is how much reading a killed process loses.
const checkpointEvery = 10 * time.Second

// saveEvery is the time to the next checkpoint, by chance, lest all partitions
// write at once.
func saveEvery() time.Duration { return checkpointEvery/2 + jitter.N(checkpointEvery) }
