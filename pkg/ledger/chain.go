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
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/objstore"
)

// Errors of a chain.
var (
	// ErrEmpty says that the chain has no entry yet.
	ErrEmpty = errors.New("ledger chain is empty")
	// ErrNotFound says that there is no entry with that number.
	ErrNotFound = errors.New("no such ledger entry")
	// ErrLost says that another worker wrote the entry with that number. The caller's state of the
	// partition is void and must be loaded again.
	ErrLost = errors.New("ledger entry was written by another worker")
)

// Chain is the ledger of one partition. It is safe for concurrent use. Writers have to see to it
// that only one of them writes at a time; if they do not, it costs work, nothing else.
type Chain struct {
	store objstore.Store
	log   Log
}

// requestTimeout limits a listing, and how long a PUT may make no progress: an entry may have
// megabytes, and share the line with files that are being staged. A read continues as long as bytes
// arrive, see objstore.Read.
const requestTimeout = 30 * time.Second

// maxEntry is larger than any entry.
const maxEntry = 1 << 30 // 1 GiB

// maxAppendAttempts is how often Append tries, over a second or so, before it returns the store's
// error.
const maxAppendAttempts = 5

// NewChain returns the chain of log in the staging bucket.
func NewChain(store objstore.Store, log Log) *Chain {
	return &Chain{store: store, log: log}
}

// Log returns the log that the chain belongs to.
func (c *Chain) Log() Log { return c.log }

// EntryKey is the key of entry seq in the staging bucket. Numbers count down, so that listing a
// single key finds the head.
func EntryKey(l Log, seq int64) string {
	return fmt.Sprintf("%s%019d.json", entryPrefix(l), math.MaxInt64-seq)
}

func entryPrefix(l Log) string { return "ledger/" + l.String() + "/" }

// Head returns the newest entry, or ErrEmpty. It may be stale if the store's listings are stale.
// The only consequence is that the next Append is lost.
func (c *Chain) Head(ctx context.Context) (*Entry, error) {
	seq, err := c.HeadSeq(ctx)
	if err != nil {
		return nil, err
	}
	return c.Entry(ctx, seq)
}

// HeadSeq returns the number of the newest entry, or ErrEmpty. It takes one request, plus one for
// each stray object or folder that sorts first.
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
			after = afterFolder(entryPrefix(c.log) + folder)
		}
	}
}

// ParseEntryKey is the inverse of EntryKey; ok is false for any key that EntryKey does not return.
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

// Entry returns entry seq, or ErrNotFound. Entries never change, so they may be cached forever.
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

// Append writes e as the entry after its predecessor. It returns nil if e is now entry e.Seq, and
// ErrLost if another entry is.
//
// Any other error leaves the outcome open: the entry may exist, now or later. The caller must then
// call Append again with the very same entry until the outcome is known, or abandon the partition.
// It must never change the entry.
//
// Invariant: I1, I5. The store answers 412 also to our own PUT if its first answer was lost.
// Therefore the stored entry is read back and its attempt compared.
func (c *Chain) Append(ctx context.Context, e *Entry) error {
	if e.Log() != c.log {
		return fmt.Errorf("append entry %d to ledger %s: it belongs to %s", e.Seq, c.log, e.Log())
	}
	body, err := e.Encode()
	if err != nil {
		return err
	}
	backoff := jitter.Backoff{Min: 100 * time.Millisecond, Max: time.Second}
	for attempt := 1; ; attempt++ {
		err := c.put(ctx, e.Seq, body)
		var readErr error
		switch {
		case err == nil:
			return nil
		case ablation.On(ablation.LostTakenAsWon) && errors.Is(err, objstore.ErrExists):
			return nil
		case errors.Is(err, objstore.ErrExists), errors.Is(err, objstore.ErrConflict), errors.Is(err, objstore.ErrUnavailable):
			var stored *Entry
			stored, readErr = c.Entry(ctx, e.Seq)
			switch {
			case readErr == nil && stored.Attempt == e.Attempt && !ablation.On(ablation.WonTakenAsLost):
				return nil
			case readErr == nil:
				return fmt.Errorf("append entry %d to ledger %s: %w (%s)", e.Seq, c.log, ErrLost, stored.Owner)
			case errors.Is(readErr, ErrCorrupt):
				return readErr
			}
		default:
			return fmt.Errorf("append entry %d to ledger %s: %w", e.Seq, c.log, err)
		}
		if attempt == maxAppendAttempts {
			return fmt.Errorf("append entry %d to ledger %s, its outcome is open: %w: %w", e.Seq, c.log, err, readErr)
		}
		if ended := backoff.Wait(ctx); ended != nil {
			return fmt.Errorf("append entry %d to ledger %s: %w: %w", e.Seq, c.log, ended, err)
		}
	}
}

func (c *Chain) put(ctx context.Context, seq int64, body []byte) error {
	_, err := objstore.PutSteadily(ctx, c.store, requestTimeout, EntryKey(c.log, seq), bytes.NewReader(body), objstore.PutOptions{IfAbsent: !ablation.On(ablation.LedgerOverwrites), ContentType: "application/json"})
	return err
}
