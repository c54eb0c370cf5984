package meter

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
)

// pageInterval is how often a page is written, if there is something to write.
const pageInterval = time.Minute

// urgentPageAfter is how soon a page is written after a destination has begun to fail, fails for
// another reason, or works again.
const urgentPageAfter = 5 * time.Second

// pageTimeout bounds a write.
const pageTimeout = 10 * time.Second

// Book is what a copier notes. It is safe for concurrent use.
type Book struct {
	staging objstore.Store
	worker  string
	log     *slog.Logger

	urgent chan struct{} // of capacity 1; filled when a page has to be written soon

	mu         sync.Mutex // guards all fields below
	noted      map[string]Account
	notedSince time.Time          // when noted was begun
	failing    map[string]Trouble // the last attempt's, for destinations where it failed
	// pending is the page being written, with exactly the bytes of the first try, since it may not
	// be known whether that succeeded.
	pending []byte
	number  int64
}

// NewBook returns an empty book. worker must be a name that no other process has or had.
func NewBook(staging objstore.Store, worker string, log *slog.Logger) *Book {
	return &Book{staging: staging, worker: worker, log: log, urgent: make(chan struct{}, 1), noted: map[string]Account{}, notedSince: time.Now(), failing: map[string]Trouble{}}
}

// Count notes requests for a destination.
func (b *Book) Count(destination string, c Counts) {
	if c == (Counts{}) {
		return
	}
	b.add(destination, Account{Counts: c})
}

// RecordSuccess notes that an attempt succeeded.
func (b *Book) RecordSuccess(destination string) {
	b.mu.Lock()
	_, failed := b.failing[destination]
	delete(b.failing, destination)
	b.mu.Unlock()
	b.add(destination, Account{Delivered: time.Now().UnixMilli()})
	if failed {
		b.requestPage()
	}
}

// RecordFailure notes that an attempt failed. It fills in Since and At.
func (b *Book) RecordFailure(destination string, t Trouble) {
	t.At = time.Now().UnixMilli()
	b.mu.Lock()
	last, failed := b.failing[destination]
	if t.Since = last.Since; !failed {
		t.Since = t.At
	}
	b.failing[destination] = t
	b.mu.Unlock()
	b.add(destination, Account{Trouble: &t})
	if !failed || last.Reason != t.Reason || last.Fix != t.Fix { // a cause may name the file
		b.requestPage()
	}
}

// requestPage makes Run write a page soon.
func (b *Book) requestPage() {
	select {
	case b.urgent <- struct{}{}:
	default: // one is due already
	}
}

// RestUntil notes until when a destination that has just failed is not tried again.
func (b *Book) RestUntil(destination string, until time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a := b.noted[destination]; a.Trouble != nil {
		t := *a.Trouble
		t.Until = until.UnixMilli()
		a.Trouble = &t
		b.noted[destination] = a
	}
}

func (b *Book) add(destination string, a Account) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.noted[destination] = b.noted[destination].Plus(a)
}

// Run writes pages until ctx ends, and then the last one, which takes at most some seconds. Nothing
// may be noted after that.
func (b *Book) Run(ctx context.Context) {
	for b.wait(ctx) {
		b.WritePages(ctx)
	}
	b.WritePages(context.WithoutCancel(ctx))
}

// wait waits until a page is due, and reports whether one is; if not, ctx ended.
func (b *Book) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(pageInterval + jitter.N(pageInterval/10)):
		return true
	case <-b.urgent:
	}
	if sleep.For(ctx, urgentPageAfter) != nil {
		return false
	}
	select { // what came meanwhile is in this page
	case <-b.urgent:
	default:
	}
	return true
}

// WritePages writes what was noted since the last page, if anything.
func (b *Book) WritePages(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	for range 2 { // a page that is pending, and one of what was noted meanwhile
		page, number := b.page()
		if page == nil {
			return
		}
		_, err := b.staging.Put(ctx, pageKey(b.worker, number), bytes.NewReader(page), objstore.PutOptions{ContentType: "application/json"})
		if err != nil {
			level := slog.LevelWarn
			if errors.Is(err, objstore.ErrUnavailable) { // others report that
				level = slog.LevelDebug
			}
			b.log.Log(ctx, level, "page of requests is not written, and will be tried again", "err", err)
			return
		}
		b.mu.Lock()
		b.pending = nil
		b.mu.Unlock()
	}
}

// page returns the bytes to write next, or nil if there are none.
func (b *Book) page() ([]byte, int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pending == nil && len(b.noted) > 0 {
		now := time.Now()
		b.number = max(b.number+1, now.UnixMilli())
		b.pending = page{Worker: b.worker, Number: b.number, From: b.notedSince.UnixMilli(), To: now.UnixMilli(), Destinations: b.noted}.encode()
		b.noted, b.notedSince = map[string]Account{}, now
	}
	return b.pending, b.number
}
