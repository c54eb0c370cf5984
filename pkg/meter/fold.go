package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/objstore"
)

const (
	atOnce  = 32
	maxPage = 256 << 20 // 256 MiB: more than a page or sum of 100,000 destinations has
	// forgetAfter is how long it is remembered which pages of a worker that
	// writes none any more are counted. A request of its that was late, or came
	// twice, has arrived by then.
	forgetAfter = 7 * 24 * time.Hour
	// tries is how often it is begun anew because somebody folded meanwhile.
	tries = 5
)

// batch is how many pages are folded at once, which is more than an hour of a
// hundred copiers: when nobody has folded for weeks, one that cannot be read
// costs no more than its batch. A variable for tests.
var batch = 10_000

// Read returns all that was noted, folded or not. Since is zero if nothing was.
func Read(ctx context.Context, staging objstore.Store) (destinations map[string]Account, since time.Time, err error) {
	for range tries {
		var l loaded
		if l, err = load(ctx, staging, math.MaxInt, nil); err == nil {
			if l.sum.Since > 0 {
				since = time.UnixMilli(l.sum.Since).UTC()
			}
			return l.sum.Destinations, since, nil
		}
		if !errors.Is(err, errFolded) {
			return nil, time.Time{}, err
		}
	}
	return nil, time.Time{}, err
}

// Fold folds the pages into new sums, and deletes what was folded before. Of
// several that fold at once one does, the others do nothing. A page that is not
// understood is not counted. Those of a later release stay, for a worker is of one
// release; a damaged one goes like others when a later one of its worker is counted.
func Fold(ctx context.Context, staging objstore.Store, log *slog.Logger) error {
	for {
		if more, err := foldBatch(ctx, staging, log); err != nil || !more {
			return err
		}
	}
}

// foldBatch folds a batch of pages, and tells whether there were more.
func foldBatch(ctx context.Context, staging objstore.Store, log *slog.Logger) (more bool, err error) {
	l, err := load(ctx, staging, batch, log)
	if errors.Is(err, errFolded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// What the newest sum counts is needed by nobody who begins to read now.
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, key := range l.folded {
		group.Go(func() error { return staging.Delete(gctx, key) })
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	if l.added == 0 {
		return false, nil
	}
	s := l.sum
	maps.DeleteFunc(s.Folded, func(_ string, f Folded) bool { return time.Since(time.UnixMilli(f.At)) > forgetAfter })
	s.Number++
	_, err = staging.Put(ctx, SumKey(s.Number), bytes.NewReader(s.Encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConflict) {
		return false, nil // another was faster: it counts, for the next to read
	}
	if err != nil {
		return false, fmt.Errorf("fold pages of requests: %w", err) // it may be there; the next will see
	}
	return l.more, nil
}

// errFolded says that somebody folded pages meanwhile.
var errFolded = errors.New("pages of requests were folded while they were read")

// loaded is the newest sum, with pages added that it does not count.
type loaded struct {
	sum    Sum
	added  int      // pages
	more   bool     // pages are left
	folded []string // keys of what is of no use any more
}

// load reads the newest sum and adds pages to it, at most so many. Log, if not
// nil, is told of what is not understood.
//
// Pages are deleted only when a sum that counts them is there: if the newest is
// still the same afterwards, none is missing. They are listed by worker and
// number, so none is left for later whose worker has a later one that is added.
func load(ctx context.Context, staging objstore.Store, most int, log *slog.Logger) (l loaded, err error) {
	if l.sum, l.folded, err = newest(ctx, staging); err != nil {
		return l, err
	}
	counted := l.sum.Folded
	l.sum.Folded = maps.Clone(counted)
	var adding sync.Mutex           // guards l.sum
	var begun, strange atomic.Int64 // pages, those that are not understood
	added := func() int { return int(begun.Load() - strange.Load()) }
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(1 + atOnce)
	group.Go(func() error { // one lists, the others read
		for info, err := range objstore.All(gctx, staging, pagesPrefix) {
			if err != nil {
				return err
			}
			worker, number, ok := ParsePageKey(info.Key)
			switch f, known := counted[worker]; {
			case !ok:
			case known && number <= f.Through:
				l.folded = append(l.folded, info.Key)
			case added() >= most:
				l.more = true
				return nil
			default:
				begun.Add(1)
				group.Go(func() error {
					p, ok, err := readPage(gctx, staging, info.Key, log)
					if !ok {
						strange.Add(1)
						return err
					}
					adding.Lock()
					defer adding.Unlock()
					l.sum.add(p, info.LastModified, time.Now())
					return nil
				})
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		return l, err
	}
	l.added = added()
	now, err := listSums(ctx, staging)
	if err != nil {
		return l, err
	}
	if len(now) > 0 && (l.sum.Number < 0 || now[0] != SumKey(l.sum.Number)) {
		return l, errFolded
	}
	return l, nil
}

// listSums returns the keys of the sums, newest first.
func listSums(ctx context.Context, staging objstore.Store) (keys []string, err error) {
	for info, err := range objstore.All(ctx, staging, sumsPrefix) {
		if err != nil {
			return nil, err
		}
		if _, ok := parseSumKey(info.Key); ok {
			keys = append(keys, info.Key)
		}
	}
	return keys, nil
}

// newest returns the newest sum, an empty one with number -1 if there is none,
// and the keys of the older ones.
func newest(ctx context.Context, staging objstore.Store) (Sum, []string, error) {
	keys, err := listSums(ctx, staging)
	if err != nil {
		return Sum{}, nil, err
	}
	if len(keys) == 0 {
		return Sum{Number: -1, Folded: map[string]Folded{}, Destinations: map[string]Account{}}, nil, nil
	}
	b, err := objstore.Read(ctx, staging, keys[0], maxPage)
	if errors.Is(err, objstore.ErrNotFound) {
		return Sum{}, nil, errFolded
	}
	if err != nil {
		return Sum{}, nil, err
	}
	s, err := DecodeSum(b)
	if err != nil {
		return Sum{}, nil, fmt.Errorf("read %q: %w; it was written by a later release, or it may be deleted with all of usage/", keys[0], err)
	}
	return s, keys[1:], nil
}

// readPage reads a page; ok is false if it is none that is understood.
func readPage(ctx context.Context, staging objstore.Store, key string, log *slog.Logger) (p Page, ok bool, err error) {
	b, err := objstore.Read(ctx, staging, key, maxPage)
	if errors.Is(err, objstore.ErrNotFound) {
		return p, false, errFolded
	}
	if err != nil {
		return p, false, err
	}
	p, err = DecodePage(b)
	if ok = err == nil && PageKey(p.Worker, p.Number) == key; !ok && log != nil {
		log.WarnContext(ctx, "page of requests is not understood, and not counted", "file", key, "err", err)
	}
	return p, ok, nil
}

// add adds a page, which it does not count yet. One that was stored long before its
// end is of a clock that ran ahead, and its times are set back by that: they would
// be the last of their destinations for as long as that clock was wrong by.
func (s *Sum) add(p Page, stored, now time.Time) {
	ahead := p.To - stored.UnixMilli()
	if stored.IsZero() || ahead < time.Minute.Milliseconds() { // stores round, and clocks differ
		ahead = 0
	}
	s.Folded[p.Worker] = Folded{Through: max(s.Folded[p.Worker].Through, p.Number), At: now.UnixMilli()}
	if s.Since == 0 || p.From < s.Since {
		s.Since = p.From
	}
	for id, a := range p.Destinations {
		s.Destinations[id] = s.Destinations[id].Plus(a.setBack(ahead))
	}
}
