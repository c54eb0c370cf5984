package copier

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// minDebtsForBatch is the number of debts from which on the receipts of an entry are listed for
// many debts at once, and written in batches.
var minDebtsForBatch = delivery.BatchFrom

// BatchFromForTesting sets minDebtsForBatch; call it before any copier runs.
func BatchFromForTesting(debts int) { minDebtsForBatch = debts }

const (
	// gatherFor is how long the first receipt of a batch waits for others of its entry. Nothing is
	// slower for it: the object is stored, and neither its slot nor its destination is occupied.
	gatherFor = 500 * time.Millisecond
	// maxStored is how many copies to sound destinations may wait for their receipts, and how many
	// to suspects. With gatherFor it is a limit on how many files a copier delivers in a second:
	// some 2,000.
	maxStored = 1024
	maxPuts   = 64               // requests that write receipts at once, however many copies wait for theirs
	listedFor = 30 * time.Second // how long a listing of receipts is trusted
	// rememberedFor is how long the batches of an expired listing are kept, so that the next
	// listing need not read them again.
	rememberedFor = 10 * listedFor
)

// receipts knows which debts are closed, and closes debts. The jobs of an entry come together, so
// its receipts are listed once for many debts, and those that are ready at the same time are
// written together. DESIGN.md says which receipts a listing may miss and what is done about each
// case. It is safe for concurrent use.
type receipts struct {
	staging   objstore.Store
	gatherFor time.Duration
	flight    singleflight.Group
	puts      *semaphore.Weighted

	mu        sync.Mutex // guards all below
	validFrom time.Time  // older listings are not trusted
	lists     map[string]*listing
	pending   map[*listing]string // listings under way, and their prefixes
	gathering map[string]*batch   // those that gather receipts, by the prefix of their entry
}

// listing holds the receipts of an entry that were found, or that we have written since.
type listing struct {
	at      time.Time // when the request began
	closed  map[receipt.Pair]bool
	batches map[string][]receipt.Pair // what is in the batches that were found, by key; not changed any more
}

func newReceipts(staging objstore.Store) *receipts {
	return &receipts{staging: staging, gatherFor: gatherFor, puts: semaphore.NewWeighted(maxPuts), lists: map[string]*listing{}, pending: map[*listing]string{}, gathering: map[string]*batch{}}
}

// lookUp reports whether the job's debt has a receipt. recent allows a listing that is not older
// than listedFor; otherwise it has to begin after the call, and serves all who wait for one. shared is
// the context for making it, because it serves many destinations and must not count as one
// destination's request.
func (r *receipts) lookUp(ctx, shared context.Context, job delivery.Job, e *ledger.Entry, recent bool) (bool, error) {
	if !e.Owes(minDebtsForBatch) { // it has no batches
		return exists(ctx, r.staging, delivery.ReceiptKey(job.File, job.Destination))
	}
	prefix, pair := delivery.ReceiptPrefix(e.Log(), e.Seq), receipt.PairOf(job.File, job.Destination)
	notBefore := time.Now()
	if recent {
		notBefore = notBefore.Add(-listedFor)
	}
	for {
		if closed, ok := r.lookUpListed(prefix, pair, notBefore); ok {
			return closed, nil
		}
		_, err, _ := r.flight.Do(prefix, func() (any, error) {
			if _, ok := r.lookUpListed(prefix, pair, notBefore); ok {
				return nil, nil // another call has just made it
			}
			return nil, r.refresh(shared, e)
		})
		if err != nil {
			return false, err
		}
	}
}

// lookUpListed asks a listing that can be trusted and did not begin before a moment; ok is false if
// there is none.
func (r *receipts) lookUpListed(prefix string, pair receipt.Pair, notBefore time.Time) (closed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lists[prefix]
	if l == nil || l.closed == nil || l.at.Before(r.validFrom) || l.at.Before(notBefore) {
		return false, false
	}
	return l.closed[pair], true
}

// refresh makes a listing. It reads only those batches that the last one did not.
func (r *receipts) refresh(ctx context.Context, e *ledger.Entry) error {
	prefix := delivery.ReceiptPrefix(e.Log(), e.Seq)
	l := &listing{at: time.Now(), closed: map[receipt.Pair]bool{}, batches: map[string][]receipt.Pair{}}
	var known map[string][]receipt.Pair
	r.mu.Lock()
	r.pending[l] = prefix
	if last := r.lists[prefix]; last != nil {
		known = last.batches
	}
	r.mu.Unlock()
	set, err := r.fetchReceipts(ctx, e, l, known)
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.pending, l)
	if err != nil {
		return err
	}
	for pair, found := range set {
		l.closed[pair] = true
		if delivery.IsBatchKey(prefix, found.Key) {
			l.batches[found.Key] = append(l.batches[found.Key], pair)
		}
	}
	for _, pairs := range l.batches {
		for _, pair := range pairs {
			l.closed[pair] = true
		}
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

// fetchReceipts lists the receipts of an entry. Batches that are known go to the listing as they
// are. Each request is bounded by itself, because there may be thousands of batches.
func (r *receipts) fetchReceipts(ctx context.Context, e *ledger.Entry, l *listing, known map[string][]receipt.Pair) (receipt.Set, error) {
	var unknown []objstore.Info
	for info, err := range objstore.All(ctx, boundedLister{r.staging}, delivery.ReceiptPrefix(e.Log(), e.Seq)) {
		if err != nil {
			return nil, fmt.Errorf("list the receipts of an entry: %w", err)
		}
		if pairs, ok := known[info.Key]; ok {
			l.batches[info.Key] = pairs
			continue
		}
		unknown = append(unknown, info)
	}
	return receipt.FromListing(ctx, r.staging, e.Log(), e.Seq, unknown, receipt.MaxParallelReads, nil)
}

// boundedLister is a store with requestTimeout for each page of a listing.
type boundedLister struct{ objstore.Store }

// List implements objstore.Store.
func (b boundedLister) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return b.Store.List(ctx, prefix, after, limit)
}

// batch is written with one request.
type batch struct {
	receipts []delivery.Receipt
	full     chan struct{} // closed when it takes no more
	done     chan struct{} // closed when the request is over
	err      error         // its result
}

// write closes a debt of the entry, and adds the receipt to our listings.
func (r *receipts) write(ctx context.Context, rec delivery.Receipt, e *ledger.Entry) error {
	if !e.Owes(minDebtsForBatch) {
		return r.put(ctx, []delivery.Receipt{rec})
	}
	for {
		err := r.writeInBatch(ctx, rec)
		if errors.Is(err, context.Canceled) && ctx.Err() == nil {
			continue // it was another's request
		}
		return err
	}
}

// writeInBatch writes the receipt in a batch. The first receipt of an entry waits for gatherFor,
// and takes those with it that come meanwhile.
func (r *receipts) writeInBatch(ctx context.Context, rec delivery.Receipt) error {
	prefix := delivery.ReceiptPrefix(rec.File.Log(), rec.File.Seq)
	b, first := r.addToBatch(prefix, rec)
	if !first {
		select {
		case <-b.done:
			return b.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	wait := time.NewTimer(r.gatherFor)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-b.full:
	case <-ctx.Done(): // the others still need their result
	}
	r.stopGathering(prefix, b)
	b.err = r.put(ctx, b.receipts)
	close(b.done)
	return b.err
}

// addToBatch adds the receipt to the batch that gathers receipts of the entry; first means that it
// is a new one, which the caller has to write.
func (r *receipts) addToBatch(prefix string, rec delivery.Receipt) (b *batch, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	b = r.gathering[prefix]
	if b == nil {
		b = &batch{receipts: []delivery.Receipt{rec}, full: make(chan struct{}), done: make(chan struct{})}
		r.gathering[prefix] = b
		return b, true
	}
	if b.receipts = append(b.receipts, rec); len(b.receipts) == delivery.MaxBatch {
		delete(r.gathering, prefix)
		close(b.full)
	}
	return b, false
}

// stopGathering ends the gathering: nothing is added to the batch any more.
func (r *receipts) stopGathering(prefix string, b *batch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.gathering[prefix] == b {
		delete(r.gathering, prefix)
	}
}

// put writes receipts of one entry with one request.
func (r *receipts) put(ctx context.Context, rs []delivery.Receipt) error {
	if err := r.puts.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.puts.Release(1)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := receipt.WriteBatch(ctx, r.staging, rs); err != nil {
		return err
	}
	file := rs[0].File
	prefix := delivery.ReceiptPrefix(file.Log(), file.Seq)
	r.mu.Lock()
	defer r.mu.Unlock()
	add := func(l *listing) {
		for _, rec := range rs {
			l.closed[receipt.PairOf(rec.File, rec.Destination)] = true
		}
	}
	if l := r.lists[prefix]; l != nil && l.closed != nil {
		add(l)
	}
	for l, p := range r.pending {
		if p == prefix {
			add(l)
		}
	}
	return nil
}

// invalidate invalidates all listings: we may now own partitions whose previous owner wrote
// receipts since.
func (r *receipts) invalidate() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.validFrom = time.Now()
}
