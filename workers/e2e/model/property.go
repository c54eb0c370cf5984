package model

import "strings"

// property is a set of laws of schemas/protocol.md that a state breaks.
type property uint16

const (
	// dup: a record is in two objects of a bucket.
	dup property = 1 << iota
	// mutate: a key, or an entry of the ledger, changed its content.
	mutate
	// loss: a record that no recovery will read again, or a debt that nobody
	// will pay, has no object.
	loss
	// twice: two records of one message id are in files, though no worker
	// forgot what it had seen.
	twice
	// The invariants that are more than the above.
	i2  // files of a stream overlap in range, or a record is neither filed nor counted
	i3  // an entry names what is not staged
	i5  // a worker's state is not its base and the records read since
	i7  // a delivery that was neither owed nor ordered
	i9  // a receipt says delivered, and nothing was
	i12 // an offset was committed too early
	// again: the object was created anew though there was a receipt, because
	// its customer had taken it away.
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
