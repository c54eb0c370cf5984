package ledger

import (
	"context"
	"fmt"
	"time"
)

// FirstSince returns the first entry, of those up to head, that was stored at or
// after a moment, by the store's clock, or head if none was: with some 20 requests
// for a million entries. Of one that was stored anew, as after a restore, the
// later time counts; then entries from before the moment may be returned, never
// one after the first since. ErrNotFound says that entry 0 is missing, at least.
func (c *Chain) FirstSince(ctx context.Context, head int64, since time.Time) (int64, error) {
	return first(head, func(seq int64) (bool, error) {
		// Keys count down: what follows that of the entry after it is its own.
		infos, err := c.store.List(ctx, entryPrefix(c.log), EntryKey(c.log, seq+1), 1)
		if err == nil && len(infos) == 0 {
			err = fmt.Errorf("%w; `sealift verify` says more", ErrNotFound)
		}
		if err != nil {
			return false, fmt.Errorf("look for entry %d of ledger %s: %w", seq, c.log, err)
		}
		_, _, ok := ParseEntryKey(infos[0].Key) // a stray object says nothing
		return !ok || !infos[0].LastModified.Before(since), nil
	})
}

// First returns the first entry, of those up to head, that holds what is true of
// all entries after one that it is true of; or head if it is true of none. It
// reads some 20 of a million entries.
func (c *Chain) First(ctx context.Context, head int64, holds func(*Entry) bool) (int64, error) {
	return first(head, func(seq int64) (bool, error) {
		e, err := c.Entry(ctx, seq)
		return err == nil && holds(e), err
	})
}

func first(head int64, holds func(seq int64) (bool, error)) (int64, error) {
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

// MayReach reports whether a file of e, or of an entry before it, may hold the
// record at the offset, or one after it. Once true, it is true of all later
// entries.
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
