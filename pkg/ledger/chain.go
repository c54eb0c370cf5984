package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/objstore"
)

// Errors of a chain.
var (
	// ErrEmpty says that the chain has no entry yet.
	ErrEmpty = errors.New("ledger chain is empty")
	// ErrNotFound says that there is no entry of that number.
	ErrNotFound = errors.New("no such ledger entry")
	// ErrLost says that another worker wrote the entry of that number: what
	// the caller holds of the partition is void, and must be loaded anew.
	ErrLost = errors.New("ledger entry was written by another worker")
)

// Chain is the ledger of one partition. It is safe for concurrent use; that
// it is used by one writer at a time is the writer's business and costs only
// work when broken.
type Chain struct {
	store objstore.Store
	log   Log
}

// requestTimeout is of a listing, and for how long nothing may move in a PUT: an entry
// may be megabytes, behind files that are being staged on the same line. A read goes on
// for as long as bytes come, as objstore.Read says.
const requestTimeout = 30 * time.Second

// maxEntry is more bytes than an entry has.
const maxEntry = 1 << 30 // 1 GiB

// appendTries are made before the caller learns that the store is in trouble, with
// pauses between them that double from appendPause.
const (
	appendTries = 5
	appendPause = 100 * time.Millisecond
)

// NewChain returns the chain of log in the staging bucket.
func NewChain(store objstore.Store, log Log) *Chain {
	return &Chain{store: store, log: log}
}

// Log returns the log that the chain is of.
func (c *Chain) Log() Log { return c.log }

// EntryKey is where entry seq lies in the staging bucket. Numbers count down,
// so that a listing of one key finds the head.
func EntryKey(l Log, seq int64) string {
	return fmt.Sprintf("%s%019d.json", entryPrefix(l), math.MaxInt64-seq)
}

func entryPrefix(l Log) string { return "ledger/" + l.String() + "/" }

// Head returns the newest entry, or ErrEmpty. It may be stale if the store's
// listings are: then the next Append is lost, nothing else.
func (c *Chain) Head(ctx context.Context) (*Entry, error) {
	seq, err := c.HeadSeq(ctx)
	if err != nil {
		return nil, err
	}
	return c.Entry(ctx, seq)
}

// HeadSeq returns the number of the newest entry, or ErrEmpty, with one request
// if there are no stray objects or folders before it.
func (c *Chain) HeadSeq(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for after := ""; ; {
		infos, err := c.store.List(ctx, entryPrefix(c.log), after, 1)
		if err != nil {
			return 0, fmt.Errorf("find head of ledger %s: %w", c.log, err)
		}
		if len(infos) == 0 {
			return 0, fmt.Errorf("find head of ledger %s: %w", c.log, ErrEmpty)
		}
		if _, seq, ok := ParseEntryKey(infos[0].Key); ok {
			return seq, nil
		}
		after = infos[0].Key // a stray object
		if folder, _, ok := strings.Cut(strings.TrimPrefix(after, entryPrefix(c.log)), "/"); ok {
			after = past(entryPrefix(c.log) + folder)
		}
	}
}

// ParseEntryKey is the inverse of EntryKey; ok is false for any key that it
// does not give.
func ParseEntryKey(key string) (l Log, seq int64, ok bool) {
	part := strings.Split(key, "/")
	if len(part) != 5 || part[1] == "" || part[2] == "" {
		return Log{}, 0, false
	}
	p, err1 := strconv.Atoi(part[3])
	n, err2 := strconv.ParseInt(strings.TrimSuffix(part[4], ".json"), 10, 64)
	l, seq = Log{Topic: part[1], Incarnation: part[2], Partition: p}, math.MaxInt64-n
	return l, seq, err1 == nil && err2 == nil && p >= 0 && n >= 0 && EntryKey(l, seq) == key
}

// Entry returns entry seq, or ErrNotFound. Entries never change: it may be
// cached for ever.
func (c *Chain) Entry(ctx context.Context, seq int64) (*Entry, error) {
	b, err := objstore.Read(ctx, c.store, EntryKey(c.log, seq), maxEntry)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, fmt.Errorf("read entry %d of ledger %s: %w", seq, c.log, ErrNotFound)
	}
	if err != nil {
		return nil, fmt.Errorf("read entry %d of ledger %s: %w", seq, c.log, err)
	}
	e, err := Decode(b)
	if err != nil {
		return nil, fmt.Errorf("read entry %d of ledger %s: %w", seq, c.log, err)
	}
	if e.Seq != seq || e.Log() != c.log {
		return nil, fmt.Errorf("read entry %d of ledger %s: %w: it says that it is entry %d of %s", seq, c.log, ErrCorrupt, e.Seq, e.Log())
	}
	return e, nil
}

// Append writes e as the entry after its predecessor and returns nil if it,
// and no other, is now entry e.Seq. It returns ErrLost if another entry is.
//
// Any other error leaves the outcome open: the entry may be there, now or
// later. The caller then calls Append again with the very same entry until it
// is resolved, or abandons the partition; it never changes the entry.
//
// Invariant: I1, I5. The store answers 412 also for our own PUT if its first
// answer was lost, so what is stored is read back and its attempt compared.
func (c *Chain) Append(ctx context.Context, e *Entry) error {
	if e.Log() != c.log {
		return fmt.Errorf("append entry %d to ledger %s: it belongs to %s", e.Seq, c.log, e.Log())
	}
	body, err := e.Encode()
	if err != nil {
		return err
	}
	wait := appendPause
	for try := 1; ; try++ {
		err := c.put(ctx, e.Seq, body)
		var rerr error
		switch {
		case err == nil:
			return nil
		case ablation.On(ablation.LostTakenAsWon) && errors.Is(err, objstore.ErrExists):
			return nil
		case errors.Is(err, objstore.ErrExists), errors.Is(err, objstore.ErrConflict), errors.Is(err, objstore.ErrUnavailable):
			var there *Entry
			there, rerr = c.Entry(ctx, e.Seq)
			switch {
			case rerr == nil && there.Attempt == e.Attempt && !ablation.On(ablation.WonTakenAsLost):
				return nil
			case rerr == nil:
				return fmt.Errorf("append entry %d to ledger %s: %w (%s)", e.Seq, c.log, ErrLost, there.Owner)
			case errors.Is(rerr, ErrCorrupt):
				return rerr
			}
		default:
			return fmt.Errorf("append entry %d to ledger %s: %w", e.Seq, c.log, err)
		}
		if try == appendTries {
			return fmt.Errorf("append entry %d to ledger %s, its outcome is open: %w: %w", e.Seq, c.log, err, rerr)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("append entry %d to ledger %s: %w: %w", e.Seq, c.log, ctx.Err(), err)
		case <-time.After(wait):
		}
		wait *= 2
	}
}

func (c *Chain) put(ctx context.Context, seq int64, body []byte) error {
	_, err := objstore.PutSteadily(ctx, c.store, requestTimeout, EntryKey(c.log, seq), bytes.NewReader(body), objstore.PutOptions{IfAbsent: !ablation.On(ablation.LedgerOverwrites), ContentType: "application/json"})
	return err
}
