package auditor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

const hintPrefix = "audit/"

// hint is what an audit notes for the next one, so that it need not walk the whole chain. It is
// only a hint: losing it costs work. Deleting depends on the ledger and the receipts alone, and so
// does enqueuing, except that the hint stands for those receipts of an entry that are in Seen and
// have not changed.
//
// It is a single object, so it is consistent whoever wrote it and when: what Accounts counts as
// closed up to Through stays closed forever.
type hint struct {
	Version int `json:"version"`
	// Through is the last entry that needs no visit, except for those in Open; -1: none.
	Through int64 `json:"through"`
	// Attempt is the attempt id of entry Through. It reveals that the ledger of this name is
	// another one, as after a restore.
	Attempt string `json:"attempt,omitempty"`
	// Open are entries up to Through that have to be visited again: a receipt was missing, or their
	// staged files were still to be kept. Sorted.
	Open []int64 `json:"open,omitempty"`
	// Collected is the last entry whose staged files were deleted, except for those in Open; -1:
	// none.
	Collected int64 `json:"collected"`
	// Swept says, for entries in Open up to Collected, what was deleted of them: the staged objects
	// whose last receipt was stored by that time, unix ms. An entry that is not listed has lost
	// none.
	Swept map[int64]int64 `json:"swept,omitempty"`
	// Seen says, for entries in Open, what their last visit read. Entries that are not in it have to
	// be read again.
	Seen map[int64]seen `json:"seen,omitempty"`
	// Next is where the next audit continues to visit idle entries (see splitIdle).
	Next int64 `json:"next,omitempty"`
	// Orphans is when the last search for orphans began, in unix ms.
	Orphans int64 `json:"orphans"`
	// Blind is when jobs for what was already open were last enqueued without Redis, which would
	// otherwise tell what is waiting; in unix ms.
	Blind int64 `json:"blind,omitempty"`
	// Accounts is what the entries up to Through owe, by destination.
	Accounts accounts `json:"accounts,omitempty"`
}

// seen is what a visit noted after it had read all receipts of an entry. While the same receipts are
// listed, the entry owes what Accounts says, because neither it nor they change.
type seen struct {
	Listing string `json:"listing"` // digest of what was listed of the receipts
	// Kept is when the first of the closed staged objects that were still to be deleted was closed,
	// unix ms; 0: there was none.
	Kept int64 `json:"kept,omitempty"`
}

const hintVersion = 2 // 1 had no accounts

// maxOpen bounds Open: beyond it, Through stays where it is.
const maxOpen = 100_000

// maxDebts bounds the open files in Accounts in the same way. Each takes some 45 bytes.
const maxDebts = 500_000

// maxHint is larger than a hint with that many of both and 100,000 destinations.
const maxHint = 128 << 20 // 128 MiB

func emptyHint() hint {
	return hint{Version: hintVersion, Through: -1, Collected: -1, Accounts: accounts{}}
}

func hintKey(l ledger.Log) string { return hintPrefix + l.String() + ".json" }

// loadHint returns the hint of a chain, or an empty one if there is no usable one.
func loadHint(ctx context.Context, staging objstore.Store, l ledger.Log) (hint, error) {
	b, err := objstore.Read(ctx, staging, hintKey(l), maxHint)
	if errors.Is(err, objstore.ErrNotFound) {
		return emptyHint(), nil
	}
	if err != nil {
		return emptyHint(), err
	}
	return decodeHint(b), nil
}

// decodeHint reads what store wrote; if that makes no sense, it returns an empty hint.
func decodeHint(b []byte) hint {
	var h hint
	if json.Unmarshal(b, &h) != nil || h.Version != hintVersion || !h.valid() {
		return emptyHint()
	}
	if h.Accounts == nil {
		h.Accounts = accounts{}
	}
	return h
}

func (h hint) isOpen(seq int64) bool {
	_, is := slices.BinarySearch(h.Open, seq)
	return is
}

// setSwept records that of an entry in Open everything was deleted whose last receipt was stored by
// that time, unix ms.
func (h *hint) setSwept(seq, until int64) {
	if h.Swept == nil {
		h.Swept = map[int64]int64{}
	}
	h.Swept[seq] = until
}

// setSeen records what a visit noted about an entry; nil: it has to be read again.
func (h *hint) setSeen(seq int64, s *seen) {
	if s == nil {
		delete(h.Seen, seq)
		return
	}
	if h.Seen == nil {
		h.Seen = map[int64]seen{}
	}
	h.Seen[seq] = *s
}

// restart returns the hint for an audit that visits everything again. Collected is kept, because
// what was collected is gone.
func (h hint) restart() hint {
	h.Through, h.Attempt, h.Open, h.Seen, h.Accounts = -1, "", nil, nil, accounts{}
	return h
}

func (h hint) valid() bool {
	within := len(h.Open) == 0 || h.Open[0] >= 0 && h.Open[len(h.Open)-1] <= h.Through
	for seq := range h.Swept {
		if !h.isOpen(seq) || seq > h.Collected {
			return false
		}
	}
	for seq := range h.Seen {
		if !h.isOpen(seq) {
			return false
		}
	}
	return h.Through >= -1 && h.Collected >= -1 && h.Collected <= h.Through && slices.IsSorted(h.Open) && within &&
		(h.Through >= 0 || len(h.Accounts) == 0) && h.Accounts.valid(h)
}

// consistent returns the hint with only what agrees with Through and Open, so that it can be stored
// while an audit is still rebuilding those.
func (h hint) consistent() hint {
	h.Collected = min(h.Collected, h.Through)
	h.Swept = maps.Clone(h.Swept)
	maps.DeleteFunc(h.Swept, func(seq, _ int64) bool { return !h.isOpen(seq) || seq > h.Collected })
	return h
}

// belongsTo reports whether the hint belongs to that chain and is not ahead of its head.
func (h hint) belongsTo(ctx context.Context, chain *ledger.Chain, head int64) (bool, error) {
	if h.Through < 0 || h.Through > head {
		return h.Through < 0, nil
	}
	e, err := chain.Entry(ctx, h.Through)
	if err != nil {
		return false, err
	}
	return e.Attempt == h.Attempt, nil
}

// currentHint returns what the last audit of a chain noted, and the number of the chain's head. The
// hint is empty if there is none that belongs to the chain. The error may be ledger.ErrEmpty.
func currentHint(ctx context.Context, staging objstore.Store, chain *ledger.Chain) (h hint, head int64, err error) {
	if h, err = loadHint(ctx, staging, chain.Log()); err != nil {
		return h, 0, err
	}
	if head, err = chain.HeadSeq(ctx); err != nil { // read after the hint, which cannot be ahead of it
		return h, 0, err
	}
	is, err := h.belongsTo(ctx, chain, head)
	if !is {
		h = emptyHint()
	}
	return h, head, err
}

func (h hint) store(ctx context.Context, staging objstore.Store, l ledger.Log) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode audit hint: %w", err)
	}
	_, err = staging.Put(ctx, hintKey(l), bytes.NewReader(append(b, '\n')), objstore.PutOptions{ContentType: "application/json"})
	return err
}

// orphansDue reports whether it is time to search for orphans again: daily, and if the last search
// was recorded by a clock that was ahead.
func (h hint) orphansDue(now time.Time) bool {
	since := now.Sub(time.UnixMilli(h.Orphans))
	return since < 0 || since >= 24*time.Hour
}

// withoutAccounts returns a copy of the hint without its accounts.
func (h hint) withoutAccounts() hint {
	h.Open, h.Swept, h.Seen, h.Accounts = slices.Clone(h.Open), maps.Clone(h.Swept), maps.Clone(h.Seen), nil
	return h
}

// equal compares everything but the accounts.
func (h hint) equal(other hint) bool {
	same := slices.Equal(h.Open, other.Open) && maps.Equal(h.Swept, other.Swept) && maps.Equal(h.Seen, other.Seen) && h.Next == other.Next && h.Attempt == other.Attempt
	return same && h.Through == other.Through && h.Collected == other.Collected && h.Orphans == other.Orphans && h.Blind == other.Blind
}
