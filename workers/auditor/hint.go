package auditor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

const hintPrefix = "audit/"

// hint is what an audit notes for the next one, so that it need not walk the
// whole chain. It is only a hint: losing it costs work, and whatever is
// deleted or enqueued rests on the ledger and the receipts alone.
type hint struct {
	Version int `json:"version"`
	// Through is the last entry that needs no visit, but for those in Open;
	// -1: none.
	Through int64 `json:"through"`
	// Open are entries up to Through that need another visit: a receipt is
	// missing, or their staged files were still to be kept. Sorted.
	Open []int64 `json:"open,omitempty"`
	// Collected is the last entry whose staged files were deleted, but for
	// those in Open; -1: none.
	Collected int64 `json:"collected"`
	// Orphans is when orphans were last looked for, in unix ms.
	Orphans int64 `json:"orphans"`
	// Blind is when jobs for what was open already were last enqueued without
	// Redis, which else says what waits, in unix ms.
	Blind int64 `json:"blind,omitempty"`
}

const hintVersion = 1

// maxOpen bounds Open: Through stays behind rather than pass more of them.
const maxOpen = 100_000

// maxHint is more than a hint with maxOpen entries has.
const maxHint = 4 << 20 // 4 MiB

func noHint() hint { return hint{Version: hintVersion, Through: -1, Collected: -1} }

func hintKey(l ledger.Log) string { return hintPrefix + l.String() + ".json" }

// loadHint returns the hint of a chain, or none if there is no usable one.
func loadHint(ctx context.Context, staging objstore.Store, l ledger.Log) (hint, error) {
	b, err := objstore.Read(ctx, staging, hintKey(l), maxHint)
	if errors.Is(err, objstore.ErrNotFound) {
		return noHint(), nil
	}
	if err != nil {
		return noHint(), err
	}
	return decodeHint(b), nil
}

// decodeHint reads what store wrote; what makes no sense is no hint.
func decodeHint(b []byte) hint {
	var h hint
	if json.Unmarshal(b, &h) != nil || h.Version != hintVersion || !h.valid() {
		return noHint()
	}
	return h
}

func (h hint) valid() bool {
	within := len(h.Open) == 0 || h.Open[0] >= 0 && h.Open[len(h.Open)-1] <= h.Through
	return h.Through >= -1 && h.Collected >= -1 && h.Collected <= h.Through && slices.IsSorted(h.Open) && within
}

func (h hint) store(ctx context.Context, staging objstore.Store, l ledger.Log) error {
	b, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("encode audit hint: %w", err)
	}
	_, err = staging.Put(ctx, hintKey(l), bytes.NewReader(append(b, '\n')), objstore.PutOptions{ContentType: "application/json"})
	return err
}

// orphansDue reports whether it is time to look for orphans again: daily.
func (h hint) orphansDue(now time.Time) bool {
	return now.Sub(time.UnixMilli(h.Orphans)) >= 24*time.Hour
}

func (h hint) clone() hint {
	h.Open = slices.Clone(h.Open)
	return h
}

func (h hint) equal(other hint) bool {
	same := slices.Equal(h.Open, other.Open)
	return same && h.Through == other.Through && h.Collected == other.Collected && h.Orphans == other.Orphans && h.Blind == other.Blind
}
