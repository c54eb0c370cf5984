package ledger

// Tenure is a worker's hold on a partition in one generation of its consumer
// group. It is a hint and a name: what fences a worker is the chain.
type Tenure struct {
	Owner      string // the worker's stable name
	Generation int32
	// Committed is the group's committed offset when the generation began, or
	// -1. It is a cross-check, never where reading starts.
	Committed int64
	// Done is closed when the generation has ended; nil: nobody knows. Nothing
	// is taken over then: the partition may be another's by now.
	Done <-chan struct{}
	// Commit records the low watermark for lag tools; nil: it is not recorded.
	Commit func(offset int64) error
}
