package copier

import (
	"container/list"
	"context"
	"fmt"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// entries reads ledger entries and keeps the last used: they never change,
// and the jobs of an entry come together. It is safe for concurrent use.
type entries struct {
	staging objstore.Store
	flight  singleflight.Group

	mu    sync.Mutex // guards all below
	order *list.List // of *ledger.Entry, last used first
	byRef map[string]*list.Element
	files int // in all kept entries
	room  int // the most files to keep
}

func newEntries(staging objstore.Store, room int) *entries {
	return &entries{staging: staging, order: list.New(), byRef: map[string]*list.Element{}, room: room}
}

// get returns the entry that r points into. The error is the ledger's.
func (c *entries) get(ctx context.Context, r delivery.FileRef) (*ledger.Entry, error) {
	ref := fmt.Sprintf("%s/%d", r.Log(), r.Seq)
	if e := c.kept(ref); e != nil {
		return e, nil
	}
	read := func() (any, error) {
		e, err := ledger.NewChain(c.staging, r.Log()).Entry(ctx, r.Seq)
		if err == nil {
			e.SealedThrough = nil // of a partition with many streams it is most of the entry, and no copier's
			c.keep(ref, e)
		}
		return e, err
	}
	v, err, shared := c.flight.Do(ref, read)
	if err != nil && shared && ctx.Err() == nil {
		v, err = read() // the one that asked for all may have been stopped
	}
	if err != nil {
		return nil, err
	}
	return v.(*ledger.Entry), nil
}

func (c *entries) kept(ref string) *ledger.Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byRef[ref]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(*keptEntry).Entry
}

type keptEntry struct {
	*ledger.Entry
	ref string
}

func (c *entries) keep(ref string, e *ledger.Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byRef[ref] != nil {
		return
	}
	c.byRef[ref] = c.order.PushFront(&keptEntry{e, ref})
	c.files += 1 + len(e.Files)
	for c.files > c.room && c.order.Len() > 1 {
		old := c.order.Remove(c.order.Back()).(*keptEntry)
		delete(c.byRef, old.ref)
		c.files -= 1 + len(old.Files)
	}
}
