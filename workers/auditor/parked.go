package auditor

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// parkedSet is the set of parked jobs. There may be a million, so a note is held as numbers and not
// as its key.
type parkedSet struct {
	mu    sync.Mutex                   // guards the notes' field open
	notes map[parkedGroup][]parkedNote // sorted
}

// parkedGroup is a destination and one of the chains that owe it files.
type parkedGroup struct {
	destination string
	log         ledger.Log
}

type parkedNote struct {
	seq     int64
	at      int64 // when it was stored, unix ms
	index   int
	open    bool // its debt was found open in this audit
	removed bool // its job was enqueued in this audit
}

func compareNotes(a, b parkedNote) int {
	return cmp.Or(cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index))
}

func (g parkedGroup) ref(n parkedNote) delivery.FileRef {
	return delivery.FileRef{Topic: g.log.Topic, Incarnation: g.log.Incarnation, Partition: g.log.Partition, Seq: n.seq, Index: n.index}
}

func newParkedSet() *parkedSet { return &parkedSet{notes: map[parkedGroup][]parkedNote{}} }

// listParked adds the parked jobs of a destination, or of all destinations for "". Keys of
// another form are left out: `sealift verify` reports them.
func (a *Auditor) listParked(ctx context.Context, p *parkedSet, destination string) error {
	for info, err := range objstore.All(ctx, a.deps.Staging, delivery.ParkedPrefix(destination)) {
		if err != nil {
			return err
		}
		if ref, dest, ok := delivery.ParseParkedKey(info.Key); ok {
			p.add(ref, dest, info.LastModified)
		}
	}
	return nil
}

// add adds a note. It is cheap if notes are added in the order of their keys.
func (p *parkedSet) add(ref delivery.FileRef, dest string, at time.Time) {
	group, n := parkedGroup{dest, ref.Log()}, parkedNote{seq: ref.Seq, index: ref.Index, at: at.UnixMilli()}
	notes := p.notes[group]
	i, found := slices.BinarySearchFunc(notes, n, compareNotes)
	if !found {
		p.notes[group] = slices.Insert(notes, i, n)
	}
}

func (p *parkedSet) get(ref delivery.FileRef, dest string) *parkedNote {
	notes := p.notes[parkedGroup{dest, ref.Log()}]
	i, found := slices.BinarySearchFunc(notes, parkedNote{seq: ref.Seq, index: ref.Index}, compareNotes)
	if !found || notes[i].removed {
		return nil
	}
	return &notes[i]
}

// has reports whether a debt is parked.
func (p *parkedSet) has(ref delivery.FileRef, dest string) bool { return p.get(ref, dest) != nil }

// markOpen records that a debt has no receipt, so that its note stays, and reports whether it is
// parked.
func (p *parkedSet) markOpen(ref delivery.FileRef, dest string) (parked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.get(ref, dest)
	if n != nil {
		n.open = true
	}
	return n != nil
}

// remove takes out a note that was deleted.
func (p *parkedSet) remove(ref delivery.FileRef, dest string) {
	if n := p.get(ref, dest); n != nil {
		n.removed = true
	}
}

// all returns the notes in the order of destinations, logs and files.
func (p *parkedSet) all() iter.Seq2[parkedGroup, parkedNote] {
	return func(yield func(parkedGroup, parkedNote) bool) {
		for _, group := range slices.SortedFunc(maps.Keys(p.notes), func(a, b parkedGroup) int {
			return cmp.Or(cmp.Compare(a.destination, b.destination), cmp.Compare(a.log.String(), b.log.String()))
		}) {
			for _, n := range p.notes[group] {
				if !n.removed && !yield(group, n) {
					return
				}
			}
		}
	}
}

// sweepParked deletes the parked jobs whose debts have been closed in the meantime, for example by
// a second job for the same debt. Only chains that were walked are considered: nothing is known
// about the debts of others, and asking for each would take too long. Whoever walks them does it.
func (a *Auditor) sweepParked(ctx context.Context, p *parkedSet, walked map[ledger.Log]bool) error {
	if a.cfg.DryRun {
		return nil
	}
	notes := map[ledger.EntryRef][]debt{} // perhaps closed: the receipts tell
	for group, n := range p.all() {
		if !n.open && walked[group.log] {
			file := group.ref(n)
			notes[file.Entry()] = append(notes[file.Entry()], debt{file, group.destination})
		}
	}
	entries := slices.Collect(maps.Keys(notes))
	closed := make([][]string, len(entries))
	errs := job.InParallel(len(entries), sweepAtOnce, func(i int) error {
		if ctx.Err() != nil {
			return nil // reported once, below
		}
		e := entries[i]
		receipts, err := receipt.ListOneByOne(ctx, a.deps.Staging, e.Log, e.Seq)
		for _, d := range notes[e] {
			if _, is := receipts[receipt.PairOf(d.file, d.destination)]; is {
				closed[i] = append(closed[i], delivery.ParkedKey(d.file, d.destination))
			}
		}
		return err
	})
	keys := slices.Concat(closed...)
	errs = append(errs, job.InParallel(len(keys), sweepAtOnce, func(i int) error {
		if ctx.Err() != nil {
			return nil
		}
		return a.deps.Staging.Delete(ctx, keys[i])
	})...)
	return errors.Join(append(errs, ctx.Err())...)
}
