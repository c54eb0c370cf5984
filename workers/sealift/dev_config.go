package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/sealift/sealift/pkg/config"
)

// operatorConfigHeader begins the file, so that dev recognizes its own and replaces no other.
const operatorConfigHeader = "# Written by sealift dev"

// writtenByDev reports whether dev wrote the file.
func writtenByDev(file string) bool {
	b, err := os.ReadFile(file)
	return err == nil && bytes.HasPrefix(b, []byte(operatorConfigHeader))
}

// operatorConfig returns a configuration for commands that work on a running `sealift dev`. It
// contains no secrets: the embedded Redis has none, and the keys of S3 come from the environment,
// as everywhere.
func operatorConfig(cfg config.Config) []byte {
	var b strings.Builder
	b.WriteString(operatorConfigHeader + " when it is ready, for operators' commands:\n#   sealift --config FILE verify\n" +
		"# with s3_access_key and s3_secret_key of endpoints.json as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.\n")
	var tiers []string
	for _, d := range cfg.Copier.RetryTiers {
		tiers = append(tiers, d.String())
	}
	section := ""
	for _, v := range []struct {
		key   string
		value any
	}{
		{"kafka.brokers", cfg.Kafka.Brokers},
		{"kafka.events_topic", cfg.Kafka.EventsTopic},
		{"kafka.jobs_topic", cfg.Kafka.JobsTopic},
		{"kafka.dead_letters_topic", cfg.Kafka.DeadLettersTopic},
		{"kafka.catalog_topic", cfg.Kafka.CatalogTopic},
		{"kafka.group", cfg.Kafka.Group},
		{"kafka.session_timeout", cfg.Kafka.SessionTimeout.String()},
		{"kafka.source_from", cfg.Kafka.SourceFrom},
		{"kafka.received_from", cfg.Kafka.ReceivedFrom},
		{"kafka.incarnation", cfg.Kafka.Incarnation},
		{"redis.url", cfg.Redis.URL.Reveal()},
		{"staging.bucket", cfg.Staging.Bucket},
		{"staging.prefix", cfg.Staging.Prefix},
		{"staging.endpoint", cfg.Staging.Endpoint},
		{"staging.region", cfg.Staging.Region},
		{"staging.force_path_style", cfg.Staging.ForcePathStyle},
		{"staging.retain", cfg.Staging.Retain.String()},
		{"collector.validation", cfg.Collector.Validation},
		{"appender.data_dir", cfg.Appender.DataDir},
		{"appender.roll_every", cfg.Appender.RollEvery.String()},
		{"appender.grace", cfg.Appender.Grace.String()},
		{"appender.disk_free", cfg.Appender.DiskFree.String()},
		{"copier.spool_dir", cfg.Copier.SpoolDir},
		{"copier.retry_tiers", tiers},
		{"copier.park_after", cfg.Copier.ParkAfter.String()},
		{"auditor.every", cfg.Auditor.Every.String()},
		{"auditor.grace", cfg.Auditor.Grace.String()},
		{"destinations.endpoint", cfg.Destinations.Endpoint},
		{"destinations.allowed_endpoints", cfg.Destinations.AllowedEndpoints},
		{"admin.listen", cfg.Admin.Listen},
	} {
		in, name, _ := strings.Cut(v.key, ".")
		if in != section {
			fmt.Fprintf(&b, "%s:\n", in)
			section = in
		}
		text, _ := json.Marshal(v.value) // JSON strings, bools and lists are YAML too
		fmt.Fprintf(&b, "  %s: %s\n", name, text)
	}
	return []byte(b.String())
}
