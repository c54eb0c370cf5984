// Package ablation names bugs that can be planted into Sealift, one line of code each, where a
// layer of the protocol would be missing. It is for the simulation, which has to show that it finds
// them. Those that it does not find are made up for by another layer, and the test says by which.
//
// It promises that a binary built without the tag "ablation" contains none of them: On is a
// constant false there, and the compiler removes what depends on it. It is not a mechanism for
// feature flags.
package ablation

// Bug is a bug that can be planted.
type Bug int

// Bugs of the ledger.
const (
	// LedgerOverwrites: entries are put without If-None-Match.
	LedgerOverwrites Bug = iota
	// LostTakenAsWon: a 412 on an entry is taken for our own success.
	LostTakenAsWon
	// WonTakenAsLost: a 412 on our own entry is taken for another worker's success.
	WonTakenAsLost
	// Incoherent: an entry is not checked against the previous one.
	Incoherent
	// NoClaim: a partition is taken over without a fencing entry.
	NoClaim
	// NoRedispatch: a new owner does not enqueue what the previous one may not have.
	NoRedispatch
	// StagedByFirst: staged keys name the first offset, not the content.
	StagedByFirst

	// Bugs of the appender.

	// NoFilter: what was sealed past the watermark is filed again.
	NoFilter
	// ResumesAtCommitted: reading starts at Kafka's committed offset.
	ResumesAtCommitted
	// KeepsLostState: after a lost entry, what was read is kept on top of the new head.
	KeepsLostState
	// WatermarkIsPosition: the watermark passes files that are still open.
	WatermarkIsPosition
	// TrustsAnyFiles: local files are used whatever the head is by now.
	TrustsAnyFiles
	// FiltersUnfit: records that are no lines are counted as filed if they are below the filter.
	FiltersUnfit
	// DropsFirstCopy: a record that is read again is taken for a duplicate of itself.
	DropsFirstCopy

	// Bugs of all roles.

	// KeepsFirstCatalog: changes of the catalog are ignored.
	KeepsFirstCatalog

	// Bugs of the copier.

	// ReceiptFirst: the receipt is written before the object is put.
	ReceiptFirst
	// AcksFirst: a job is acknowledged before anything was done for it.
	AcksFirst
	// KeyPerAttempt: every attempt uses its own key, and relies on the lease.
	KeyPerAttempt
	// JobIsAuthority: whether the ledger owes the delivery is not checked.
	JobIsAuthority
	// JoinsItsRequeue: a job joins a task that is already being enqueued again.
	JoinsItsRequeue

	// Bugs of the auditor.

	// Blind: nothing is enqueued.
	Blind
	// DeletesUndelivered: staged files are deleted by age, whatever the receipts say.
	DeletesUndelivered
	// DeletesUncovered: staged files that no entry names are deleted by age, whatever the ledger
	// covers, or the number of its entries.
	DeletesUncovered
	// DeletesByFile: a staged object is deleted when one of its files was delivered.
	DeletesByFile
)
