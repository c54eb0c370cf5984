// Package ablation names bugs that can be planted into Sealift, one line each,
// where a layer of the protocol would be missing. It is for the simulation,
// which has to show that it finds them; what it does not find is healed by
// another layer, and the test says by which.
//
// It promises that a binary built without the tag "ablation" contains none of
// them: On is a constant false there, and what depends on it is left out by
// the compiler. It is not a switch for features.
package ablation

// Bug is a bug that can be planted.
type Bug int

// Of the ledger.
const (
	// LedgerOverwrites: entries are put without If-None-Match.
	LedgerOverwrites Bug = iota
	// LostTakenAsWon: a 412 on an entry is taken for one's own success.
	LostTakenAsWon
	// WonTakenAsLost: a 412 on one's own entry is taken for another's success.
	WonTakenAsLost
	// Incoherent: an entry is not held against the one before it.
	Incoherent
	// NoClaim: a partition is taken over without an entry that fences.
	NoClaim
	// NoRedispatch: a new owner does not enqueue what the former may not have.
	NoRedispatch
	// StagedByFirst: staged keys name the first offset, not the content.
	StagedByFirst

	// Of the appender.

	// NoFilter: what was sealed past the watermark is read as if it was not.
	NoFilter
	// ResumesAtCommitted: reading starts at Kafka's committed offset.
	ResumesAtCommitted
	// KeepsLostState: after a lost entry, what was read is kept on a new head.
	KeepsLostState
	// WatermarkIsPosition: the watermark passes files that are still open.
	WatermarkIsPosition
	// TrustsAnyFiles: local files are taken up whatever the head is by now.
	TrustsAnyFiles
	// FiltersUnfit: unfit lines below the filter are taken for a file's.
	FiltersUnfit
	// DropsFirstCopy: a record that is read again is its own duplicate.
	DropsFirstCopy

	// Of all roles.

	// KeepsFirstCatalog: what a catalog was changed to is not taken up.
	KeepsFirstCatalog

	// Of the copier.

	// ReceiptFirst: the receipt is written before the object is put.
	ReceiptFirst
	// AcksFirst: a job is acknowledged before anything was done about it.
	AcksFirst
	// KeyPerAttempt: every try puts its own key, and trusts the lease.
	KeyPerAttempt
	// JobIsAuthority: what the ledger owes is not looked up.
	JobIsAuthority
	// JoinsItsRequeue: a job shares the fate of a task that is being enqueued.
	JoinsItsRequeue

	// Of the auditor.

	// Blind: nothing is enqueued.
	Blind
	// DeletesUndelivered: staged files go by age, whatever receipts say.
	DeletesUndelivered
	// DeletesUncovered: staged files that no entry names go by age, whatever
	// the ledger covers, or the number of its entries.
	DeletesUncovered
	// DeletesByFile: a staged object goes when one of its files was delivered.
	DeletesByFile
)
