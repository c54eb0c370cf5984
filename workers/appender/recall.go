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
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// recallDir, below the data directory, holds the stores of remembered messages.
const recallDir = "dedup"

// recall remembers a partition's messages during one tenure. To fill gaps in what is remembered, it
// reads older parts of the log again. The loop owns it.
type recall struct {
	*dedup.Store
	slices  chan slice // parts of the log read again
	next    chan struct{}
	reading bool
	filling fillRange // only used when reading
	since   time.Time // of the tenure
	live    int       // fetches of live reading since the last part was filled in
	idle    bool      // live reading has reached the log's end
	done    sync.WaitGroup
}

// slice is a part of what is read again.
type slice struct {
	records []stream.Record
	floor   int64 // if not 0, the offset at which the log begins
	last    bool
	err     error
}

const (
	// firstRecall limits how long live reading waits at the start for the newest of the missing
	// messages: their copies are the most likely to come.
	firstRecall = 2 * time.Second
	// livePerRound is how many fetches of live reading come between two parts filled in, unless
	// live reading is idle.
	livePerRound = 8
)

// recallsDir holds the partitions' stores, which are named by partition number.
func (a *Appender) recallsDir() string {
	return filepath.Join(a.cfg.DataDir, recallDir, a.cfg.Topic, a.cfg.Incarnation)
}

func (p *partition) recallDir() string {
	return filepath.Join(p.a.recallsDir(), strconv.Itoa(p.log.Partition))
}

// sweepRecalls deletes the stores of partitions that have not been ours for longer than the window.
// If a partition comes back sooner, its store saves reading that part of the log again.
// sweepRecalls gives up when partitions are assigned anew, like sweepLeft.
func (a *Appender) sweepRecalls(ctx context.Context, assigned int) error {
	dir := a.recallsDir()
	stores, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // whoever creates it reports the problem
		return nil
	}
	errs := []error{err}
	for _, d := range stores {
		path := filepath.Join(dir, d.Name())
		log, numbered := logOf(filepath.Join(a.cfg.Topic, a.cfg.Incarnation, d.Name()))
		if !numbered {
			errs = append(errs, a.remove(ctx, path, "they are no partition's"))
			continue
		}
		info, err := d.Info()
		if a.ours(log) || a.recalls != nil && err == nil && time.Since(info.ModTime()) < a.cfg.DedupWindow {
			continue
		}
		doomed, err := a.doom(path, assigned)
		if errors.Is(err, errAssigned) {
			return errors.Join(errs...)
		}
		if err == nil {
			err = a.remove(ctx, doomed, "they remember messages of a partition that is not ours any more")
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// recall opens the partition's store for a tenure that continues from c. It returns nil if that
// fails; then duplicates are not removed. entry reads an entry of the ledger.
func (p *partition) recall(ctx context.Context, c *core, entry entryFunc) *recall {
	if p.a.recalls == nil {
		return nil
	}
	store, err := p.openStore(ctx, c, entry)
	if err != nil {
		if ctx.Err() == nil { // if the tenure has ended, no duplicates pass
			p.lg.WarnContext(ctx, "duplicates are not removed", "err", err)
		}
		p.view.noteRecall(nil)
		return nil
	}
	store.Start(c.position)
	store.Floor(c.base.RouterFrom)
	return &recall{Store: store, slices: make(chan slice), next: make(chan struct{}, 1), since: time.Now()}
}

// openStore opens the partition's store, after removing from its directory what has to be
// forgotten.
func (p *partition) openStore(ctx context.Context, c *core, entry entryFunc) (*dedup.Store, error) {
	if err := p.discard(); err != nil {
		return nil, err
	}
	// Offsets have a meaning in one log only, and the ledger's first entry identifies the log: the
	// directory may be a copy from another environment. And what was read under another routing
	// rule, or before a rule was switched, may have been filed under other sources or not at all,
	// so it must not be remembered.
	if err := p.findOrigin(ctx, entry); err != nil {
		return nil, err
	}
	store, err := dedup.Open(dedup.Config{
		Dir:    p.recallDir(),
		Window: p.a.cfg.DedupWindow, Budget: p.a.recalls, Log: p.lg,
		Rule: fmt.Sprintf("%s %d %s", p.origin, c.base.RouterFrom, c.base.Router),
	})
	if err != nil {
		return nil, err
	}
	if f := p.forgets; f.read > 0 {
		if err := store.Forgo(f.known, f.read); err != nil {
			store.Close()
			return nil, err
		}
	}
	*p.forgets = forgets{}
	return store, nil
}

// discard deletes everything in the store's directory, if forgets says so.
func (p *partition) discard() error {
	if !p.forgets.all {
		return nil
	}
	err := dedup.Discard(p.recallDir())
	p.forgets.all = err != nil
	return err
}

// findOrigin sets p.origin, which identifies the log. Reading waits for it no longer than for the
// first messages to be filled in.
func (p *partition) findOrigin(ctx context.Context, entry entryFunc) error {
	if p.origin != "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, firstRecall)
	defer cancel()
	first, err := entry(ctx, 0)
	if err == nil {
		p.origin = first.Attempt
	}
	return err
}

// entryFunc returns an entry of the partition's ledger.
type entryFunc func(ctx context.Context, seq int64) (*ledger.Entry, error)

// entryNow is like entry, with one request only, because reading waits for it.
func (p *partition) entryNow(ctx context.Context, seq int64) (*ledger.Entry, error) {
	return p.a.deps.Rotator.Entry(ctx, p.log, seq)
}

// forgets says what a partition's message store has to forget before it is used again. It is
// non-empty only if the disk refused to forget, or the log could not be identified. It outlives
// tenures and assignments, but not the process.
type forgets struct {
	all         bool
	known, read int64 // see dedup.Store.Forgo; read is 0 if there is nothing to forgo
}

// closeRecall closes the store at the end of a tenure. The context of the tenure has ended.
func (l *loop) closeRecall(ctx context.Context) {
	p, f := l.p, l.p.forgets
	switch l.logState {
	case logCut: // everything from the watermark on is read again
		f.all = true
	case logUnknown, logRewritten:
		// What the log held at the offsets that were read may end up in no file, nor may what it
		// holds there now. A copy of either is then not a duplicate.
		known := l.c.base.LowWatermark
		if f.read > 0 {
			known = min(known, f.known)
		}
		f.known, f.read = known, max(l.c.position, f.read)
	default:
		l.recall.close()
		return
	}
	var err error
	if r := l.recall; r != nil {
		r.done.Wait()
		if f.all {
			err = r.Discard()
		} else { // before the close, because what was filled in may date from after the cut
			err = r.Forgo(f.known, f.read)
			r.Close()
		}
		if err == nil {
			*f = forgets{}
		}
	} else if err = p.discard(); f.read > 0 { // the directory may be that of an earlier tenure
		p.recall(context.WithoutCancel(ctx), l.c, p.entry).close()
	}
	if p.a.recalls != nil && *f != (forgets{}) {
		p.lg.ErrorContext(ctx, "what is remembered of messages is not forgotten on the disk, though the log was cut; duplicates pass until it is; if this process ends before, the next one may take events for copies of what the log lost, and leave them out",
			"dir", p.recallDir(), "err", err)
	}
}

func (r *recall) close() {
	if r != nil {
		r.done.Wait()
		r.Close()
	}
}

// fillRound returns the channel from which to take the next part to fill in, or nil if live reading
// comes first, and whether live reading has to wait for it.
func (l *loop) fillRound(ctx context.Context) (from chan slice, wait bool) {
	r := l.recall
	if r == nil || l.logState != logReadable { // the log may now hold other records than before
		return nil, false
	}
	if !r.reading && l.paused == "" {
		if from, to, ok := r.NextFill(); ok {
			r.reading = true
			log := l.p.a.deps.Log.Fetcher(l.p.log.Topic, l.p.log.Partition)
			at := l.c.position
			r.done.Go(func() { r.read(ctx, log, from, to, at) })
			r.filling = fillRange{from: from, to: to}
		}
	}
	if !r.reading {
		return nil, false
	}
	wait = time.Since(r.since) < firstRecall
	if !wait && !r.idle && l.paused == "" && r.live < livePerRound {
		return nil, false
	}
	return r.slices, wait
}

// read passes the records from offset from up to to, exclusive, to the loop. at is the position of
// the loop's live reading.
func (r *recall) read(ctx context.Context, log Fetcher, from, to, at int64) {
	give := func(s slice) bool {
		select {
		case <-ctx.Done():
			return false
		case r.slices <- s:
		}
		if s.last { // nothing is fetched after it, and the next reader waits for next
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-r.next: // the buffers are free again
			return true
		}
	}
	for offset := from; ; {
		got, err := log.Fetch(ctx, offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: 100 * time.Millisecond})
		if errors.Is(err, stream.ErrOffsetOutOfRange) {
			// Retention deleted the records. A fetch at a readable offset tells where the log
			// begins.
			if got, err = log.Fetch(ctx, at, stream.FetchOptions{MaxBytes: 1, MaxWait: 100 * time.Millisecond}); err == nil {
				give(slice{last: true, floor: got.LogStart, err: stream.ErrOffsetOutOfRange})
				return
			}
		}
		if err != nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Second):
			}
			give(slice{last: true, err: err})
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
		if !give(slice{records: records, last: last}) || last {
			return
		}
	}
}

// fillRange is the range that is being read again.
type fillRange struct {
	from, to, newest int64
}

// filled handles a part of the log that was read again.
func (l *loop) filled(s slice) {
	r := l.recall
	r.live = 0
	now := time.Now().UnixMilli()
	for i := range s.records {
		rec := &s.records[i]
		to, reason := l.router.Route(rec)
		if reason != "" || !l.c.spool.Fits(to.Line) {
			continue
		}
		r.filling.newest = max(r.filling.newest, min(to.Received, now))
		if len(to.Message) > 0 {
			r.Fill(r.Key(to.Source, to.Message), rec.Offset, to.Received, now)
		}
	}
	if s.floor > 0 {
		r.Floor(s.floor)
	}
	if s.last {
		r.reading = false
		if s.err == nil {
			r.Filled(r.filling.from, r.filling.to, r.filling.newest)
		}
		r.filling = fillRange{}
		return
	}
	r.next <- struct{}{}
}

// shrinkEvery is how long the disk has to be short before another part of the remembered messages
// is given up.
const shrinkEvery = time.Minute

// shrink gives up a part of the remembered messages when the disk stays short although everything
// that was read is in the ledger. The alternative would be to read nothing.
func (l *loop) shrink() {
	if l.paused != pausedDisk || !l.c.idle() || l.count() > 0 || l.c.spool.Len() > 0 {
		l.short = time.Now()
		return
	}
	if time.Since(l.short) >= shrinkEvery {
		l.recall.Shrink()
		l.short = time.Now()
	}
}

// routed is a record with the stream that it belongs to.
type routed struct {
	route.Routed
	reason string
	key    dedup.Key
	known  bool // key is set: it has a messageId
}

// routeChunk is how many records are routed at a time: enough for their memory accesses to overlap.
const routeChunk = 64

// routeAll routes up to routeChunk records.
func (l *loop) routeAll(records []stream.Record, out *[routeChunk]routed) {
	var keys [routeChunk]dedup.Key
	n := 0
	for i := range records {
		to := &out[i]
		*to = routed{}
		to.Routed, to.reason = l.router.Route(&records[i])
		if l.recall == nil || to.reason != "" {
			continue
		}
		if len(to.Message) > 0 {
			to.key, to.known = l.recall.Key(to.Source, to.Message), true
			keys[n] = to.key
			n++
		}
	}
	if n > 0 {
		l.recall.Warm(keys[:n])
	}
}
