package rotator

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// sealEntry returns the entry that records the batch after base. Attempt is left to the caller.
//
// Invariant: I2. The filter has the highest offset that is in a file for every stream of which
// records may be read again.
func sealEntry(base *ledger.Entry, files []ledger.File, batch *segment.Batch, tenure ledger.Tenure) *ledger.Entry {
	e := entryAfter(base, ledger.KindSeal, tenure)
	e.Files = files
	e.LowWatermark = batch.LowWatermark
	e.WrittenAt = time.Now().UnixMilli()
	e.CompleteThrough = batch.CompleteThrough
	if base.CompleteThrough <= e.WrittenAt { // else base's clock was ahead
		e.CompleteThrough = max(base.CompleteThrough, batch.CompleteThrough)
	}
	if len(batch.Skipped) > 0 {
		e.Skipped = batch.Skipped
	}
	through := base.Filter()
	for i := range files {
		s := files[i].Stream()
		through[s] = max(through[s], files[i].Last)
	}
	e.SetFilter(through)
	return e
}

// errIncoherent says that an entry would contradict the one before it. Its author's state is wrong:
// the partition is read again from the ledger.
var errIncoherent = errors.New("ledger entry contradicts the one before it")

// checkCoherent checks an entry against its predecessor, whatever its author believes: this is the
// last moment at which a duplicate can be prevented.
//
// Invariant: I2.
func checkCoherent(base, e *ledger.Entry) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("entry %d of ledger %s: %w: %s", e.Seq, e.Log(), errIncoherent, fmt.Sprintf(format, args...))
	}
	if e.LowWatermark < base.LowWatermark {
		return bad("watermark %d goes back from %d", e.LowWatermark, base.LowWatermark)
	}
	through := base.Filter()
	for i := range e.Files {
		f := &e.Files[i]
		if f.First < base.LowWatermark {
			return bad("file %d begins at offset %d, below watermark %d", i, f.First, base.LowWatermark)
		}
		if last, ok := through[f.Stream()]; ok && f.First <= last {
			return bad("file %d begins at offset %d, but its stream is in files up to %d", i, f.First, last)
		}
		through[f.Stream()] = f.Last
	}
	return nil
}

// entryAfter returns an entry after base that adds nothing yet.
func entryAfter(base *ledger.Entry, kind ledger.Kind, tenure ledger.Tenure) *ledger.Entry {
	return &ledger.Entry{
		Version: ledger.EntryVersion, Seq: base.Seq + 1, Kind: kind,
		Owner: tenure.Owner, Generation: tenure.Generation,
		Cluster: base.Cluster, Topic: base.Topic, Incarnation: base.Incarnation, Partition: base.Partition,
		Router: base.Router, RouterFrom: base.RouterFrom,
		Files:         []ledger.File{},
		LowWatermark:  base.LowWatermark,
		SealedThrough: base.SealedThrough, CompleteThrough: base.CompleteThrough,
		// The owner of base enqueues base's jobs before it writes the next entry; a taker-over
		// enqueues them before its claim.
		DispatchedThrough: base.Seq,
	}
}
