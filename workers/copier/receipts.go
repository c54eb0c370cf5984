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

// listFrom is for how many debts a listing takes the place of a HEAD each: it
// costs what 13 do.
var listFrom = 16

// ListFromForTesting makes listings of fewer, before any copier runs.
func ListFromForTesting(debts int) { listFrom = debts }

const (
	listedFor = 30 * time.Second // how long a listing of receipts is believed
	// rememberedFor is how long it is remembered how many it answered for, which
	// tells whether another one is worth making.
	rememberedFor = 10 * listedFor
)

// receipts knows which debts are closed. It lists the receipts of an entry once
// for many of its debts, for the jobs of an entry come together: DESIGN.md says
// what that may miss, and why nothing else does. It is safe for concurrent use.
type receipts struct {
	staging objstore.Store
	flight  singleflight.Group

	mu    sync.Mutex // guards all below
	since time.Time  // listings from before are not believed
	lists map[string]*listing
	made  map[string]*listing // those under way
}

// listing is what was found below an entry's receipts, and written there since.
type listing struct {
	at     time.Time       // when it began
	closed map[string]bool // nil when it is too old
	served int             // how many were answered by it
}

func newReceipts(staging objstore.Store) *receipts {
	return &receipts{staging: staging, lists: map[string]*listing{}, made: map[string]*listing{}}
}

// closed reports whether the job's debt has a receipt. Together says that a
// listing will do, which shared is the context of: it is made for many.
func (r *receipts) closed(ctx, shared context.Context, job delivery.Job, e *ledger.Entry, together bool) (bool, error) {
	key := delivery.ReceiptKey(job.File, job.Destination)
	if together && job.Attempt == 0 && e.Debts() >= listFrom {
		if closed, ok := r.listed(shared, job.File, key); ok {
			return closed, nil
		}
	}
	return exists(ctx, r.staging, key)
}

// listed answers from a listing, if there is one to be believed or it is worth
// making one: the last answered for as many as a listing has to. One that cannot
// be made, as that of a large entry from a slow store, answers nothing.
func (r *receipts) listed(ctx context.Context, f delivery.FileRef, key string) (closed, ok bool) {
	prefix := delivery.ReceiptPrefix(f.Log(), f.Seq)
	closed, ok, last := r.look(prefix, key)
	if ok || last {
		return closed, ok
	}
	_, err, _ := r.flight.Do(prefix, func() (any, error) {
		if _, ok, _ := r.look(prefix, key); ok {
			return nil, nil // made since it was looked for
		}
		return nil, r.list(ctx, prefix)
	})
	if err != nil {
		return false, false
	}
	closed, ok, _ = r.look(prefix, key)
	return closed, ok
}

// look asks a listing that is to be believed; last says not to make another.
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

// written notes a receipt of ours.
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

// renew says that what was listed so far is not to be believed any more: we have
// partitions now that others had until now.
func (r *receipts) renew() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.since = time.Now()
}
