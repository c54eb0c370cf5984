// Package plan estimates what an installation needs and costs before it is built: from events,
// sources and destinations to partitions, workers, memory, disks, files, requests and dollars. It
// is for `sealift plan`, and for the benchmarks that provide its constants and check it.
//
// Files and requests follow from the design: they are counted as the roles make them, and a test
// compares them with real ones. CPU, memory and compression are what a benchmark measured (Measured
// says when, where and of which commit). It promises nothing about wall time, since it does not
// model networks, disks and S3.
package plan

import (
	"errors"
	"fmt"
	"time"

	"github.com/sealift/sealift/pkg/config"
)

// Load is what an installation has to carry.
type Load struct {
	EventsPerSecond float64 `json:"events_per_second"` // on average
	Peak            float64 `json:"peak"`              // the busiest hour, as a multiple of that
	EventBytes      float64 `json:"event_bytes"`       // of a stored line
	Sources         int     `json:"sources"`
	Destinations    int     `json:"destinations"`
	// Copies is how many destinations a file is owed to.
	Copies float64 `json:"copies"`
	// Skew is the exponent of Zipf's law for the sources' shares of the events; 0: all have the
	// same share.
	Skew float64 `json:"skew"`
	// Spread is over how many partitions a source is spread if it is too much for one (spread in
	// the catalog); 1: none is spread.
	Spread int `json:"spread"`
	// KMSShare is the share of files that go to buckets with a KMS key but without a bucket key.
	KMSShare float64 `json:"kms_share"`

	RollEvery        time.Duration `json:"-"` // time of receipt that one file covers, as long as it is below MaxBytes
	MaxBytes         float64       `json:"max_bytes"`
	DedupWindow      time.Duration `json:"-"`
	KafkaRetention   time.Duration `json:"-"`
	Replication      int           `json:"replication"`
	StagingRetention time.Duration `json:"-"`
	DeliverWithin    time.Duration `json:"-"`           // how long after the turn of the hour all its files have to be delivered
	Cores            float64       `json:"cores"`       // of a worker
	Utilisation      float64       `json:"utilisation"` // of cores, at the peak
	S3Latency        time.Duration `json:"-"`           // of one request
	Concurrency      int           `json:"concurrency"` // copies that one copier makes at once
}

// DefaultLoad returns a medium-sized installation with Sealift's default configuration.
func DefaultLoad() Load {
	c := config.Default()
	return Load{
		EventsPerSecond: 10_000, Peak: 2, EventBytes: 900, Sources: 1_000, Destinations: 100, Copies: 1, Skew: 1.1, Spread: 1,
		RollEvery: c.Appender.RollEvery, MaxBytes: float64(c.Appender.MaxBytes), DedupWindow: c.Appender.DedupWindow, KafkaRetention: 7 * 24 * time.Hour, Replication: 3,
		StagingRetention: c.Staging.Retain, DeliverWithin: 20 * time.Minute,
		Cores: 4, Utilisation: 0.6, S3Latency: 50 * time.Millisecond, Concurrency: c.Copier.Concurrency,
	}
}

// validate returns everything that is wrong with the load, or nil.
func (l Load) validate() error {
	var errs []error
	bad := func(wrong bool, field, want string) {
		if wrong {
			errs = append(errs, fmt.Errorf("%s: want %s", field, want))
		}
	}
	bad(!(l.EventsPerSecond > 0) || l.EventsPerSecond > 1e9, "events per second", "above 0 and at most 1e9")
	bad(!(l.Peak >= 1) || l.Peak > 1000, "peak", "1 to 1000")
	bad(!(l.EventBytes >= 2) || l.EventBytes > 1<<20, "bytes of an event", "2 to 1,048,576")
	bad(l.Sources < 1 || l.Sources > 10_000_000, "sources", "1 to 10,000,000")
	bad(l.Destinations < 1 || l.Destinations > 10_000_000, "destinations", "1 to 10,000,000")
	bad(!(l.Copies > 0) || l.Copies > 1000, "copies of a file", "above 0 and at most 1000")
	bad(!(l.Skew >= 0) || l.Skew > 5, "skew", "0 (even) to 5")
	bad(l.Spread < 1 || l.Spread > 10_000, "spread", "1 to 10,000")
	bad(!(l.KMSShare >= 0) || l.KMSShare > 1, "share of KMS", "0 to 1")
	bad(l.Replication < 1 || l.Replication > 10, "replication", "1 to 10")
	bad(!(l.Cores > 0) || l.Cores > 1024, "cores of a worker", "above 0 and at most 1024")
	bad(!(l.Utilisation > 0) || l.Utilisation > 1, "utilisation", "above 0 and at most 1")
	bad(l.RollEvery < time.Second || l.RollEvery > time.Hour, "time in one file", "1s to 1h")
	bad(!(l.MaxBytes >= 1e6), "bytes of a file", "1 MB or more")
	bad(l.DedupWindow < 0 || l.KafkaRetention <= 0 || l.StagingRetention <= 0 || l.DeliverWithin <= 0 || l.S3Latency <= 0, "times", "above 0")
	bad(l.Concurrency < 1, "copies at once", "1 or more")
	return errors.Join(errs...)
}
