package appender

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// dedupDir, below the data directory, holds the stores of remembered messages.
const dedupDir = "dedup"

// deduper remembers a partition's messages during one tenure. To fill gaps in what is remembered,
// it reads older parts of the log again. The loop owns it.
type deduper struct {
	*dedup.Store
	parts       chan logPart // parts of the log read again
	buffersFree chan struct{}
	reading     bool
	backfilling backfillRange // only used when reading
	since       time.Time     // of the tenure
	liveFetches int           // fetches of live reading since the last part was filled in
	liveAtEnd   bool          // live reading has reached the log's end
	done        sync.WaitGroup
}

// logPart is a part of what is read again.
type logPart struct {
	records []stream.Record
	floor   int64 // if not 0, the offset at which the log begins
	last    bool
	err     error
}

const (
	// firstBackfill limits how long live reading waits at the start for the newest of the missing
	// messages: their copies are the most likely to come.
	firstBackfill = 2 * time.Second
	// livePerRound is how many fetches of live reading come between two parts filled in, unless
	// live reading is idle.
	livePerRound = 8
)

// storesDir holds the partitions' stores, which are named by partition number.
func (a *Appender) storesDir() string {
	return filepath.Join(a.cfg.DataDir, dedupDir, a.cfg.Topic, a.cfg.Incarnation)
}

func (p *partition) storeDir() string {
	return filepath.Join(p.appender.storesDir(), strconv.Itoa(p.log.Partition))
}

// sweepStores deletes the stores of partitions that have not been ours for longer than the window.
// If a partition comes back sooner, its store saves reading that part of the log again.
// sweepStores gives up when partitions are assigned anew, like sweepLeftovers.
func (a *Appender) sweepStores(ctx context.Context, assignments int) error {
	dir := a.storesDir()
	stores, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // whoever creates it reports the problem
		return nil
	}
	errs := []error{err}
	for _, d := range stores {
		path := filepath.Join(dir, d.Name())
		log, ok := logOf(filepath.Join(a.cfg.Topic, a.cfg.Incarnation, d.Name()))
		if !ok {
			errs = append(errs, a.remove(ctx, path, "they are no partition's"))
			continue
		}
		info, err := d.Info()
		if a.ours(log) || a.dedupBudget != nil && err == nil && time.Since(info.ModTime()) < a.cfg.DedupWindow {
			continue
		}
		doomed, err := a.renameForDeletion(path, assignments)
		if errors.Is(err, errReassigned) {
			return errors.Join(errs...)
		}
		if err == nil {
			err = a.remove(ctx, doomed, "they remember messages of a partition that is not ours any more")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// openDeduper opens the partition's store for a tenure that continues from c. It returns nil if
// that fails; then duplicates are not removed. entry reads an entry of the ledger.
func (p *partition) openDeduper(ctx context.Context, c *core, entry entryFunc) *deduper {
	if p.appender.dedupBudget == nil {
		return nil
	}
	store, err := p.openStore(ctx, c, entry)
	if err != nil {
		if ctx.Err() == nil { // if the tenure has ended, no duplicates pass
			p.logger.WarnContext(ctx, "duplicates are not removed", "err", err)
		}
		p.view.noteDedup(nil)
		return nil
	}
	store.Start(c.position)
	store.RaiseFloor(c.base.RouterFrom)
	return &deduper{Store: store, parts: make(chan logPart), buffersFree: make(chan struct{}, 1), since: time.Now()}
}

// openStore opens the partition's store, after removing from its directory what has to be
// forgotten.
func (p *partition) openStore(ctx context.Context, c *core, entry entryFunc) (*dedup.Store, error) {
	if err := p.discardStore(); err != nil {
		return nil, err
	}
	// Offsets have a meaning in one log only, and the ledger's first entry identifies the log: the
	// directory may be a copy from another environment. And what was read under another routing
	// rule, or before a rule was switched, may have been filed under other sources or not at all,
	// so it must not be remembered.
	if err := p.findOrigin(ctx, c.base, entry); err != nil {
		return nil, err
	}
	store, err := dedup.Open(dedup.Config{
		Dir:    p.storeDir(),
		Window: p.appender.cfg.DedupWindow, Budget: p.appender.dedupBudget, Log: p.logger,
		Rule: fmt.Sprintf("%s %d %s", p.origin, c.base.RouterFrom, c.base.Router),
	})
	if err != nil {
		return nil, err
	}
	if f := p.forget; f.read > 0 {
		if err := store.ForgetUncertain(f.known, f.read); err != nil {
			store.Close()
			return nil, err
		}
	}
	*p.forget = pendingForget{}
	return store, nil
}

// discardStore deletes everything in the store's directory, if p.forget says so.
func (p *partition) discardStore() error {
	if !p.forget.all {
		return nil
	}
	err := dedup.Discard(p.storeDir())
	p.forget.all = err != nil
	return err
}

// findOrigin sets p.origin, which identifies the log. Reading waits for it no longer than for the
// first messages to be filled in, and not at all if base is the entry that it is in.
func (p *partition) findOrigin(ctx context.Context, base *ledger.Entry, entry entryFunc) error {
	if p.origin == "" && base.Seq == 0 {
		p.origin = base.Attempt
	}
	if p.origin != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstBackfill)
	defer cancel()
	first, err := entry(ctx, 0)
	if err == nil {
		p.origin = first.Attempt
	}
	return err
}

// entryFunc returns an entry of the partition's ledger.
type entryFunc func(ctx context.Context, seq int64) (*ledger.Entry, error)

// entryOnce is like entryWithRetry, with one request only, because reading waits for it.
func (p *partition) entryOnce(ctx context.Context, seq int64) (*ledger.Entry, error) {
	return p.appender.deps.Rotator.Entry(ctx, p.log, seq)
}

// pendingForget says what a partition's message store has to forget before it is used again. It is
// non-empty only if the disk refused to forget, or the log could not be identified. It outlives
// tenures and assignments, but not the process.
type pendingForget struct {
	all         bool
	known, read int64 // see dedup.Store.ForgetUncertain; read is 0 if it need not be called
}

// closeDeduper closes the store at the end of a tenure. The context of the tenure has ended.
func (l *loop) closeDeduper(ctx context.Context) {
	p, f := l.partition, l.partition.forget
	switch l.logState {
	case logCut: // everything from the watermark on is read again
		f.all = true
	case logUnknown, logRewritten:
		// What the log held at the offsets that were read may end up in no file, nor may what it
		// holds there now. A copy of either is then not a duplicate.
		known := l.core.base.LowWatermark
		if f.read > 0 {
			known = min(known, f.known)
		}
		f.known, f.read = known, max(l.core.position, f.read)
	default:
		l.deduper.close()
		return
	}
	var err error
	if r := l.deduper; r != nil {
		r.done.Wait()
		if f.all {
			err = r.Discard()
		} else { // before the close, because what was filled in may date from after the cut
			err = r.ForgetUncertain(f.known, f.read)
			r.Close()
		}
		if err == nil {
			*f = pendingForget{}
		}
	} else if err = p.discardStore(); f.read > 0 { // the directory may be that of an earlier tenure
		p.openDeduper(context.WithoutCancel(ctx), l.core, p.entryWithRetry).close()
	}
	if p.appender.dedupBudget != nil && *f != (pendingForget{}) {
		p.logger.ErrorContext(ctx, "what is remembered of messages is not forgotten on the disk, though the log was cut; duplicates pass until it is; if this process ends before, the next one may take events for copies of what the log lost, and leave them out",
			"dir", p.storeDir(), "err", err)
	}
}

func (r *deduper) close() {
	if r != nil {
		r.done.Wait()
		r.Close()
	}
}

// backfillRound returns the channel from which to take the next part to fill in, or nil if live
// reading comes first, and whether live reading has to wait for it.
func (l *loop) backfillRound(ctx context.Context) (from chan logPart, wait bool) {
	r := l.deduper
	if r == nil || l.logState != logReadable { // the log may now hold other records than before
		return nil, false
	}
	if !r.reading && l.paused == "" {
		if from, to, ok := r.NextFill(); ok {
			r.reading = true
			log := l.partition.appender.deps.Log.Fetcher(l.partition.log.Topic, l.partition.log.Partition)
			livePosition := l.core.position
			r.done.Go(func() { r.backfill(ctx, log, from, to, livePosition) })
			r.backfilling = backfillRange{from: from, to: to}
		}
	}
	if !r.reading {
		return nil, false
	}
	wait = time.Since(r.since) < firstBackfill
	if !wait && !r.liveAtEnd && l.paused == "" && r.liveFetches < livePerRound {
		return nil, false
	}
	return r.parts, wait
}

// backfill passes the records from offset from up to to, exclusive, to the loop. livePosition is
// the position of the loop's live reading.
func (r *deduper) backfill(ctx context.Context, log Fetcher, from, to, livePosition int64) {
	send := func(s logPart) bool {
		select {
		case <-ctx.Done():
			return false
		case r.parts <- s:
		}
		if s.last { // nothing is fetched after it, and the next reader waits for next
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-r.buffersFree:
			return true
		}
	}
	for offset := from; ; {
		got, err := log.Fetch(ctx, offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: 100 * time.Millisecond})
		if errors.Is(err, stream.ErrOffsetOutOfRange) {
			// Retention deleted the records. A fetch at a readable offset tells where the log
			// begins.
			if got, err = log.Fetch(ctx, livePosition, stream.FetchOptions{MaxBytes: 1, MaxWait: 100 * time.Millisecond}); err == nil {
				send(logPart{last: true, floor: got.LogStart, err: stream.ErrOffsetOutOfRange})
				return
			}
		}
		if err != nil {
			if sleep.For(ctx, time.Second) != nil {
				return
			}
			send(logPart{last: true, err: err})
			return
		}
		records := got.Records
		for len(records) > 0 && records[len(records)-1].Offset >= to {
			records = records[:len(records)-1]
		}
		// The second case: there is nothing more below to, and the leader knows the log up to
		// there.
		last := got.Next >= to || got.Next == offset && got.HighWatermark >= to
		offset = got.Next
		if !send(logPart{records: records, last: last}) || last {
			return
		}
	}
}

// backfillRange is the range that is being read again.
type backfillRange struct {
	from, to, newest int64
}

// handleBackfill handles a part of the log that was read again.
func (l *loop) handleBackfill(s logPart) {
	r := l.deduper
	r.liveFetches = 0
	now := time.Now().UnixMilli()
	for i := range s.records {
		rec := &s.records[i]
		to, reason := l.router.Route(rec)
		if reason != "" || !l.core.spool.Fits(to.Line) {
			continue
		}
		if to.Received <= now { // those from the future, of a producer whose clock is ahead, may be anywhere in the log
			r.backfilling.newest = max(r.backfilling.newest, to.Received)
		}
		if len(to.Message) > 0 {
			r.Fill(r.Key(to.Source, to.Message), rec.Offset, to.Received, now)
		}
	}
	if s.floor > 0 {
		r.RaiseFloor(s.floor)
	}
	if s.last {
		r.reading = false
		if s.err == nil {
			r.FinishFill(r.backfilling.from, r.backfilling.to, r.backfilling.newest)
		}
		r.backfilling = backfillRange{}
		return
	}
	r.buffersFree <- struct{}{}
}

// shrinkInterval is how long the disk has to be short before another part of the remembered
// messages is given up.
const shrinkInterval = time.Minute

// shrinkStore gives up a part of the remembered messages when the disk stays short although
// everything that was read is in the ledger. The alternative would be to read nothing.
func (l *loop) shrinkStore() {
	if l.paused != pausedDisk || !l.core.idle() || l.updateWaiting() > 0 || l.core.spool.Len() > 0 {
		l.shortSince = time.Now()
		return
	}
	if time.Since(l.shortSince) >= shrinkInterval {
		l.deduper.Shrink()
		l.shortSince = time.Now()
	}
}
