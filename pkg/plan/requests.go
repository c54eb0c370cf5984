package plan

import "github.com/sealift/sealift/pkg/delivery"

// receiptsPerBatch is how many receipts of one entry a copier writes with a request, if the entry
// has batches. It wrote 10 to 24 on average when it delivered files of 16 entries in turns
// (scripts/bench-copy.sh), and writes more when it delivers one entry's after the other's.
const receiptsPerBatch = 10

// spanBytes is how much of a pack a copier reads at once.
const spanBytes = 256 << 10 // 256 KiB

// Requests are numbers of requests by operation and object, named as in Run.Requests.
type Requests map[string]float64

// PackCount returns the number of packs for small files with a total compressed size of bytes. Each
// entry has packs of its own.
func PackCount(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/delivery.PackBytes)))
}

// SpanCount returns the number of sections of those packs that a copier reads with one request
// each.
func SpanCount(files, bytes, entries float64) float64 {
	return min(files, entries*max(1, ceil(bytes/entries/spanBytes)))
}

// CountRequests counts the requests for files that are each owed to copies destinations, and are
// stored in staged objects and ledger entries; claims of the entries only took a partition over.
// small of the files are in packs, in spans sections. copiers is how many copiers read an entry for
// its jobs.
//
// An appender puts the staged object and the entry, and lists and reads the end of a chain that it
// takes over. A copier reads an entry once, and each section of small files; for each delivery of
// another file it reads the staged object. Then it puts the object and the receipt. If the entry
// owes few deliveries, each receipt is looked for and written by itself. If it owes many, a copier
// lists them once, and writes them in batches.
func CountRequests(files, copies, small, spans, staged, entries, claims, copiers float64) Requests {
	deliveries := files * copies
	lookupKind, lookups, batches := "head receipt", deliveries, deliveries
	if deliveries >= delivery.BatchFrom*(entries-claims) {
		lookupKind, lookups = "list receipt", (entries-claims)*copiers
		batches = BatchCount(deliveries, lookups)
	}
	return Requests{
		"put staged":  staged,
		"put entry":   entries,
		"get entry":   (entries-claims)*copiers + claims,
		"list entry":  claims,
		lookupKind:    lookups,
		"get staged":  (files-small)*copies + min(small*copies, spans*copiers),
		"put object":  deliveries,
		"put receipt": batches,
	}
}

// BatchCount returns the number of requests with which receipts are written, for entries that each
// are the work of some copiers; parts is the number of entries times that of copiers.
func BatchCount(deliveries, parts float64) float64 {
	return min(deliveries, max(parts, deliveries/receiptsPerBatch))
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
