// Package receipt reads and writes the receipts in the staging bucket: the objects that say which
// debts, of a file to a destination, are closed. The formats and keys are pkg/delivery's.
//
// A receipt is an object of its own, or one of a batch that was written with one request. A debt
// may have both, or be in several batches, if a copier was paused or its request was repeated. If
// they disagree, the one that says delivered counts: it follows an observed answer of the
// customer's bucket.
package receipt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

const (
	maxReceipt = 1 << 20  // 1 MiB, larger than any receipt
	maxBatch   = 16 << 20 // 16 MiB, larger than any batch
)

// MaxParallelReads is how many batches of an entry are read at a time, unless many entries are.
const MaxParallelReads = 8

// Write closes a debt for good. It is not an error if the debt has such a receipt already.
func Write(ctx context.Context, staging objstore.Store, r delivery.Receipt) error {
	return create(ctx, staging, delivery.ReceiptKey(r.File, r.Destination), r.Encode())
}

// WriteBatch closes debts of one entry with one request. All of them must have been delivered.
func WriteBatch(ctx context.Context, staging objstore.Store, rs []delivery.Receipt) error {
	if len(rs) == 1 {
		return Write(ctx, staging, rs[0])
	}
	file, batch := rs[0].File, delivery.EncodeBatch(rs)
	return create(ctx, staging, delivery.BatchKey(file.Log(), file.Seq, batch), batch)
}

// WriteReplayed records that a file was delivered for a replay. It is not an error if that is
// recorded already.
func WriteReplayed(ctx context.Context, staging objstore.Store, r delivery.Receipt) error {
	return create(ctx, staging, delivery.ReplayReceiptKey(r.Replay, r.File, r.Destination), r.Encode())
}

// create stores an object that nobody changes or deletes. That it exists already is no error.
func create(ctx context.Context, staging objstore.Store, key string, body []byte) error {
	_, err := staging.Put(ctx, key, bytes.NewReader(body), objstore.PutOptions{IfAbsent: true, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) {
		return nil
	}
	return err
}

// readBatch returns the receipts in a batch of an entry. If the error wraps delivery.ErrBadReceipt,
// it returns those that it understood.
func readBatch(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64, key string) ([]delivery.Receipt, error) {
	b, err := objstore.Read(ctx, staging, key, maxBatch)
	if errors.Is(err, objstore.ErrTooLarge) {
		return nil, fmt.Errorf("%w: %w", delivery.ErrBadReceipt, err)
	}
	if err != nil {
		return nil, err
	}
	rs, err := delivery.DecodeBatch(l, seq, b)
	if key != delivery.BatchKey(l, seq, b) {
		err = errors.Join(err, fmt.Errorf("%w: its bytes are not those that its key names", delivery.ErrBadReceipt))
	}
	return rs, err
}

// Pair identifies a debt within an entry.
type Pair struct {
	Index       int // of the file
	Destination string
}

// PairOf returns the debt of a file to a destination.
func PairOf(file delivery.FileRef, destination string) Pair {
	return Pair{Index: file.Index, Destination: destination}
}

// Found is a receipt that was found.
type Found struct {
	Key        string    // of the object that holds it
	StoredAt   time.Time // when the first receipt of the debt was stored, by the store's clock; it never changes
	Duplicates []Found   // further receipts of the same debt, which do not count
	size       int64
	inBatch    *delivery.Receipt // nil if it is an object of its own, which was not read
}

// Read returns what the receipt says; the error may wrap objstore.ErrNotFound or
// delivery.ErrBadReceipt.
func (f Found) Read(ctx context.Context, staging objstore.Store) (delivery.Receipt, error) {
	if f.inBatch != nil {
		return *f.inBatch, nil
	}
	return Read(ctx, staging, f.Key)
}

// Outcome returns the outcome of the receipt, for a file of the entry. Only a receipt that is too
// short to name an object is read, or any that is an object of its own if e is nil. One that is not
// understood still closes its debt; `sealift verify` reports what is wrong with it.
func (f Found) Outcome(ctx context.Context, staging objstore.Store, p Pair, e *ledger.Entry) (delivery.Outcome, error) {
	if f.inBatch != nil || e != nil && (p.Index >= len(e.Files) ||
		f.size >= delivery.MinDeliveredSize(delivery.Ref(e, p.Index), p.Destination, &e.Files[p.Index])) {
		return delivery.Delivered, nil
	}
	r, err := f.Read(ctx, staging)
	if errors.Is(err, delivery.ErrBadReceipt) {
		return delivery.Delivered, nil
	}
	return r.Outcome, err
}

// Set has the receipts of one entry.
type Set map[Pair]Found

// List returns the receipts of an entry. It takes a request for each batch, besides the listing.
func List(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64) (Set, error) {
	return list(ctx, staging, l, seq, delivery.ReceiptPrefix(l, seq), MaxParallelReads)
}

// ListOneByOne is List with one request at a time, for callers that list many entries at once.
func ListOneByOne(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64) (Set, error) {
	return list(ctx, staging, l, seq, delivery.ReceiptPrefix(l, seq), 1)
}

// ListBatched is List without the receipts that are objects of their own.
func ListBatched(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64) (Set, error) {
	return list(ctx, staging, l, seq, delivery.BatchPrefix(l, seq), MaxParallelReads)
}

func list(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64, prefix string, atOnce int) (Set, error) {
	var listed []objstore.Info
	for info, err := range objstore.All(ctx, staging, prefix) {
		if err != nil {
			return nil, err
		}
		listed = append(listed, info)
	}
	return FromListing(ctx, staging, l, seq, listed, atOnce, nil)
}

// FromListing returns the receipts in objects that were listed below the entry's
// delivery.ReceiptPrefix. It reads atOnce batches at a time. It calls onBad, unless it is nil, with
// each object that is no receipt and each batch that is not understood.
func FromListing(ctx context.Context, staging objstore.Store, l ledger.Log, seq int64, listed []objstore.Info, atOnce int, onBad func(key string, err error)) (Set, error) {
	if onBad == nil {
		onBad = func(string, error) {}
	}
	set, prefix := Set{}, delivery.ReceiptPrefix(l, seq)
	var batches []objstore.Info
	for _, info := range listed {
		index, destination, ok := delivery.ParseReceiptKey(prefix, info.Key)
		switch {
		case ok:
			set[Pair{index, destination}] = Found{Key: info.Key, StoredAt: info.LastModified, size: info.Size}
		case delivery.IsBatchKey(prefix, info.Key):
			batches = append(batches, info)
		default:
			onBad(info.Key, errors.New("is no receipt's key"))
		}
	}
	contents, bad := make([][]delivery.Receipt, len(batches)), make([]error, len(batches))
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i, info := range batches {
		group.Go(func() error {
			var err error
			contents[i], err = readBatch(gctx, staging, l, seq, info.Key)
			if errors.Is(err, delivery.ErrBadReceipt) || errors.Is(err, objstore.ErrNotFound) {
				bad[i], err = err, nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("read the receipts of an entry: %w", err)
	}
	for i, info := range batches {
		if bad[i] != nil {
			onBad(info.Key, bad[i])
		}
		for _, r := range contents[i] {
			pair, found := PairOf(r.File, r.Destination), Found{Key: info.Key, StoredAt: info.LastModified, size: info.Size, inBatch: &r}
			if other, ok := set[pair]; ok {
				if other.StoredAt.Before(found.StoredAt) {
					found.StoredAt = other.StoredAt
				}
				found.Duplicates, other.Duplicates = other.Duplicates, nil
				found.Duplicates = append(found.Duplicates, other)
			}
			set[pair] = found
		}
	}
	return set, nil
}

// ReadSingle is Read for the receipt of a debt.
func ReadSingle(ctx context.Context, staging objstore.Store, f delivery.FileRef, destination string) (delivery.Receipt, error) {
	return Read(ctx, staging, delivery.ReceiptKey(f, destination))
}

// Read returns a receipt that is an object of its own, of a debt or of a replay. The error may wrap
// objstore.ErrNotFound or delivery.ErrBadReceipt.
func Read(ctx context.Context, staging objstore.Store, key string) (delivery.Receipt, error) {
	b, err := objstore.Read(ctx, staging, key, maxReceipt)
	if errors.Is(err, objstore.ErrTooLarge) {
		return delivery.Receipt{}, fmt.Errorf("%w: %w", delivery.ErrBadReceipt, err)
	}
	if err != nil {
		return delivery.Receipt{}, err
	}
	return delivery.DecodeReceipt(b)
}
