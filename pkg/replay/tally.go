package replay

import (
	"cmp"
	"slices"

	"github.com/sealift/sealift/pkg/ledger"
)

// Tally is what an order amounts to. Its sums count copies, which are pairs of a file and a
// destination; Files counts each file once.
type Tally struct {
	Files   int64 `json:"files"`
	Copies  int64 `json:"copies"`
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // compressed
	// Missing files have no staged object, or a damaged one, or the order forbids using it. Those
	// of them that are Lost cannot be obtained from Kafka either, and no former run of the order
	// has built them.
	Missing  int64 `json:"missing"`
	Lost     int64 `json:"lost"`
	Enqueued int64 `json:"enqueued"` // copies
	Done     int64 `json:"done"`     // copies that were delivered before this run
	Failed   int64 `json:"failed"`   // copies that cannot be delivered because the file cannot be obtained
	Rows     []Row `json:"rows"`     // by source and destination
	// Refused copies are not made: the catalog sends the source there, but the ledger owes the file
	// to another workspace.
	Refused []Refusal `json:"refused,omitempty"`
	// Unowed files are left out of an order that names no destination, because they are owed to
	// nobody. Only Count counts them.
	Unowed int64 `json:"owed_to_nobody,omitempty"`
}

// Refusal counts refused copies of one source to one destination.
type Refusal struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Owed        string `json:"owed"` // where the files are owed; the first if there are several
	Copies      int64  `json:"copies"`
}

// Row is the part of a tally for one source and destination.
type Row struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Files       int64  `json:"files"`
	Records     int64  `json:"records"`
	Bytes       int64  `json:"bytes"`
	Missing     int64  `json:"missing"`
	Lost        int64  `json:"lost"`
}

// presence is where a file's bytes are.
type presence int

const (
	staged presence = iota
	inKafka
	lost
)

func (t *Tally) addFile(f *ledger.File, destinations []string, at presence) {
	count := func(files, missing, gone *int64) {
		*files++
		if at != staged {
			*missing++
		}
		if at == lost {
			*gone++
		}
	}
	count(&t.Files, &t.Missing, &t.Lost)
	for _, d := range destinations {
		t.Copies++
		t.Records += f.Records
		t.Bytes += f.GzipBytes
		i, known := slices.BinarySearchFunc(t.Rows, Row{Source: f.Source, Destination: d}, func(a, b Row) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination))
		})
		if !known {
			t.Rows = slices.Insert(t.Rows, i, Row{Source: f.Source, Destination: d})
		}
		row := &t.Rows[i]
		row.Records += f.Records
		row.Bytes += f.GzipBytes
		count(&row.Files, &row.Missing, &row.Lost)
	}
}

func (t *Tally) addRefusals(refused []Refusal) {
	for _, r := range refused {
		i, known := slices.BinarySearchFunc(t.Refused, r, func(a, b Refusal) int {
			return cmp.Or(cmp.Compare(a.Source, b.Source), cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Owed, b.Owed))
		})
		if !known {
			t.Refused = slices.Insert(t.Refused, i, Refusal{Source: r.Source, Destination: r.Destination, Owed: r.Owed})
		}
		t.Refused[i].Copies += r.Copies
	}
}
