package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/workers/auditor"
)

// Whoever forces an audit after a fix watches for the files, which may still wait for the
// destination's breaker.
func TestForcedAuditSaysWhatMayStillWait(t *testing.T) {
	for _, c := range []struct {
		forced   bool
		enqueued int64
		says     bool
	}{{true, 1, true}, {true, 0, false}, {false, 1, false}} {
		var out strings.Builder
		require.NoError(t, printAudit(&out, auditor.Report{Enqueued: c.enqueued}, auditor.Config{Force: c.forced}))
		require.Equal(t, c.says, strings.Contains(out.String(), "after its next try: sealift destinations status"), out.String())
	}
}

func TestDryAuditDoesNotSayThatItDidAnything(t *testing.T) {
	for dry, want := range map[bool]string{
		false: "2 staged files deleted after their time, 1 that no entry names\n3 files that were parked tried again: their destinations are back\n",
		true:  "2 staged files would be deleted after their time, 1 that no entry names\n3 files that were parked would be tried again: their destinations are back\n",
	} {
		var out strings.Builder
		require.NoError(t, printAudit(&out, auditor.Report{Collected: 2, Orphans: 1, Redriven: 3}, auditor.Config{DryRun: dry}))
		require.Contains(t, out.String(), want)
	}
}

// A partition that cannot be audited does not hide the others, and the exit code says that it is not all.
func TestAuditOfAPartitionThatIsCorrupt(t *testing.T) {
	s, svc := openStack(t, func(*config.Config) {})
	l := ledger.Log{Topic: svc.cfg.Kafka.EventsTopic, Incarnation: svc.cfg.Kafka.Incarnation}
	ledgertest.Append(t, svc.staging, ledgertest.Init(l, time.Now()))
	l.Partition = 1
	ledgertest.Put(t, svc.staging, ledger.EntryKey(l, 0), []byte("{"))
	t.Setenv("AWS_ACCESS_KEY_ID", s.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.key.SecretAccessKey.Reveal())
	code, stdout, stderr := runSealift(t, "", []string{
		"SEALIFT_KAFKA_BROKERS=" + svc.cfg.Kafka.Brokers[0], "SEALIFT_REDIS_URL=" + svc.cfg.Redis.URL.Reveal(), "SEALIFT_STAGING_REGION=" + svc.cfg.Staging.Region,
		"SEALIFT_STAGING_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_FORCE_PATH_STYLE=true",
	}, "audit", "--dry-run")
	require.Equal(t, exitPartial, code, stderr)
	require.Contains(t, stdout, " of 1 partition audited")
	require.Contains(t, stderr, "corrupt ledger entry")
}
