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
	maxParallel = 32
	maxPage     = 256 << 20 // 256 MiB: larger than a page or sum of 100,000 destinations
	// forgetAfter is how long it is remembered which pages of a worker are counted after it has
	// stopped writing any. By then all of its late and repeated requests have arrived.
	forgetAfter = 7 * 24 * time.Hour
	// maxReadTries is how often reading starts over because somebody folded meanwhile.
	maxReadTries = 5
)

// foldBatchSize is how many pages are folded at once: an hour's pages of a hundred copiers, and
// more. If nobody has folded for weeks, a page that cannot be read costs no more than its batch. A
// variable for tests.
var foldBatchSize = 10_000

// Read returns everything that was noted, folded or not. since is zero if nothing was.
func Read(ctx context.Context, staging objstore.Store) (destinations map[string]Account, since time.Time, err error) {
	for range maxReadTries {
		var l loadResult
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

// Fold folds the pages into new sums, and deletes what was folded before. If several fold at once,
// one of them does the work and the others do nothing. A page that is not understood is not
// counted. Pages of a later release stay, because all pages of a worker are of the same release; a
// damaged page is deleted like others once a later page of its worker is counted.
func Fold(ctx context.Context, staging objstore.Store, log *slog.Logger) error {
	for {
		if more, err := foldBatch(ctx, staging, log); err != nil || !more {
			return err
		}
	}
}

// foldBatch folds a batch of pages, and tells whether there were more.
func foldBatch(ctx context.Context, staging objstore.Store, log *slog.Logger) (more bool, err error) {
	l, err := load(ctx, staging, foldBatchSize, log)
	if errors.Is(err, errFolded) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// Those who begin to read now do not need what the newest sum counts.
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for _, key := range l.obsolete {
		group.Go(func() error { return staging.Delete(gctx, key) })
	}
	if err := group.Wait(); err != nil {
		return false, err
	}
	if l.added == 0 {
		return false, nil
	}
	s := l.sum
	maps.DeleteFunc(s.Folded, func(_ string, f folded) bool { return time.Since(time.UnixMilli(f.At)) > forgetAfter })
	s.Number++
	_, err = staging.Put(ctx, SumKey(s.Number), bytes.NewReader(s.encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConflict) {
		return false, nil // somebody else was faster: the next call reads their sum
	}
	if err != nil {
		return false, fmt.Errorf("fold pages of requests: %w", err) // the sum may have been stored; the next call finds out
	}
	return l.morePages, nil
}

// errFolded says that somebody folded pages meanwhile.
var errFolded = errors.New("pages of requests were folded while they were read")

// loadResult is the newest sum, plus pages that it does not count yet.
type loadResult struct {
	sum       sum
	added     int      // pages
	morePages bool     // there are more pages
	obsolete  []string // keys that are no longer needed
}

// load reads the newest sum and adds at most most pages to it. log, unless nil, gets warnings about
// pages that are not understood.
//
// Pages are deleted only when a sum that counts them exists: if the newest sum is still the same
// afterwards, none was missing. Pages are listed by worker and number, so if one is left for later,
// no later page of its worker is added either.
func load(ctx context.Context, staging objstore.Store, most int, log *slog.Logger) (l loadResult, err error) {
	if l.sum, l.obsolete, err = readNewestSum(ctx, staging); err != nil {
		return l, err
	}
	counted := l.sum.Folded
	l.sum.Folded = maps.Clone(counted)
	var adding sync.Mutex                   // guards l.sum
	var started, notUnderstood atomic.Int64 // pages begun, and those among them that are not understood
	added := func() int { return int(started.Load() - notUnderstood.Load()) }
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(1 + maxParallel)
	group.Go(func() error { // one lists, the others read
		for info, err := range objstore.All(gctx, staging, pagesPrefix) {
			if err != nil {
				return err
			}
			worker, number, ok := parsePageKey(info.Key)
			switch f, known := counted[worker]; {
			case !ok:
			case known && number <= f.Through:
				l.obsolete = append(l.obsolete, info.Key)
			case added() >= most:
				l.morePages = true
				return nil
			default:
				started.Add(1)
				group.Go(func() error {
					p, ok, err := readPage(gctx, staging, info.Key, log)
					if !ok {
						notUnderstood.Add(1)
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

// readNewestSum returns the newest sum, or an empty one with number -1 if there is none, and the
// keys of the older ones.
func readNewestSum(ctx context.Context, staging objstore.Store) (sum, []string, error) {
	keys, err := listSums(ctx, staging)
	if err != nil {
		return sum{}, nil, err
	}
	if len(keys) == 0 {
		return sum{Number: -1, Folded: map[string]folded{}, Destinations: map[string]Account{}}, nil, nil
	}
	b, err := objstore.Read(ctx, staging, keys[0], maxPage)
	if errors.Is(err, objstore.ErrNotFound) {
		return sum{}, nil, errFolded
	}
	if err != nil {
		return sum{}, nil, err
	}
	s, err := decodeSum(b)
	if err != nil {
		return sum{}, nil, fmt.Errorf("read %q: %w; it was written by a later release, or it may be deleted with all of usage/", keys[0], err)
	}
	return s, keys[1:], nil
}

// readPage reads a page; ok is false if it is not understood.
func readPage(ctx context.Context, staging objstore.Store, key string, log *slog.Logger) (p page, ok bool, err error) {
	b, err := objstore.Read(ctx, staging, key, maxPage)
	if errors.Is(err, objstore.ErrNotFound) {
		return p, false, errFolded
	}
	if err != nil {
		return p, false, err
	}
	p, err = decodePage(b)
	if ok = err == nil && pageKey(p.Worker, p.Number) == key; !ok && log != nil {
		log.WarnContext(ctx, "page of requests is not understood, and not counted", "file", key, "err", err)
	}
	return p, ok, nil
}

// add adds a page that the sum does not count yet. If the page was stored long before its end, its
// worker's clock was ahead, and its times are set back by the difference: otherwise they would be
// the latest of their destinations for as long as the clock was ahead.
func (s *sum) add(p page, stored, now time.Time) {
	ahead := p.To - stored.UnixMilli()
	if stored.IsZero() || ahead < time.Minute.Milliseconds() { // stores round times, and clocks differ
		ahead = 0
	}
	s.Folded[p.Worker] = folded{Through: max(s.Folded[p.Worker].Through, p.Number), At: now.UnixMilli()}
	if s.Since == 0 || p.From < s.Since {
		s.Since = p.From
	}
	for id, a := range p.Destinations {
		s.Destinations[id] = s.Destinations[id].Plus(a.shiftBack(ahead))
	}
}
