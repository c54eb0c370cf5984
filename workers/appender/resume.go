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

// checkpoint is the core's part of a spool's checkpoint. Together with the files of the spool it is
// "entry Seq + records read since", up to Position.
type checkpoint struct {
	Seq        int64          `json:"seq"`
	Attempt    string         `json:"attempt"` // of entry Seq
	Router     string         `json:"router"`
	Position   int64          `json:"position"`
	Progress   int64          `json:"progress"`
	Quiet      int64          `json:"quiet"`
	Epoch      int            `json:"epoch"`
	Skipped    []skippedRun   `json:"skipped"`
	Duplicates []duplicateRun `json:"doubles,omitempty"`
}

// savepoint identifies a state of the core.
type savepoint struct{ position, seq int64 }

func (c *core) savepoint() savepoint { return savepoint{position: c.position, seq: c.base.Seq} }

// save writes the core to a checkpoint, so that it outlives the process.
func (c *core) save() (bytes int64, err error) {
	state, err := json.Marshal(checkpoint{
		Seq: c.base.Seq, Attempt: c.base.Attempt, Router: c.base.Router,
		Position: c.position, Progress: c.progress, Quiet: c.quietUntil, Epoch: c.epoch, Skipped: c.skipped, Duplicates: c.allDuplicates(),
	})
	if err != nil {
		return 0, fmt.Errorf("encode checkpoint: %w", err)
	}
	return c.spool.Checkpoint(state)
}

// errUntrusted says that local files do not match the head that was claimed. The partition is then
// read again from the watermark.
var errUntrusted = errors.New("local files cannot be used")

// errUnreadable is an errUntrusted: the disk does not return the files as they were written.
var errUnreadable = fmt.Errorf("%w: the disk does not return them as they were written", errUntrusted)

// inLedger reports whether all records of a local file are in files of the head. The head descends
// from the entry that the file was begun on, so either all of them are or none. If only some are,
// the error is errUntrusted.
func (c *core) inLedger(m segment.Meta) (bool, error) {
	through, ok := c.filter[m.Stream]
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

// resumeCore returns the state with which a reader continues from the checkpoint and its files,
// after it has claimed the partition with base, a descendant of entry cp.Seq.
//
// Invariant: I5, I6. Whatever the head has that the checkpoint does not know was cut from records
// that the checkpoint has, or from later ones. The former are dropped here, the latter are below
// the watermark or in the filter.
func resumeCore(cfg coreConfig, base *ledger.Entry, cp *checkpoint, local *segment.Recovery) (*core, error) {
	c := newCore(cfg, base, nil)
	c.position = max(cp.Position, base.LowWatermark)
	c.progress, c.quietUntil, c.epoch = cp.Progress, cp.Quiet, cp.Epoch+1 // entries were cut since
	for _, s := range cp.Skipped {
		switch {
		case s.First >= base.LowWatermark:
			c.skipped = append(c.skipped, s)
		case s.Last >= base.LowWatermark: // only a copy of this worker would have cut there
			return nil, fmt.Errorf("%w: skipped offsets %d to %d are in the ledger in part", errUntrusted, s.First, s.Last)
		}
	}
	if err := c.loadDuplicates(cp.Duplicates); err != nil {
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
		// The file's last frame may hold the deadline from before the clock was set back.
		c.setDeadline(m.Stream, min(m.Note, c.rollDeadline(c.progress)))
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

// errWatermarkGone says that the log held the watermark when a claim began, and no longer does.
var errWatermarkGone = errors.New("the log ceased to hold the ledger's watermark while the partition was taken over")

// startCore returns the core with which this worker continues after a takeover: with the files left
// on its disk if they can be trusted, otherwise from the watermark on.
func (p *partition) startCore(ctx context.Context, t *takeover, owner string) (*core, error) {
	cfg, base := p.appender.spoolConfig(p.log.Partition), t.base
	c, err := p.resume(ctx, t, owner)
	if t.local == nil && (p.tenureEnded || errors.Is(err, errUntrusted)) {
		// The files are about to be dropped, and the bounds that the claim was checked
		// against are older than its jobs, its retries and the reading of the disk. If the
		// log lacks the watermark by now, the next try looks at the files before its claim.
		b, err := p.appender.bounds(ctx, p.log)
		if err != nil || !b.Readable(base.LowWatermark) {
			return nil, cmp.Or(err, errWatermarkGone)
		}
	}
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, errUntrusted):
		if errors.Is(err, errUnreadable) {
			p.appender.metrics.damages.Inc()
		}
		p.logger.WarnContext(ctx, "local files are dropped, reading from the ledger's watermark", "entry", base.Seq, "offset", base.LowWatermark, "err", err)
	case !errors.Is(err, segment.ErrNoCheckpoint):
		return nil, err
	}
	spool, err := segment.New(cfg)
	if err != nil {
		return nil, err
	}
	p.logger.InfoContext(ctx, "partition taken over", "entry", base.Seq, "offset", base.LowWatermark)
	c = newCore(p.appender.coreConfig(p.log.Partition), base, spool)
	c.saved = c.savepoint() // the empty directory says the same, and a full disk would not take more
	return c, nil
}

// readFiles reads and checks all of the partition's local files. With many open files and a slow
// disk this takes minutes; it then logs that it is still reading.
func (p *partition) readFiles(ctx context.Context) (*segment.Recovery, error) {
	const slow = 10 * time.Second
	cfg, start := p.appender.spoolConfig(p.log.Partition), time.Now()
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
				p.logger.InfoContext(ctx, "still reading local files before the partition is read on", "dir", cfg.Dir, "for", time.Since(start))
			}
		}
	})
	defer saying.Wait()
	defer close(done) // runs first
	return segment.Recover(ctx, cfg)
}

// resume continues with the local files: with t.local if the takeover read them because the log
// lacks what they hold, otherwise with those on the disk. It uses none of the latter if an earlier
// tenure of this process has ended, so as not to run into what ended it again. Its errors are
// segment.ErrNoCheckpoint, errUntrusted, or one that may be gone at a later try.
func (p *partition) resume(ctx context.Context, t *takeover, owner string) (*core, error) {
	start, base := time.Now(), t.base
	if t.local == nil && p.tenureEnded {
		return nil, segment.ErrNoCheckpoint
	}
	local, cp := t.local, t.cp
	if local == nil {
		var err error
		local, err = p.readFiles(ctx)
		switch {
		case err == nil:
		case errors.Is(err, segment.ErrNoCheckpoint) || ctx.Err() != nil: // the latter says nothing about the files
			return nil, err
		default:
			return nil, fmt.Errorf("%w: %w", errUnreadable, err)
		}
		defer local.Close() // does nothing once they are resumed
		if cp, err = p.readCheckpoint(local); err != nil {
			return nil, err
		}
		if err = p.checkChain(ctx, cp, base, owner); err != nil && !ablation.On(ablation.TrustsAnyFiles) {
			return nil, err
		}
	}
	c, err := resumeCore(p.appender.coreConfig(p.log.Partition), base, cp, local)
	if err != nil {
		if t.local != nil && !errors.Is(err, errUntrusted) {
			return nil, err // they exist nowhere else; the next try reads them before its claim
		}
		if !errors.Is(err, errUntrusted) {
			err = fmt.Errorf("%w: %w", errUnreadable, err)
		}
		return nil, err
	}
	var records, bytes int64
	note := func(m segment.Meta) { records, bytes = records+m.Records, bytes+m.RawBytes }
	c.spool.Files(note)
	for _, f := range c.sealed {
		note(f.Meta)
	}
	p.appender.metrics.resumedRecords.Add(float64(records))
	p.appender.metrics.resumedBytes.Add(float64(bytes))
	p.logger.InfoContext(ctx, "partition taken over with its local files", "entry", base.Seq, "offset", c.position,
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

// checkChain returns nil if the checkpoint belongs to this very chain, and every entry since, up to
// its claim base, is this worker's own.
//
// Invariant: I5. Only the state that the head was made from may continue from it.
func (p *partition) checkChain(ctx context.Context, cp *checkpoint, base *ledger.Entry, owner string) error {
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
		e, err := p.entryWithRetry(ctx, seq)
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

// entryWithRetry returns an entry of the ledger, or ledger.ErrNotFound. Walking the chain takes
// many requests, and a failed one would void the whole walk and everything read from disk for it.
// So it retries while the store is overloaded or out of reach.
func (p *partition) entryWithRetry(ctx context.Context, seq int64) (e *ledger.Entry, err error) {
	err = objstore.RetryRead(ctx, func() error {
		e, err = p.entryOnce(ctx, seq)
		return err
	})
	return e, err
}

// save writes a checkpoint if anything has changed.
func (l *loop) save() error {
	if l.deduper != nil {
		l.deduper.Checkpoint()
	}
	at := l.core.savepoint()
	if at == l.core.saved {
		return nil
	}
	start := time.Now()
	n, err := l.core.save()
	if err != nil {
		return err
	}
	l.core.saved = at
	l.partition.appender.metrics.checkpoint.Observe(time.Since(start).Seconds())
	l.partition.appender.metrics.checkpointBytes.Add(float64(n))
	return nil
}

// checkpointInterval is how much reading a killed process loses.
const checkpointInterval = 10 * time.Second

// saveInterval returns the time until the next checkpoint. It is random, so that partitions do not
// all write at once.
func saveInterval() time.Duration { return checkpointInterval/2 + jitter.N(checkpointInterval) }
