package model

import "strings"

// property is a set of properties in schemas/protocol.md that a state violates.
type property uint16

const (
	// dup: a record is in two objects of a bucket.
	dup property = 1 << iota
	// mutate: a key, or an entry of the ledger, changed its content.
	mutate
	// loss: a record that no recovery will read again is in no object, or a staged object that is
	// owed is gone.
	loss
	// twice: two records with one message id are in files, although no worker forgot what it had
	// seen.
	twice
	// The invariants that go beyond the above.
	i2  // files of a stream overlap in range, or a record is neither in a file nor counted
	i3  // an entry names something that is not staged
	i5  // a worker's state is not its base plus the records read since
	i7  // a delivery that was neither owed nor ordered
	i9  // a receipt says delivered, but nothing was
	i12 // an offset was committed too early
	// again: an object that the customer had taken away was created again although there was a
	// receipt.
	again
)

var propertyNames = []string{"DUP", "MUTATE", "LOSS", "TWICE", "I2", "I3", "I5", "I7", "I9", "I12", "AGAIN"}

func (p property) String() string {
	var names []string
	for i, name := range propertyNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}
