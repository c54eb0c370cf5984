package verify

import "fmt"

// Kind is a class of problems.
type Kind string

// Kinds of problems; each belongs to one invariant of the protocol.
const (
	ChainGap      Kind = "chain_gap"      // I1: entries are missing in a chain
	ChainForeign  Kind = "chain_foreign"  // I1: an object among the entries that is not one
	EntryCorrupt  Kind = "entry_corrupt"  // I1: an entry that cannot be read, or belongs elsewhere
	EntryOrder    Kind = "entry_order"    // I1: an entry that contradicts the one before it
	Watermark     Kind = "watermark"      // I2: it decreases
	Overlap       Kind = "overlap"        // I2: a record is in two files
	SealedThrough Kind = "sealed_through" // I2: the filter disagrees with the files
	Unaccounted   Kind = "unaccounted"    // I2: offsets in no file, and not skipped
	Overcounted   Kind = "overcounted"    // I2: more records than offsets
	FileNames     Kind = "file_names"     // I4: a file's staged key, hour or debts are wrong
	StagedMissing Kind = "staged_missing" // I3, I4: owed or to be kept, but not there
	StagedSize    Kind = "staged_size"    // I3, I4: not the size in the ledger
	StagedContent Kind = "staged_content" // I3, I4: not the bytes in the ledger
	Debt          Kind = "debt"           // I10: owed for long, neither delivered nor parked
	NotOwed       Kind = "not_owed"       // I7: delivered, parked or receipted without being owed
	BadReceipt    Kind = "receipt"        // I9: a receipt that is not true
	BadOrder      Kind = "order"          // I7: the order of a replay cannot be read
	BadParked     Kind = "parked"         // I10: a parked job that cannot be redriven
	BucketMissing Kind = "bucket_missing" // I9: receipts say delivered, but their bucket does not exist
	ObjectMissing Kind = "object_missing" // I9: a receipt says delivered, but the object is not in the bucket
	ObjectChanged Kind = "object_changed" // I8: not the object that was put
	ObjectForeign Kind = "object_foreign" // I8: below segment-logs/ of our sources, but in no ledger
)

// kindDetails has, for each kind, the invariant that it violates and what to do. A fix that ends in
// a colon is for Report.addFixableProblem, which appends the command.
var kindDetails = map[Kind]struct{ invariant, fix string }{
	ChainGap:      {"I1", "restore the ledger object from the staging bucket's versions"},
	ChainForeign:  {"I1", "find out who wrote it, and delete it: nothing but entries belongs there"},
	EntryCorrupt:  {"I1", "restore the ledger object from the staging bucket's versions; if a later release wrote it, verify with that one"},
	EntryOrder:    {"I1", "restore the ledger object from the staging bucket's versions"},
	Watermark:     {"I2", "restore the ledger object from the staging bucket's versions; records may have been delivered twice"},
	Overlap:       {"I2", "compare both objects: records in both were delivered twice; keep the ledger as it is and report it"},
	SealedThrough: {"I2", "restore the ledger object from the staging bucket's versions, before the partition is read again"},
	Unaccounted:   {"I2", "with transactional producers or a compacted topic Kafka has such gaps: --allow-gaps; else records are in no file: save them from the topic while it holds them, and report it"},
	Overcounted:   {"I2", "records were counted twice: compare the files of these entries with `sealift verify --deep`"},
	FileNames:     {"I4", "restore the ledger object from the staging bucket's versions"},
	StagedMissing: {"I4", "restore it from the staging bucket's versions, or deliver it from Kafka: "},
	StagedSize:    {"I4", "restore it from the staging bucket's versions, or deliver it from Kafka: "},
	StagedContent: {"I4", "restore it from the staging bucket's versions, or deliver it from Kafka: "},
	Debt:          {"I10", "if it was parked and redriven within copier.park_after, it is being retried and nothing is wrong; else check that copiers run; `sealift audit` enqueues it again"},
	NotOwed:       {"I7", "find out who wrote it: no ledger entry and no replay order owes it"},
	BadReceipt:    {"I9", "restore it from the staging bucket's versions, or, while its file is staged, delete it and run `sealift audit --full`: what was in it is then delivered again, which is harmless; if a later release wrote it, verify with that one"},
	BadOrder:      {"I7", "restore it from the staging bucket's versions: what it delivered rests on it; if a later release wrote it, verify with that one"},
	BadParked:     {"I10", "delete it: the auditor enqueues what is owed"},
	BucketMissing: {"I9", "if its owner deleted it for good, remove the destination from the catalog; else have it created again, and put back what was in it: "},
	ObjectMissing: {"I9", "unless the bucket's owner moved or deleted it, put it back: "},
	ObjectChanged: {"I8", "unless the bucket's owner rewrote it, for instance to erase a person's events, put the original back: "},
	ObjectForeign: {"I8", "not delivered by this ledger: ask the bucket's owner who else writes below segment-logs/"},
}

// Problem is one thing that is wrong.
type Problem struct {
	Kind      Kind   `json:"kind"`
	Invariant string `json:"invariant"`
	// Where is a place: "{log} entry 5 file 2", or a bucket and key.
	Where string `json:"where"`
	What  string `json:"what"`
	Fix   string `json:"fix"`
}

func (p Problem) String() string {
	return fmt.Sprintf("%s %s: %s: %s", p.Invariant, p.Kind, p.Where, p.What)
}
