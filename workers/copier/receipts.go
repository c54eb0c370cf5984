package copier

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// listFrom is the number of debts from which on the receipts of an entry are listed, instead of one
// HEAD for each: a listing costs as much as 13 HEADs.
var listFrom = 16

// ListFromForTesting sets listFrom; call it before any copier runs.
func ListFromForTesting(debts int) { listFrom = debts }

const (
	listedFor = 30 * time.Second // how long a listing of receipts is trusted
	// rememberedFor is how long an expired listing is kept for its count of answers, which tells
	// whether another listing is worthwhile.
	rememberedFor = 10 * listedFor
)

// receipts knows which debts are closed. It lists the receipts of an entry once for many debts,
// because the jobs of an entry come together. DESIGN.md says which receipts a listing may miss and
// what is done about each case. It is safe for concurrent use.
type receipts struct {
	staging objstore.Store
	flight  singleflight.Group

	mu    sync.Mutex // guards all below
	since time.Time  // older listings are not trusted
	lists map[string]*listing
	made  map[string]*listing // listings under way
}

// listing holds the receipts of an entry that were found, or that we have written since.
type listing struct {
	at     time.Time       // when the request began
	closed map[string]bool // nil when the listing is too old
	served int             // how many questions it answered
}

func newReceipts(staging objstore.Store) *receipts {
	return &receipts{staging: staging, lists: map[string]*listing{}, made: map[string]*listing{}}
}

// closed reports whether the job's debt has a receipt. together allows it to use a listing. shared
// is the context for making one, because it serves many destinations and must not count as one
// destination's request.
func (r *receipts) closed(ctx, shared context.Context, job delivery.Job, e *ledger.Entry, together bool) (bool, error) {
	key := delivery.ReceiptKey(job.File, job.Destination)
	if together && job.Attempt == 0 && e.Debts() >= listFrom {
		if closed, ok := r.listed(shared, job.File, key); ok {
			return closed, nil
		}
	}
	return exists(ctx, r.staging, key)
}

// listed answers from a listing if there is one that can be trusted, or if making one is
// worthwhile, which it is if the last one answered at least listFrom questions. ok is false if
// there is none, or it cannot be made, for example for a large entry in a slow store.
func (r *receipts) listed(ctx context.Context, f delivery.FileRef, key string) (closed, ok bool) {
	prefix := delivery.ReceiptPrefix(f.Log(), f.Seq)
	closed, ok, last := r.look(prefix, key)
	if ok || last {
		return closed, ok
	}
	_, err, _ := r.flight.Do(prefix, func() (any, error) {
		if _, ok, _ := r.look(prefix, key); ok {
			return nil, nil // another call has just made it
		}
		return nil, r.list(ctx, prefix)
	})
	if err != nil {
		return false, false
	}
	closed, ok, _ = r.look(prefix, key)
	return closed, ok
}

// look asks a listing that can be trusted; last means that making another is not worthwhile.
func (r *receipts) look(prefix, key string) (closed, ok, last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lists[prefix]
	switch {
	case l == nil || l.at.Before(r.since):
		return false, false, false
	case time.Since(l.at) > listedFor:
		l.closed = nil
		return false, false, l.served < listFrom
	}
	l.served++
	return l.closed[key], true, false
}

func (r *receipts) list(ctx context.Context, prefix string) error {
	l := &listing{at: time.Now(), closed: map[string]bool{}}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	r.mu.Lock()
	r.made[prefix] = l
	r.mu.Unlock()
	var found []string
	var failed error
	for info, err := range objstore.All(ctx, r.staging, prefix) {
		found, failed = append(found, info.Key), err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.made, prefix)
	if failed != nil {
		return fmt.Errorf("list the receipts of an entry: %w", failed)
	}
	for _, key := range found {
		l.closed[key] = true
	}
	for p, old := range r.lists {
		switch age := time.Since(old.at); {
		case age > rememberedFor:
			delete(r.lists, p)
		case age > listedFor:
			old.closed = nil
		}
	}
	r.lists[prefix] = l
	return nil
}

// written adds a receipt of ours to the entry's listings.
func (r *receipts) written(job delivery.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	prefix, key := delivery.ReceiptPrefix(job.File.Log(), job.File.Seq), delivery.ReceiptKey(job.File, job.Destination)
	for _, l := range []*listing{r.lists[prefix], r.made[prefix]} {
		if l != nil && l.closed != nil {
			l.closed[key] = true
		}
	}
}

// renew invalidates all listings: we may now own partitions whose previous owner wrote receipts
// since.
func (r *receipts) renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now()
}
