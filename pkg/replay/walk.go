package replay

import (
	"context"
	"errors"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// walkConcurrency is how many entries are read concurrently.
const walkConcurrency = 32

// coveredEntry is an entry with its files that an order covers.
type coveredEntry struct {
	*ledger.Entry
	files   []coveredFile
	refused []Refusal // of copies that one would expect to be made
	unowed  int64     // files that the order selects, and leaves out because they are owed to nobody
}

// coveredFile is a file and the destinations that it goes to.
type coveredFile struct {
	index        int
	destinations []string
}

// walk yields the entries of which the order selects a file, even if it then leaves it out or has to
// refuse it, partition by partition and entry by entry. It ends after the first error.
func walk(ctx context.Context, staging objstore.Store, o *delivery.Order, c *catalog.Snapshot) iter.Seq2[coveredEntry, error] {
	return func(yield func(coveredEntry, error) bool) {
		spans, err := spansOf(ctx, staging, o)
		if err != nil {
			yield(coveredEntry{}, err)
			return
		}
		for e, err := range ledger.Spans(ctx, spans, walkConcurrency) {
			if err != nil {
				yield(coveredEntry{}, err)
				return
			}
			if f := coverage(o, e, c); (len(f.files)+len(f.refused) > 0 || f.unowed > 0) && !yield(f, nil) {
				return
			}
		}
	}
}

// spansOf returns, for each partition, the range of entries that may have a file which the order
// selects.
func spansOf(ctx context.Context, staging objstore.Store, o *delivery.Order) ([]ledger.Span, error) {
	spans := make([]ledger.Span, 0, len(o.Heads))
	for _, p := range slices.Sorted(maps.Keys(o.Heads)) {
		if len(o.Offsets) == 0 || slices.ContainsFunc(o.Offsets, func(r delivery.Range) bool { return r.Partition == p }) {
			chain := ledger.NewChain(staging, ledger.Log{Topic: o.Topic, Incarnation: o.Incarnation, Partition: p})
			spans = append(spans, ledger.Span{Chain: chain, Last: o.Heads[p]})
		}
	}
	return spans, errors.Join(job.InParallel(len(spans), walkConcurrency, func(i int) error { return narrowSpan(ctx, o, &spans[i]) })...)
}

// maxClockSkew is how far clocks may be off: those that stamp records, and the staging bucket's.
const maxClockSkew = time.Hour

// narrowSpan leaves out entries that cannot have a file which the order selects.
func narrowSpan(ctx context.Context, o *delivery.Order, s *ledger.Span) error {
	if o.Since > 0 {
		head, err := s.Chain.Entry(ctx, s.Last)
		if err != nil {
			return err
		}
		// No file of an hour was sealed before that hour. That does not hold for times that
		// producers set, in the record or in its line, because devices' clocks may be far off.
		if head.Router == "" && head.RouterFrom == 0 { // nor was there another rule before
			first, err := s.Chain.FirstSince(ctx, s.Last, time.UnixMilli(o.Since).Add(-maxClockSkew))
			if err != nil {
				return err
			}
			s.First = max(s.First, first)
		}
	}
	if len(o.Offsets) == 0 {
		return nil
	}
	low, high := int64(math.MaxInt64), int64(0)
	for _, r := range o.Offsets {
		if r.Partition == s.Chain.Log().Partition {
			low, high = min(low, r.First), max(high, r.Last)
		}
	}
	first, err := s.Chain.FirstMatching(ctx, s.Last, func(e *ledger.Entry) bool { return e.MayReach(low) })
	if err != nil {
		return err
	}
	// Files have only records at or above the watermark before them.
	last, err := s.Chain.FirstMatching(ctx, s.Last, func(e *ledger.Entry) bool { return e.LowWatermark > high })
	s.First, s.Last = max(s.First, first), last
	return err
}

// coverage returns what the order covers of an entry. An order that only names destinations covers
// the files that may go there.
func coverage(o *delivery.Order, e *ledger.Entry, c *catalog.Snapshot) coveredEntry {
	out := coveredEntry{Entry: e}
	for i := range e.Files {
		f := &e.Files[i]
		if !o.Selects(e, f) {
			continue
		}
		destinations := f.Owed
		if len(o.Destinations) > 0 {
			destinations = nil
			for i, d := range o.Destinations {
				if slices.Contains(o.Destinations[:i], d) {
					continue // named twice: it still gets one copy, and one receipt
				}
				switch err := CheckPermitted(c, f, d); {
				case err == nil:
					destinations = append(destinations, d)
				case checkSubscribed(c, f.Source, d) == nil: // whoever gave the order expects it to go there
					i := slices.IndexFunc(f.Owed, func(owed string) bool { return delivery.WorkspaceOf(owed) != delivery.WorkspaceOf(d) })
					out.refused = append(out.refused, Refusal{Source: f.Source, Destination: d, Owed: f.Owed[i], Copies: 1})
				}
			}
		}
		if len(f.Owed) == 0 && len(o.Destinations) == 0 {
			out.unowed++
		}
		if len(destinations) > 0 {
			out.files = append(out.files, coveredFile{index: i, destinations: destinations})
		}
	}
	return out
}
