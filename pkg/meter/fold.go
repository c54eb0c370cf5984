package meter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
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

// Read returns all that was noted, folded or not. Since is zero if nothing was.
func Read(ctx context.Context, staging objstore.Store) (destinations map[string]Account, since time.Time, err error) {
	for range tries {
		var s Sum
		var pages []Page
		if s, pages, _, err = load(ctx, staging, nil); err == nil {
			s = s.plus(pages, time.Now())
			if s.Since > 0 {
				since = time.UnixMilli(s.Since).UTC()
			}
			return s.Destinations, since, nil
		}
		if !errors.Is(err, errFolded) {
			return nil, time.Time{}, err
		}
	}
	return nil, time.Time{}, err
}

// Fold folds the pages into a new sum, and deletes what was folded before. Of
// several that fold at once one does, the others do nothing. A page that is not
// understood, as of a later release, is not counted, and stays.
func Fold(ctx context.Context, staging objstore.Store, log *slog.Logger) error {
	s, pages, folded, err := load(ctx, staging, log)
	if errors.Is(err, errFolded) {
		return nil
	}
	if err != nil {
		return err
	}
	// What the newest sum counts is needed by nobody who begins to read now.
	for _, key := range folded {
		if err := staging.Delete(ctx, key); err != nil {
			return err
		}
	}
	if len(pages) == 0 {
		return nil
	}
	s = s.plus(pages, time.Now())
	s.Number++
	_, err = staging.Put(ctx, SumKey(s.Number), bytes.NewReader(s.Encode()), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) || errors.Is(err, objstore.ErrConflict) {
		return nil // another was faster: it counts, for the next to read
	}
	if err != nil {
		return fmt.Errorf("fold pages of requests: %w", err) // it may be there; the next will see
	}
	return nil
}

// errFolded says that somebody folded pages meanwhile.
var errFolded = errors.New("pages of requests were folded while they were read")

// load reads the newest sum and the pages that it does not count; folded are
// the keys of what is of no use any more. Log, if not nil, is told of what is not
// understood.
//
// Pages are deleted only when a sum that counts them is there: if the newest is
// still the same afterwards, none is missing.
func load(ctx context.Context, staging objstore.Store, log *slog.Logger) (s Sum, pages []Page, folded []string, err error) {
	s, older, err := newest(ctx, staging)
	if err != nil {
		return s, nil, nil, err
	}
	folded = older
	var keys []string
	for info, err := range objstore.All(ctx, staging, pagesPrefix) {
		if err != nil {
			return s, nil, nil, err
		}
		worker, number, ok := ParsePageKey(info.Key)
		switch f, known := s.Folded[worker]; {
		case !ok:
		case known && number <= f.Through:
			folded = append(folded, info.Key)
		default:
			keys = append(keys, info.Key)
		}
	}
	if pages, err = readPages(ctx, staging, keys, log); err != nil {
		return s, nil, nil, err
	}
	now, err := listSums(ctx, staging)
	if err != nil {
		return s, nil, nil, err
	}
	if len(now) > 0 && (s.Number < 0 || now[0] != SumKey(s.Number)) {
		return s, nil, nil, errFolded
	}
	return s, pages, folded, nil
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

func readPages(ctx context.Context, staging objstore.Store, keys []string, log *slog.Logger) ([]Page, error) {
	var mu sync.Mutex
	var pages []Page
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for _, key := range keys {
		group.Go(func() error {
			b, err := objstore.Read(gctx, staging, key, maxPage)
			if errors.Is(err, objstore.ErrNotFound) {
				return errFolded
			}
			if err != nil {
				return err
			}
			p, err := DecodePage(b)
			if err != nil || PageKey(p.Worker, p.Number) != key {
				if log != nil {
					log.WarnContext(ctx, "page of requests is not understood, and not counted", "file", key, "err", err)
				}
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			pages = append(pages, p)
			return nil
		})
	}
	err := group.Wait() // before pages are looked at, which it completes
	return pages, err
}

// plus returns the sum with the pages, which it does not count yet.
func (s Sum) plus(pages []Page, now time.Time) Sum {
	s.Folded, s.Destinations = maps.Clone(s.Folded), maps.Clone(s.Destinations)
	maps.DeleteFunc(s.Folded, func(_ string, f Folded) bool { return now.Sub(time.UnixMilli(f.At)) > forgetAfter })
	for _, p := range pages {
		s.Folded[p.Worker] = Folded{Through: max(s.Folded[p.Worker].Through, p.Number), At: now.UnixMilli()}
		if s.Since == 0 || p.From < s.Since {
			s.Since = p.From
		}
		for id, a := range p.Destinations {
			s.Destinations[id] = s.Destinations[id].Plus(a)
		}
	}
	return s
}
