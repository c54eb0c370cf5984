package plan

import "github.com/sealift/sealift/pkg/delivery"

// listReceiptsFrom is how many deliveries an entry must owe for a copier to list its receipts.
const listReceiptsFrom = 16

// spanBytes is how much of a pack a copier reads at once.
const spanBytes = 256 << 10 // 256 KiB

// Requests are numbers of requests by operation and object, named as in Run.Requests.
type Requests map[string]float64

// Packs returns the number of packs for small files with a total compressed size of bytes. Each
// entry has packs of its own.
func Packs(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/delivery.PackBytes)))
}

// Spans returns the number of sections of those packs that a copier reads with one request each.
func Spans(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/spanBytes)))
}

// Sealed counts the requests for files that are each owed to copies destinations, and are stored in
// staged objects and ledger entries; claims of the entries only took a partition over. small of the
// files are in packs, in spans sections. copiers is how many copiers read an entry for its jobs.
//
// An appender puts the staged object and the entry, and lists and reads the end of a chain that it
// takes over. A copier reads an entry once, and each section of small files; for each delivery of
// another file it reads the staged object. Then it puts the object and the receipt. It looks for
// receipts one by one, or lists them if the entry owes many.
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

// Total returns the number of all requests.
func (r Requests) Total() (sum float64) {
	for _, n := range r {
		sum += n
	}
	return sum
}

// scale returns r multiplied by n.
func (r Requests) scale(n float64) Requests {
	out := Requests{}
	for kind, k := range r {
		out[kind] = n * k
	}
	return out
}
