package plan

import "github.com/sealift/sealift/pkg/delivery"

// listReceiptsFrom is how many deliveries an entry has to owe for a copier to
// list its receipts.
const listReceiptsFrom = 16

// spanBytes is how much of a pack a copier reads at once.
const spanBytes = 256 << 10 // 256 KiB

// Requests are numbers of requests by operation and what they are about, named as
// in Run.Requests.
type Requests map[string]float64

// Packs are the objects that so many small files, of so many bytes compressed,
// are staged in: each entry's in packs of its own.
func Packs(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/delivery.PackBytes)))
}

// Spans are the stretches of those packs that a copier reads with a request each.
func Spans(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/spanBytes)))
}

// Sealed counts the requests that make so many files, owed to copies
// destinations each, in so many staged objects and ledger entries, of which
// claims only took a partition over. Small is how many of the files are in packs,
// spans in how many stretches. Copiers is how many read an entry that its jobs
// come from.
//
// An appender puts the staged object and the entry, and lists and reads the end
// of a chain that it takes over; a copier reads the entry once, and a stretch of
// small files, and for each delivery gets another staged file, puts the object, and puts the receipt. For
// receipts it looks one by one, or lists them if the entry owes many.
func Sealed(files, copies, small, spans, staged, entries, claims, copiers float64) Requests {
	deliveries := files * copies
	looks, looked := "head receipt", deliveries
	if deliveries >= listReceiptsFrom*(entries-claims) {
		looks, looked = "list receipt", (entries-claims)*copiers
	}
	return Requests{
		"put staged":  staged,
		"put entry":   entries,
		"get entry":   (entries-claims)*copiers + claims,
		"list entry":  claims,
		looks:         looked,
		"get staged":  (files-small)*copies + min(small*copies, spans*copiers),
		"put object":  deliveries,
		"put receipt": deliveries,
	}
}

// Total returns the number of all.
func (r Requests) Total() (sum float64) {
	for _, n := range r {
		sum += n
	}
	return sum
}

// scale returns r, n times.
func (r Requests) scale(n float64) Requests {
	out := Requests{}
	for kind, k := range r {
		out[kind] = n * k
	}
	return out
}
