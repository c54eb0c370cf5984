package verify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// receiptSet has the receipts of one entry.
type receiptSet struct {
	receipt.Set
	// destinations are those that have a receipt of a file, by its index.
	destinations map[int][]string
	// partial: a batch could not be read, so it is not known which debts are open.
	partial bool
	// relist lists the receipts once more when it is first called, to see what was added meanwhile.
	relist func() (receipt.Set, error)
}

// readReceipts returns the receipts of an entry, given what was listed, and reports those that are
// of no file or not understood.
func (w *walk) readReceipts(ctx context.Context, e *ledger.Entry, listed []objstore.Info) (*receiptSet, error) {
	s := &receiptSet{destinations: map[int][]string{}, relist: w.lazyReceipts(ctx, w.log, e.Seq)}
	var err error
	s.Set, err = receipt.FromListing(ctx, w.staging, w.log, e.Seq, listed, 1, func(key string, err error) {
		if errors.Is(err, objstore.ErrNotFound) {
			err = errGone
		}
		for what := range strings.SplitSeq(err.Error(), "\n") { // a batch has an error for each bad line
			w.report.addProblem(BadReceipt, key, "%s", what)
		}
	})
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		w.report.addUnread(fmt.Sprintf("%s entry %d: %v", w.log, e.Seq, err))
		s.partial = true
		listed = slices.DeleteFunc(listed, func(o objstore.Info) bool {
			return delivery.IsBatchKey(delivery.ReceiptPrefix(w.log, e.Seq), o.Key)
		})
		if s.Set, err = receipt.FromListing(ctx, w.staging, w.log, e.Seq, listed, 1, nil); err != nil {
			return nil, err
		}
	}
	for pair, found := range s.Set {
		if pair.Index < len(e.Files) {
			s.destinations[pair.Index] = append(s.destinations[pair.Index], pair.Destination)
			continue
		}
		for _, one := range allReceipts(found) {
			w.report.addProblem(BadReceipt, one.Key, "the entry has %d files, it is of file %d", len(e.Files), pair.Index)
		}
	}
	return s, nil
}

// errGone says that a receipt was deleted; receipts never are.
var errGone = errors.New("it is listed, and not there")

// allReceipts returns all receipts of a debt.
func allReceipts(found receipt.Found) []receipt.Found {
	return append([]receipt.Found{found}, found.Duplicates...)
}

// lazyReceipts returns a function that lists the receipts of an entry when it is first called.
func (v *verifier) lazyReceipts(ctx context.Context, l ledger.Log, seq int64) func() (receipt.Set, error) {
	return sync.OnceValues(func() (receipt.Set, error) { return receipt.ListOneByOne(ctx, v.staging, l, seq) })
}

// receiptStream lists the receipts of a chain along with a walk of its entries: they come in the
// order of entries, a thousand per request.
type receiptStream struct {
	log  ledger.Log
	pull func() (objstore.Info, error, bool)
	stop func()
	next objstore.Info
	more bool
	// onStray is called with keys that are of no entry.
	onStray func(key string)
}

// streamReceipts lists the receipts of entry first and of those after it. The caller has to stop
// it.
func (v *verifier) streamReceipts(ctx context.Context, l ledger.Log, first int64) (*receiptStream, error) {
	after := ""
	if first > 0 {
		after = delivery.ReceiptPrefix(l, first-1) + "~"
	}
	s := &receiptStream{log: l, onStray: func(key string) { v.report.addProblem(BadReceipt, key, "is no receipt's key") }}
	s.pull, s.stop = iter.Pull2(objstore.AllAfter(ctx, v.staging, receiptsPrefix(l), after))
	if err := s.advance(); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *receiptStream) advance() (err error) {
	s.next, err, s.more = s.pull()
	return err
}

// forEntry returns what is listed of an entry, for receipt.FromListing. It passes over earlier entries,
// which are missing; that is reported elsewhere.
func (s *receiptStream) forEntry(seq int64) (listed []objstore.Info, err error) {
	for s.more {
		at, ok := receiptEntrySeq(s.log, s.next.Key)
		switch {
		case !ok:
			s.onStray(s.next.Key)
		case at > seq:
			return listed, nil
		case at == seq:
			listed = append(listed, s.next)
		}
		if err := s.advance(); err != nil {
			return nil, err
		}
	}
	return listed, nil
}

// skip passes over the receipts of an entry.
func (s *receiptStream) skip(seq int64) error {
	_, err := s.forEntry(seq)
	return err
}
