package auditor

import (
	"cmp"
	"maps"
	"slices"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// Sum counts files and what is in them.
type Sum struct {
	Files   int64 `json:"files"`
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // compressed
}

func (s *Sum) add(o Sum) {
	s.Files, s.Records, s.Bytes = s.Files+o.Files, s.Records+o.Records, s.Bytes+o.Bytes
}

// accounts is what a chain owes up to an entry, by destination.
type accounts map[string]*account

// account is what a chain owes to one destination. What is closed is kept as sums, because receipts
// and entries never change; what is open is kept file by file. If a file is given up while a copier
// that lost its lease delivers it, it may count as given up until everything is audited again.
type account struct {
	Delivered Sum        `json:"delivered"`
	GivenUp   Sum        `json:"given_up,omitzero"` // closed without being delivered
	Newest    int64      `json:"newest,omitempty"`  // the latest time of receipt of a delivered file's first record, unix ms
	Last      int64      `json:"last,omitempty"`    // when the last file was delivered, by the store's clock, unix ms
	Debts     []owedFile `json:"debts,omitempty"`   // sorted
}

// owedFile is a file without a receipt: its entry and index, when its first record was received,
// its records and bytes. It is an array because there may be many.
type owedFile [5]int64

func newOwedFile(seq int64, index int, f *ledger.File) owedFile {
	return owedFile{seq, int64(index), f.Received, f.Records, f.GzipBytes}
}

func (o owedFile) seq() int64      { return o[0] }
func (o owedFile) index() int      { return int(o[1]) }
func (o owedFile) received() int64 { return o[2] }
func (o owedFile) sum() Sum        { return Sum{Files: 1, Records: o[3], Bytes: o[4]} }

func (o owedFile) ref(l ledger.Log) delivery.FileRef {
	return delivery.FileRef{Topic: l.Topic, Incarnation: l.Incarnation, Partition: l.Partition, Seq: o.seq(), Index: o.index()}
}

func compareOwed(a, b owedFile) int {
	return cmp.Or(cmp.Compare(a.seq(), b.seq()), cmp.Compare(a.index(), b.index()))
}

// pair is an owed pair of a file and a destination, with its receipt if there is one.
type pair struct {
	destination string
	owedFile
	receipt *receiptInfo // nil: none
}

// addNew counts a pair of an entry that is newer than all entries counted before.
func (a accounts) addNew(p pair) {
	d := a.forDestination(p.destination)
	if p.receipt == nil {
		d.Debts = append(d.Debts, p.owedFile)
		return
	}
	d.close(p.owedFile, *p.receipt)
}

// update counts a pair again that was counted before. It reports whether that changed anything, and
// whether the two agree: what was closed has to stay closed.
func (a accounts) update(p pair) (changed, ok bool) {
	d := a.forDestination(p.destination)
	i, open := slices.BinarySearchFunc(d.Debts, p.owedFile, compareOwed)
	if p.receipt == nil || !open {
		return false, open || p.receipt != nil
	}
	d.Debts = slices.Delete(d.Debts, i, i+1)
	d.close(p.owedFile, *p.receipt)
	return true, true
}

func (a accounts) forDestination(destination string) *account {
	d := a[destination]
	if d == nil {
		d = &account{}
		a[destination] = d
	}
	return d
}

func (d *account) close(o owedFile, c receiptInfo) {
	if c.outcome != delivery.Delivered {
		d.GivenUp.add(o.sum())
		return
	}
	d.Delivered.add(o.sum())
	// The clock of a collector may have been ahead: nothing is received after it is delivered.
	d.Newest, d.Last = max(d.Newest, min(o.received(), c.at)), max(d.Last, c.at)
}

// openPairs returns the open debts by entry, always in the same order.
func (a accounts) openPairs() map[int64][]pair {
	open := map[int64][]pair{}
	for _, id := range slices.Sorted(maps.Keys(a)) {
		for _, o := range a[id].Debts {
			open[o.seq()] = append(open[o.seq()], pair{destination: id, owedFile: o})
		}
	}
	return open
}

// openDebts returns the number of open files.
func (a accounts) openDebts() (n int) {
	for _, d := range a {
		n += len(d.Debts)
	}
	return n
}

// valid reports whether these can be the accounts of hint h.
func (a accounts) valid(h hint) bool {
	for _, d := range a {
		if d == nil || min(d.Delivered.Files, d.Delivered.Records, d.Delivered.Bytes, d.GivenUp.Files, d.GivenUp.Records, d.GivenUp.Bytes) < 0 ||
			!slices.IsSortedFunc(d.Debts, compareOwed) {
			return false
		}
		for _, o := range d.Debts {
			if !h.isOpen(o.seq()) || o.index() < 0 {
				return false
			}
		}
	}
	return true
}
