package ledger

import (
	"context"
	"fmt"
	"time"
)

// FirstSince returns the number of the first entry up to head that was stored at or after since, by
// the store's clock, or head if there is none. It takes some 20 requests for a million entries. For
// an entry that was stored again, for instance by a restore, the later time counts; the result may
// then be an entry from before since, but never one after the first since then. ErrNotFound says
// that entries are missing, at least entry 0.
func (c *Chain) FirstSince(ctx context.Context, head int64, since time.Time) (int64, error) {
	return searchFirst(head, func(seq int64) (bool, error) {
		// Keys count down: the first key after that of entry seq+1 is that of entry seq.
		infos, err := c.store.List(ctx, entryPrefix(c.log), EntryKey(c.log, seq+1), 1)
		if err == nil && len(infos) == 0 {
			err = fmt.Errorf("%w; `sealift verify` says more", ErrNotFound)
		}
		if err != nil {
			return false, fmt.Errorf("look for entry %d of ledger %s: %w", seq, c.log, err)
		}
		_, _, ok := ParseEntryKey(infos[0].Key) // a stray object has no usable time
		return !ok || !infos[0].LastModified.Before(since), nil
	})
}

// FirstMatching returns the number of the first entry up to head for which holds is true, or head
// if there is none. holds must be true for all entries after one for which it is true. FirstMatching reads
// some 20 of a million entries.
func (c *Chain) FirstMatching(ctx context.Context, head int64, holds func(*Entry) bool) (int64, error) {
	return searchFirst(head, func(seq int64) (bool, error) {
		e, err := c.Entry(ctx, seq)
		return err == nil && holds(e), err
	})
}

// FirstMatching is like Chain.FirstMatching.
func (c *Cache) FirstMatching(ctx context.Context, log Log, head int64, holds func(*Entry) bool) (int64, error) {
	return searchFirst(head, func(seq int64) (bool, error) {
		e, err := c.Entry(ctx, log, seq)
		return err == nil && holds(e), err
	})
}

func searchFirst(head int64, holds func(seq int64) (bool, error)) (int64, error) {
	low, high := int64(0), head
	for low < high { // the answer is in [low, high]
		middle := low + (high-low)/2
		yes, err := holds(middle)
		if err != nil {
			return 0, err
		}
		if yes {
			high = middle
		} else {
			low = middle + 1
		}
	}
	return low, nil
}

// MayReach reports whether a file of e or of an earlier entry may hold a record at or after the
// offset. Once true, it is true for all later entries.
func (e *Entry) MayReach(offset int64) bool {
	if e.LowWatermark > offset {
		return true
	}
	for _, t := range e.SealedThrough {
		if t.Offset >= offset {
			return true
		}
	}
	return false
}
