package model

// The ablations. What each does instead of the protocol's rule is where the model checks for it;
// schemas/protocol.md has the harm.
const (
	_ flaw = iota

	// In the ledger's part.
	plainPut       // entries are written without If-None-Match
	noFilter       // a takeover forgets which streams were sealed past the watermark
	keyByFirst     // a staged file's key is its first offset, and can be overwritten
	readsFromHint  // a takeover reads from the offset committed to Kafka
	orphansByAge   // what no entry names is deleted, even if it is not covered
	ownIsLost      // 412 is always taken for another's success, but the files are kept
	refusedIsWon   // 412 is always taken for one's own success
	changesBody    // an entry whose fate is unknown is sent again with other files
	keepsMemory    // a state continues on a head that it was not read from
	trustsForeign  // local files are kept as they are after another's entry
	keepsEveryFile // local files are never compared with the ledger
	keepsPartFile  // a local file is kept although the ledger has a part of it
	reroutesAtOnce // a claim switches to another rule whatever is in the filter
	packsByAge     // packs are deleted although their entry does not exist
	staleNames     // packs are compared with names that were read before the packs were listed
	packOfContent  // a pack's key does not name the entry that it is for
	packOfRange    // a pack's key does not name its content

	// In the delivery's part.
	keyPerAttempt // each attempt has a key of its own at the customer
	receiptFirst  // the receipt is written before the PUT
	ackFirst      // a job is acknowledged when it is taken
	markFirst     // the marker in Redis is set when the lock is taken
	stagedByAge   // a staged file is deleted although it is owed
	packByFile    // a pack is deleted when one of its files is delivered
	catalogOwes   // what is owed is looked up in the catalog when it is copied

	// In the part about duplicates.
	dropsItself         // a record can be a duplicate of its own offset
	notesPoison         // ids of records that get into no file are noted
	duplicatesByLow     // duplicates are counted by the watermark alone
	duplicatesFirst     // and are judged before the filter is consulted
	poisonFilteredFirst // records that are not lines are judged after the filter
	forgets             // not a flaw: TWICE is searched for even after a store forgot
)
