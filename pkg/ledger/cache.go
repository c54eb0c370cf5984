package ledger

import (
	"container/list"
	"context"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/sealift/sealift/pkg/objstore"
)

// Cache reads entries of any chain and keeps the most recently used ones. Entries never change, and
// most are needed many times. Callers share what it returns and must not change it. It is safe for
// concurrent use.
type Cache struct {
	staging objstore.Store
	maxSize int
	trim    func(*Entry)
	flight  singleflight.Group

	mu    sync.Mutex // guards all below
	order *list.List // of cacheItem, most recently used first
	byKey map[string]*list.Element
	size  int // of all kept entries
}

type cacheItem struct {
	*Entry
	key string
}

// size approximates how much room an entry takes: its files and its streams sealed ahead.
func (e cacheItem) size() int { return 1 + len(e.Files) + len(e.SealedThrough) }

// NewCache returns a cache for entries that have at most maxSize files and streams sealed ahead, all
// together; a single entry may exceed it. trim removes from an entry what no caller needs; nil
// keeps everything.
func NewCache(staging objstore.Store, maxSize int, trim func(*Entry)) *Cache {
	return &Cache{staging: staging, maxSize: maxSize, trim: trim, order: list.New(), byKey: map[string]*list.Element{}}
}

// Entry is like Chain.Entry.
func (c *Cache) Entry(ctx context.Context, log Log, seq int64) (*Entry, error) {
	key := EntryKey(log, seq)
	if e := c.get(key); e != nil {
		return e, nil
	}
	read := func() (any, error) {
		if e := c.get(key); e != nil {
			return e, nil // another call has just read it
		}
		e, err := NewChain(c.staging, log).Entry(ctx, seq)
		if err != nil {
			return nil, err
		}
		if c.trim != nil {
			c.trim(e)
		}
		c.add(cacheItem{e, key})
		return e, nil
	}
	v, err, shared := c.flight.Do(key, read)
	if err != nil && shared && ctx.Err() == nil {
		v, err = read() // the caller whose read was shared may have been cancelled
	}
	if err != nil {
		return nil, err
	}
	return v.(*Entry), nil
}

func (c *Cache) get(key string) *Entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	el := c.byKey[key]
	if el == nil {
		return nil
	}
	c.order.MoveToFront(el)
	return el.Value.(cacheItem).Entry
}

func (c *Cache) add(e cacheItem) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byKey[e.key] != nil {
		return
	}
	c.byKey[e.key] = c.order.PushFront(e)
	c.size += e.size()
	for c.size > c.maxSize && c.order.Len() > 1 {
		old := c.order.Remove(c.order.Back()).(cacheItem)
		delete(c.byKey, old.key)
		c.size -= old.size()
	}
}
