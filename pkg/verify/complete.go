package verify

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// Completeness is what the ledger knows about hours of receipt.
type Completeness struct {
	// CompleteThrough is a time: every record received before it is in a file, except for
	// stragglers that may still come. It is the earliest of all partitions', or zero if one of them
	// has never reported any.
	CompleteThrough time.Time  `json:"complete_through"`
	Partitions      []Progress `json:"partitions"`
	Hours           []Hour     `json:"hours"` // by hour, then source
}

// Progress is how far one partition has got.
type Progress struct {
	Partition       int       `json:"partition"`
	Entry           int64     `json:"entry"` // the newest; -1: there is none
	CompleteThrough time.Time `json:"complete_through"`
	// Idle: everything that Kafka holds of the partition is in files or skipped. Its appender
	// writes that to the ledger only when an hour is over.
	Idle bool `json:"idle"`
}

// Hour is one source's hour of receipt.
type Hour struct {
	Source  string    `json:"source"`
	Hour    time.Time `json:"hour"` // its beginning, UTC
	Files   int64     `json:"files"`
	Records int64     `json:"records"`
	Bytes   int64     `json:"bytes"` // compressed
	// Late files were sealed after their partition had reported the hour as complete: their records
	// came hours late. They are also included in the numbers above.
	LateFiles   int64 `json:"late_files"`
	LateRecords int64 `json:"late_records"`
	// Complete: every partition is past the hour. Only late records may still come.
	Complete bool `json:"complete"`
	// Newest is when the first record of the newest file was received: the source sent something
	// then, and perhaps later.
	Newest       time.Time      `json:"newest_file_received_at"`
	Destinations []HourDelivery `json:"destinations"`
	Unowed       int64          `json:"owed_to_nobody"` // files that were owed to no destination when they were sealed
}

// HourDelivery is how much of an hour has been delivered to a destination, in files.
type HourDelivery struct {
	Destination string `json:"destination"`
	Owed        int64  `json:"owed"`
	Delivered   int64  `json:"delivered"`
	GivenUp     int64  `json:"given_up"` // not delivered, unless by a replay
	Parked      int64  `json:"parked"`
}

type hourKey struct {
	hour   int64
	source string
}

// ReadCompleteness reports hours of receipt from Config.Since to Config.Until; of the rest of
// Config only Topic, Incarnation, Source and Concurrency are used. ends has the topic's partitions
// with their end offsets, so that a partition without a ledger is known never to have been read;
// nil: not known. ReadCompleteness uses a few hundred bytes of memory per source and hour.
func ReadCompleteness(ctx context.Context, cfg Config, deps Deps, ends map[int]int64) (*Completeness, error) {
	cfg.Partition = -1
	v := newVerifier(cfg, deps)
	logs, err := v.findLogs(ctx)
	if err != nil {
		return nil, err
	}
	if v.parked, err = listParked(ctx, v.staging); err != nil {
		return nil, err
	}
	c := &completenessBuilder{verifier: v, hours: map[hourKey]*Hour{}, progress: map[int]Progress{}, ends: ends}
	for p := range ends {
		c.progress[p] = Progress{Partition: p, Entry: -1}
	}
	for _, l := range logs {
		if v.includesLog(l) {
			if err := c.readChain(ctx, l); err != nil {
				return nil, fmt.Errorf("read ledger %s: %w", l, err)
			}
		}
	}
	if len(c.progress) == 0 {
		return nil, fmt.Errorf("%w: topic %q, incarnation %q has no ledger in this bucket", ErrNoLedger, v.cfg.Topic, v.cfg.Incarnation)
	}
	return c.finish(), nil
}

// completenessBuilder is a report in the making.
type completenessBuilder struct {
	*verifier
	progress map[int]Progress
	ends     map[int]int64

	mu    sync.Mutex // guards hours
	hours map[hourKey]*Hour
}

func (c *completenessBuilder) readChain(ctx context.Context, l ledger.Log) error {
	chain := ledger.NewChain(c.staging, l)
	head, err := chain.Head(ctx)
	if err != nil {
		return err
	}
	end, known := c.ends[l.Partition]
	c.progress[l.Partition] = Progress{
		Partition: l.Partition, Entry: head.Seq, CompleteThrough: fromMillis(trustedCompleteThrough(head, c.now.UnixMilli())), Idle: known && head.LowWatermark >= end,
	}
	first, err := firstEntrySince(ctx, chain, head.Seq, c.cfg.Since)
	if err != nil {
		return err
	}
	receipts, err := c.streamReceipts(ctx, l, first)
	if err != nil {
		return err
	}
	defer receipts.stop()
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(c.cfg.Concurrency)
	err = c.countEntries(gctx, group, chain.Entries(gctx, max(0, first-1), head.Seq, c.cfg.Concurrency), receipts, first)
	if gerr := group.Wait(); gerr != nil { // its failure cancelled gctx
		err = gerr
	}
	return err
}

// countEntries counts the files of entry first and of those after it.
func (c *completenessBuilder) countEntries(ctx context.Context, group *errgroup.Group, entries iter.Seq2[*ledger.Entry, error], receipts *receiptStream, first int64) error {
	var previous ledger.Entry
	for e, err := range entries {
		if err != nil {
			return err
		}
		listed, err := receipts.forEntry(e.Seq)
		if err != nil {
			return err
		}
		if through := trustedCompleteThrough(&previous, e.WrittenAt); e.Seq >= first && slices.ContainsFunc(e.Files, c.isSelected) {
			group.Go(func() error { return c.countEntry(ctx, e, listed, through) })
		}
		previous = *e
	}
	return nil
}

// trustedCompleteThrough returns the entry's CompleteThrough, or 0 if that is later than at by more
// than an hour, which is allowed for inaccurate clocks: then its author's clock was far ahead.
func trustedCompleteThrough(e *ledger.Entry, at int64) int64 {
	if e.CompleteThrough > at+hourLength {
		return 0
	}
	return e.CompleteThrough
}

// firstEntrySince returns the first entry that may name files of hours since then: no such entry
// was stored before they began, with an hour's allowance for inaccurate clocks.
func firstEntrySince(ctx context.Context, chain *ledger.Chain, head int64, since time.Time) (int64, error) {
	if since.IsZero() {
		return 0, nil
	}
	return chain.FirstSince(ctx, head, since.Add(-time.Hour))
}

const hourLength = int64(time.Hour / time.Millisecond)

// isSelected reports whether a file is of the source and the hours that are asked for.
func (c *completenessBuilder) isSelected(f ledger.File) bool {
	hourStart := fromMillis(f.Hour)
	return (c.cfg.Source == "" || f.Source == c.cfg.Source) && hourStart.Add(time.Hour).After(c.cfg.Since) &&
		(c.cfg.Until.IsZero() || hourStart.Before(c.cfg.Until))
}

// countEntry counts an entry's selected files. through is how far the hours were complete before it.
func (c *completenessBuilder) countEntry(ctx context.Context, e *ledger.Entry, listed []objstore.Info, through int64) error {
	receipts, err := receipt.FromListing(ctx, c.staging, e.Log(), e.Seq, listed, 1, nil)
	if err != nil {
		return err
	}
	for i := range e.Files {
		f := &e.Files[i]
		if !c.isSelected(*f) {
			continue
		}
		debts := make([]HourDelivery, len(f.Owed))
		for n, dest := range f.Owed {
			if debts[n], err = c.debtCounts(ctx, e, receipt.Pair{Index: i, Destination: dest}, receipts); err != nil {
				return err
			}
		}
		c.countFile(f, debts, through)
	}
	return nil
}

// debtCounts returns the counts of one debt.
func (c *completenessBuilder) debtCounts(ctx context.Context, e *ledger.Entry, pair receipt.Pair, receipts receipt.Set) (HourDelivery, error) {
	d := HourDelivery{Destination: pair.Destination, Owed: 1}
	found, closed := receipts[pair]
	if !closed {
		if c.parked.take(delivery.Ref(e, pair.Index), pair.Destination) {
			d.Parked = 1
		}
		return d, nil
	}
	outcome, err := found.Outcome(ctx, c.staging, pair, e)
	if outcome == delivery.Delivered {
		d.Delivered = 1
	} else {
		d.GivenUp = 1
	}
	return d, err
}

func (c *completenessBuilder) countFile(f *ledger.File, debts []HourDelivery, through int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hourStart := fromMillis(f.Hour)
	h := c.hours[hourKey{f.Hour, f.Source}]
	if h == nil {
		h = &Hour{Source: f.Source, Hour: hourStart, Newest: hourStart, Destinations: []HourDelivery{}}
		c.hours[hourKey{f.Hour, f.Source}] = h
	}
	h.Files, h.Records, h.Bytes = h.Files+1, h.Records+f.Records, h.Bytes+f.GzipBytes
	if len(f.Owed) == 0 {
		h.Unowed++
	}
	if received := fromMillis(f.Received); ledger.StreamOf(f.Source, f.Received) == f.Stream() && received.After(h.Newest) {
		h.Newest = received
	}
	if f.Hour+hourLength <= through {
		h.LateFiles, h.LateRecords = h.LateFiles+1, h.LateRecords+f.Records
	}
	for _, debt := range debts {
		d := h.destination(debt.Destination)
		d.Owed, d.Delivered, d.GivenUp, d.Parked = d.Owed+1, d.Delivered+debt.Delivered, d.GivenUp+debt.GivenUp, d.Parked+debt.Parked
	}
}

// destination returns the part of the hour about a destination.
func (h *Hour) destination(destination string) *HourDelivery {
	i, found := slices.BinarySearchFunc(h.Destinations, destination, func(d HourDelivery, id string) int { return cmp.Compare(d.Destination, id) })
	if !found {
		h.Destinations = slices.Insert(h.Destinations, i, HourDelivery{Destination: destination})
	}
	return &h.Destinations[i]
}

func (c *completenessBuilder) finish() *Completeness {
	out := &Completeness{Hours: []Hour{}, Partitions: []Progress{}}
	for i, p := range slices.Sorted(maps.Keys(c.progress)) {
		one := c.progress[p]
		out.Partitions = append(out.Partitions, one)
		if i == 0 || one.CompleteThrough.Before(out.CompleteThrough) {
			out.CompleteThrough = one.CompleteThrough
		}
	}
	keys := slices.SortedFunc(maps.Keys(c.hours), func(a, b hourKey) int {
		return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.source, b.source))
	})
	for _, k := range keys {
		h := *c.hours[k]
		h.Complete = !h.Hour.Add(time.Hour).After(out.CompleteThrough)
		out.Hours = append(out.Hours, h)
	}
	return out
}

// fromMillis returns a UTC time; zero for 0.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
