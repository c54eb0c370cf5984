package config

import (
	"time"

	"github.com/sealift/sealift/pkg/secret"
)

// Default returns the configuration if nothing is set: everything on this host.
func Default() Config {
	return Config{
		Kafka: Kafka{
			Brokers:          []string{"localhost:9092"},
			EventsTopic:      "sealift.events",
			JobsTopic:        "sealift.copy-jobs",
			DeadLettersTopic: "sealift.dead-letters",
			CatalogTopic:     "sealift.catalog",
			Group:            "sealift",
			Incarnation:      "1",
			SessionTimeout:   30 * time.Second,
			Partitions:       8,
			Replication:      -1,
			CreateTopics:     true,
			Compression:      "lz4",
			SourceFrom:       "header",
			ReceivedFrom:     "header",
		},
		Redis:   Redis{URL: secret.New("redis://localhost:6379/0")},
		Staging: Staging{Bucket: "sealift-staging", Retain: 168 * time.Hour},
		Appender: Appender{
			DataDir:   "./sealift-data/appender",
			RollEvery: time.Hour,
			Grace:     10 * time.Second,
			MaxBytes:  100e6, // 100 MB, as at Segment
			Memory:    512 << 20,
			DiskFree:  1 << 30,
			Level:     6,

			DedupWindow: 24 * time.Hour,
			DedupMemory: 256 << 20,
		},
		Copier: Copier{
			Concurrency:    16,
			PerDestination: 4,
			LockTTL:        2 * time.Minute,
			RetryTiers:     []time.Duration{time.Minute, 10 * time.Minute, time.Hour},
			ParkAfter:      24 * time.Hour,

			ReplayConcurrency: 2,
		},
		STS:     STS{VerifyTrust: true},
		Auditor: Auditor{Every: time.Hour, Minute: 40, Grace: 10 * time.Minute},
		Collector: Collector{
			Listen: ":8080", MaxInFlight: 256 << 20, MaxConnections: 10_000,
			Validation: "segment", RateLimit: RateLimit{Burst: 10 * time.Second},
			Spool: Spool{MaxBytes: 1 << 30},
		},
		Admin: Admin{Listen: ":9090"},
		Log:   Log{Level: "info"},
	}
}
