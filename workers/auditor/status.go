package auditor

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// Status is the state of destinations, at some time between At and the return of ReadStatus.
type Status struct {
	At         time.Time `json:"at"`
	Partitions int       `json:"partitions"`
	// Walked is the number of ledger entries that were read because no audit had counted them:
	// those since the last audit, or all of them if the hint was lost.
	Walked       int64               `json:"entries_walked"`
	Destinations []DestinationStatus `json:"destinations"` // by id
}

// DestinationStatus is the state of one destination. Every file that the ledger owes to it is in
// exactly one of the four sums.
type DestinationStatus struct {
	ID string `json:"destination"`
	// State is as in Destination.
	State     string `json:"state,omitempty"`
	Delivered Sum    `json:"delivered"`
	Pending   Sum    `json:"pending"` // being delivered, or waiting for it
	Parked    Sum    `json:"parked"`  // waiting for a person
	GivenUp   Sum    `json:"given_up"`
	// OldestOwed is the time at which the first record of the oldest pending or parked file was
	// received.
	OldestOwed time.Time `json:"oldest_owed_received_at,omitzero"`
	// NewestDelivered is the same for the newest delivered file.
	NewestDelivered time.Time `json:"newest_delivered_received_at,omitzero"`
	LastDelivery    time.Time `json:"last_delivery_at,omitzero"` // by the store's clock
	// ParkedNote is the key of the job that was parked last; "": none is.
	ParkedNote string    `json:"-"`
	ParkedAt   time.Time `json:"-"` // when that was stored
}

// Undelivered is what is owed and has not been given up.
func (d DestinationStatus) Undelivered() Sum {
	sum := d.Pending
	sum.add(d.Parked)
	return sum
}

// StatusConfig selects what ReadStatus reads.
type StatusConfig struct {
	Topic string // the events topic; default sealift.events
	// Incarnation is the only one to read; "": all.
	Incarnation string
	// Destinations are the only ones to read; nil: all.
	Destinations []string
	// Concurrency is the number of concurrent requests; default 64.
	Concurrency int
	// OnFound and OnDone are called with numbers of entries found and done, to show progress; nil:
	// not called.
	OnFound, OnDone func(entries int64)
}

// ReadStatus reads the state of destinations from the ledger, the receipts and the parked jobs. It
// reads nothing else and writes nothing, so it is correct whatever was killed or lost. What audits
// noted saves it from walking everything that they saw closed. known, unless nil, adds destinations
// that only the catalog has, and states. With an error there is no status, because it would count
// too little.
//
// It makes four requests per partition; one per 1,000 parked jobs; two per entry that no audit has
// counted yet, and one for each batch of its receipts; and one per entry that had open files at the
// last audit. If such an entry has got receipts since, it also takes one request for each batch, and
// one for the entry if more than a few files were open, or else for each of these files that has a
// receipt of its own.
func ReadStatus(ctx context.Context, cfg StatusConfig, staging objstore.Store, known *catalog.Snapshot) (*Status, error) {
	cfg.Topic = cmp.Or(cfg.Topic, "sealift.events")
	cfg.Concurrency = cmp.Or(cfg.Concurrency, 64)
	r := &statusReader{cfg: cfg, staging: staging, requests: semaphore.NewWeighted(int64(cfg.Concurrency)), status: &Status{At: time.Now().UTC()},
		parked: map[string]time.Time{}, only: map[string]bool{}, all: map[string]*DestinationStatus{}}
	for _, id := range cfg.Destinations {
		r.only[id] = true
	}
	if err := r.listParked(ctx); err != nil {
		return nil, err
	}
	logs, err := ledger.Logs(ctx, staging, cfg.Topic, cfg.Incarnation)
	if err != nil {
		return nil, err
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for _, l := range logs {
		group.Go(func() error {
			if err := r.addChain(gctx, l); err != nil {
				return fmt.Errorf("read ledger %s: %w", l, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	partitions := map[int]bool{}
	for _, l := range logs {
		partitions[l.Partition] = true
	}
	r.status.Partitions = len(partitions)
	r.finish(known)
	return r.status, nil
}

// statusReader reads one status.
type statusReader struct {
	cfg      StatusConfig
	staging  objstore.Store
	requests *semaphore.Weighted
	only     map[string]bool      // empty: all
	parked   map[string]time.Time // when each was stored, by key; listed before any receipt is looked for

	mu     sync.Mutex // guards all fields below
	status *Status
	all    map[string]*DestinationStatus
}

func (r *statusReader) wants(destination string) bool {
	return len(r.only) == 0 || r.only[destination]
}

func (r *statusReader) listParked(ctx context.Context) error {
	prefixes := []string{delivery.ParkedPrefix("")}
	if 0 < len(r.only) && len(r.only) <= r.cfg.Concurrency {
		prefixes = nil
		for id := range r.only {
			prefixes = append(prefixes, delivery.ParkedPrefix(id))
		}
	}
	for _, prefix := range prefixes {
		for info, err := range objstore.All(ctx, r.staging, prefix) {
			if err != nil {
				return err
			}
			r.parked[info.Key] = info.LastModified
		}
	}
	return nil
}

// addChain adds what a chain owes: 1. what was closed when it was last audited  2. the present
// state of what was open then  3. what was written since.
func (r *statusReader) addChain(ctx context.Context, l ledger.Log) error {
	chain := ledger.NewChain(r.staging, l)
	h, head, err := currentHint(ctx, r.staging, chain)
	if err != nil {
		return err
	}
	maps.DeleteFunc(h.Accounts, func(id string, _ *account) bool { return !r.wants(id) })
	r.mu.Lock()
	for id, a := range h.Accounts {
		d := r.destination(id)
		d.Delivered.add(a.Delivered)
		d.GivenUp.add(a.GivenUp)
		d.noteDelivery(a.Newest, a.Last)
	}
	r.status.Walked += head - h.Through
	r.mu.Unlock()
	r.reportProgress(r.cfg.OnFound, head-h.Through)

	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Concurrency)
	for seq, pairs := range h.Accounts.openPairs() {
		group.Go(func() error { return r.addReopened(gctx, chain, seq, pairs, h.Seen[seq]) })
	}
	for seq := h.Through + 1; seq <= head; seq++ {
		group.Go(func() error {
			defer r.reportProgress(r.cfg.OnDone, 1)
			return r.addEntry(gctx, chain, seq)
		})
	}
	return group.Wait()
}

func (r *statusReader) reportProgress(f func(int64), entries int64) {
	if f != nil && entries > 0 {
		f(entries)
	}
}

// fewDebts is how many debts of an entry are looked up without reading the entry, which names
// hundreds of others. If there are more, it is worth its request: a receipt that is an object of
// its own need then not be read.
const fewDebts = 4

// addReopened adds those pairs of an entry that were open at the last audit.
func (r *statusReader) addReopened(ctx context.Context, chain *ledger.Chain, seq int64, pairs []pair, audited seen) error {
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.requests.Release(1)
	listed, err := listReceipts(ctx, r.staging, chain.Log(), seq)
	if err != nil {
		return err
	}
	var e *ledger.Entry
	var receipts receipt.Set // stays empty if nothing has been added since
	if listed.digest != audited.Listing {
		if len(pairs) > fewDebts {
			if e, err = chain.Entry(ctx, seq); err != nil {
				return err
			}
		}
		if receipts, _, err = listed.read(ctx, r.staging, chain.Log(), seq, 1); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		if err := p.loadReceipt(ctx, r.staging, e, receipts); err != nil {
			return err
		}
		r.add(chain.Log(), p)
	}
	return nil
}

// addEntry adds the owed pairs of an entry that no audit has counted.
func (r *statusReader) addEntry(ctx context.Context, chain *ledger.Chain, seq int64) error {
	if err := r.requests.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.requests.Release(1)
	e, err := chain.Entry(ctx, seq)
	if err != nil || !slices.ContainsFunc(e.Files, func(f ledger.File) bool { return slices.ContainsFunc(f.Owed, r.wants) }) {
		return err
	}
	receipts, err := receipt.ListOneByOne(ctx, r.staging, chain.Log(), seq)
	if err != nil {
		return err
	}
	pairs, err := loadPairs(ctx, r.staging, e, receipts)
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if r.wants(p.destination) {
			r.add(chain.Log(), p)
		}
	}
	return nil
}

// add counts a pair.
func (r *statusReader) add(l ledger.Log, p pair) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.destination(p.destination)
	note := delivery.ParkedKey(p.ref(l), p.destination)
	at, parked := r.parked[note]
	switch {
	case p.receipt != nil && p.receipt.outcome == delivery.Delivered:
		d.Delivered.add(p.sum())
		d.noteDelivery(p.received(), p.receipt.at)
		return
	case p.receipt != nil:
		d.GivenUp.add(p.sum())
		return
	case parked:
		d.Parked.add(p.sum())
		if d.ParkedNote == "" || at.After(d.ParkedAt) {
			d.ParkedNote, d.ParkedAt = note, at
		}
	default:
		d.Pending.add(p.sum())
	}
	if received := time.UnixMilli(p.received()).UTC(); d.OldestOwed.IsZero() || received.Before(d.OldestOwed) {
		d.OldestOwed = received
	}
}

func (d *DestinationStatus) noteDelivery(received, at int64) {
	if t := time.UnixMilli(received).UTC(); received > 0 && t.After(d.NewestDelivered) {
		d.NewestDelivered = t
	}
	if t := time.UnixMilli(at).UTC(); at > 0 && t.After(d.LastDelivery) {
		d.LastDelivery = t
	}
}

// destination returns the status of a destination. The caller holds mu.
func (r *statusReader) destination(id string) *DestinationStatus {
	d := r.all[id]
	if d == nil {
		d = &DestinationStatus{ID: id}
		r.all[id] = d
	}
	return d
}

func (r *statusReader) finish(known *catalog.Snapshot) {
	if known != nil {
		for _, t := range known.Destinations() {
			if r.wants(t.ID) {
				r.destination(t.ID)
			}
		}
		for id, d := range r.all {
			d.State = stateOf(known, id)
		}
	}
	r.status.Destinations = []DestinationStatus{} // [], not null
	for _, id := range slices.Sorted(maps.Keys(r.all)) {
		r.status.Destinations = append(r.status.Destinations, *r.all[id])
	}
}
