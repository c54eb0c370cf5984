package model

// The ablations. What each does instead of the protocol's rule stands where
// the model asks for it; schemas/protocol.md names the harm.
const (
	_ flaw = iota

	// Of the ledger's leg.
	plainPut       // entries are written without If-None-Match
	noFilter       // a takeover forgets which streams were sealed past the watermark
	keyByFirst     // a staged file's key is its first offset, and can be overwritten
	readsFromHint  // a takeover reads from the offset committed to Kafka
	orphansByAge   // what no entry names is deleted, covered or not
	ownIsLost      // 412 is always another's success, but the files are kept
	refusedIsWon   // 412 is always one's own success
	changesBody    // an entry whose fate is open is sent with other files
	keepsMemory    // a state goes on upon a head that it was not read from
	trustsForeign  // local files are kept as they are after another's entry
	keepsEveryFile // local files are never held against the ledger
	keepsPartFile  // a local file is kept of which the ledger has a part
	reroutesAtOnce // a claim takes up another rule whatever the filter holds
	packsByAge     // packs are deleted whose entry is not there
	staleNames     // packs are held against names that were read before they were listed
	packOfContent  // a pack's key does not name the entry that it is for
	packOfRange    // a pack's key does not name its content

	// Of the delivery's leg.
	keyPerAttempt // each try has a key of its own at the customer
	receiptFirst  // the receipt is written before the PUT
	ackFirst      // a job is acknowledged when it is taken
	markFirst     // Redis says done when the lock is taken
	stagedByAge   // a staged file is deleted though it is owed
	packByFile    // a pack is deleted when one of its files is delivered
	catalogOwes   // what is owed is looked up in the catalog when it is copied

	// Of the duplicates' leg.
	dropsItself         // a record is a duplicate also of its own offset
	notesPoison         // ids of records that end in no file are noted
	duplicatesByLow     // duplicates are counted by the watermark alone
	duplicatesFirst     // and are judged before the filter is asked
	poisonFilteredFirst // what is no line is judged behind the filter
	forgets             // no flaw: TWICE is looked for though a store forgot
)
