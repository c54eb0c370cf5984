package plan

// Run is one measured run of a fleet, as written by the benchmark (scripts/bench-fleet.sh): one
// line of JSON.
type Run struct {
	Label   string `json:"label"`   // what was run: a git ref or a name
	Time    string `json:"time"`    // RFC 3339
	Commit  string `json:"commit"`  // of the binary
	Machine string `json:"machine"` // its CPUs
	// The input. Every event is owed once.
	Events       int64 `json:"events"`
	Bytes        int64 `json:"bytes"` // of the lines, including newlines
	KafkaBytes   int64 `json:"kafka_bytes"`
	Sources      int   `json:"sources"`
	Destinations int   `json:"destinations"`
	Hours        int   `json:"hours"` // number of hours of receipt of the events
	Partitions   int   `json:"partitions"`
	Level        int   `json:"level"` // of gzip
	// The result.
	WallSeconds float64         `json:"wall_seconds"` // from the start of the roles until everything was delivered
	Roles       map[string]Role `json:"roles"`
	Files       int64           `json:"files"`
	Entries     int64           `json:"entries"` // of the ledger
	Claims      int64           `json:"claims"`  // entries without files that began a ledger, one per partition
	GzipBytes   int64           `json:"gzip_bytes"`
	// Requests are the requests to S3 that went over the wire, by operation and object: "put
	// staged", "get receipt".
	Requests map[string]int64 `json:"requests"`
}

// Role is what all processes of one role used, from start to end.
type Role struct {
	Processes  int     `json:"processes"`
	CPUSeconds float64 `json:"cpu_seconds"`
	PeakRSS    int64   `json:"peak_rss_bytes"` // of the largest process
	SumRSS     int64   `json:"sum_rss_bytes"`  // sum of their peaks
	DiskBytes  int64   `json:"disk_bytes"`     // the largest total size of their directories at any time
}

// CPU returns the CPU time of all roles, in seconds.
func (r Run) CPU() (sum float64) {
	for _, role := range r.Roles {
		sum += role.CPUSeconds
	}
	return sum
}

// PeakRSS returns the sum of the peak resident memory of all processes.
func (r Run) PeakRSS() (sum int64) {
	for _, role := range r.Roles {
		sum += role.SumRSS
	}
	return sum
}

// AllRequests returns the number of requests to S3.
func (r Run) AllRequests() (sum int64) {
	for _, n := range r.Requests {
		sum += n
	}
	return sum
}
