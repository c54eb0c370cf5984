package verify

import (
	"context"
	"errors"
	"iter"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// receiptSet has the receipts of one entry as they were listed, by the index of the file and
// the destination.
type receiptSet map[int]map[string]objstore.Info

func (s receiptSet) has(ref delivery.FileRef, destination string) bool {
	_, ok := s[ref.Index][destination]
	return ok
}

// Outcome returns the outcome of a listed receipt, for file f at the destination. Only a receipt that
// is too short to name an object is read. A receipt that is not understood still closes its debt;
// Verify reports what is wrong with it.
func Outcome(ctx context.Context, staging objstore.Store, listed objstore.Info, ref delivery.FileRef, destination string, f *ledger.File) (delivery.Outcome, error) {
	if !shorter(listed, ref, destination, f) {
		return delivery.Delivered, nil
	}
	return readOutcome(ctx, staging, listed.Key)
}

// shorter reports whether a receipt is too short to name an object.
func shorter(listed objstore.Info, ref delivery.FileRef, destination string, f *ledger.File) bool {
	return listed.Size < delivery.LeastDelivered(ref, destination, f)
}

func readOutcome(ctx context.Context, staging objstore.Store, key string) (delivery.Outcome, error) {
	r, err := readReceipt(ctx, staging, key)
	if errors.Is(err, delivery.ErrBadReceipt) {
		return delivery.Delivered, nil
	}
	return r.Outcome, err
}

// receiptStream lists the receipts of a chain along with a walk of its entries: they come in the
// order of entries, a thousand per request.
type receiptStream struct {
	log  ledger.Log
	pull func() (objstore.Info, error, bool)
	stop func()
	next objstore.Info
	more bool
	// odd is called with keys that are not those of receipts.
	odd func(key string)
}

// receiptsFrom lists the receipts of entry first and of those after it. The caller has to stop it.
func (v *verifier) receiptsFrom(ctx context.Context, l ledger.Log, first int64) (*receiptStream, error) {
	after := ""
	if first > 0 {
		after = delivery.ReceiptPrefix(l, first-1) + "~"
	}
	s := &receiptStream{log: l, odd: func(key string) { v.report.problem(BadReceipt, key, "is no receipt's key") }}
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

// of returns the receipts of an entry. It passes over those of earlier entries, which are missing;
// that is reported elsewhere.
func (s *receiptStream) of(seq int64) (receiptSet, error) {
	set := receiptSet{}
	for s.more {
		ref, destination, ok := parseReceiptKey(s.log, s.next.Key)
		switch {
		case !ok:
			s.odd(s.next.Key)
		case ref.Seq > seq:
			return set, nil
		case ref.Seq == seq:
			if set[ref.Index] == nil {
				set[ref.Index] = map[string]objstore.Info{}
			}
			set[ref.Index][destination] = s.next
		}
		if err := s.advance(); err != nil {
			return set, err
		}
	}
	return set, nil
}

// skip passes over the receipts of an entry.
func (s *receiptStream) skip(seq int64) error {
	_, err := s.of(seq)
	return err
}
