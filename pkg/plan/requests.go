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

// Volume is what requests are counted for.
type Volume struct {
	Files   float64
	Copies  float64 // destinations that each file is owed to
	Small   float64 // files that are in packs
	Spans   float64 // sections of these packs, see SpanCount
	Staged  float64 // staged objects of all files
	Entries float64 // of the ledger
	Claims  float64 // entries without files that began a partition's ledger
	Copiers float64 // that read an entry for its jobs
}

// CountRequests counts the requests for a volume.
//
// An appender puts the staged object and the entry, and lists a partition's ledger before it begins
// it. A copier reads an entry once, and each section of small files; for each delivery of
// another file it reads the staged object. Then it puts the object and the receipt. If the entry
// owes few deliveries, each receipt is looked for and written by itself. If it owes many, a copier
// lists them once, and writes them in batches.
func CountRequests(v Volume) Requests {
	deliveries, entries := v.Files*v.Copies, v.Entries-v.Claims // entries that have files
	lookupKind, lookups, batches := "head receipt", deliveries, deliveries
	if deliveries >= delivery.BatchFrom*entries {
		lookupKind, lookups = "list receipt", entries*v.Copiers
		batches = min(deliveries, max(lookups, deliveries/receiptsPerBatch))
	}
	return Requests{
		"put staged":  v.Staged,
		"put entry":   v.Entries,
		"get entry":   entries * v.Copiers,
		"list entry":  v.Claims,
		lookupKind:    lookups,
		"get staged":  (v.Files-v.Small)*v.Copies + min(v.Small*v.Copies, v.Spans*v.Copiers),
		"put object":  deliveries,
		"put receipt": batches,
	}
}

// scale returns r multiplied by n.
func (r Requests) scale(n float64) Requests {
	out := Requests{}
	for kind, k := range r {
		out[kind] = n * k
	}
	return out
}
