package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/workers/auditor"
	"github.com/sealift/sealift/workers/copier"
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

// What cannot be read hides nothing else, and the exit code says that it is not all.
func TestCommandsThatCannotReadEverything(t *testing.T) {
	s, svc := openStack(t, func(*config.Config) {})
	l := ledger.Log{Topic: svc.cfg.Kafka.EventsTopic, Incarnation: svc.cfg.Kafka.Incarnation}
	ledgertest.Append(t, svc.staging, ledgertest.Init(l, time.Now()))
	l.Partition = 1
	ledgertest.Put(t, svc.staging, ledger.EntryKey(l, 0), []byte("{"))
	ref := delivery.FileRef{Topic: l.Topic, Incarnation: l.Incarnation, Partition: 1}
	note := delivery.Parked{Job: delivery.Job{File: ref, Destination: "ws/a"}, Cause: "the bucket does not exist", Fix: "create it"}
	ledgertest.Put(t, svc.staging, delivery.ParkedKey(ref, "ws/a"), note.Encode())
	for _, id := range []string{"good", "bad"} {
		require.NoError(t, replay.WriteOrder(t.Context(), svc.staging, &delivery.Order{ID: id, Topic: l.Topic, Incarnation: l.Incarnation, From: delivery.FromAuto}))
	}
	ledgertest.Put(t, svc.staging, delivery.OrderKey("bad"), []byte("{"))
	t.Setenv("AWS_ACCESS_KEY_ID", s.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.key.SecretAccessKey.Reveal())
	for command, want := range map[string][2]string{
		"audit --dry-run":    {" of 1 partition audited", "corrupt ledger entry"},
		"parked":             {"cause  the bucket does not exist", "corrupt ledger entry"},
		"parked --json":      {`"cause": "the bucket does not exist"`, "corrupt ledger entry"},
		"replay list":        {"good", `read replay order "bad"`},
		"replay list --json": {`"id": "good"`, `read replay order "bad"`},
		"ledger show":        {"init", "corrupt ledger entry"},
	} {
		code, stdout, stderr := runSealift(t, "", []string{
			"SEALIFT_KAFKA_BROKERS=" + svc.cfg.Kafka.Brokers[0], "SEALIFT_REDIS_URL=" + svc.cfg.Redis.URL.Reveal(), "SEALIFT_STAGING_REGION=" + svc.cfg.Staging.Region,
			"SEALIFT_STAGING_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_FORCE_PATH_STYLE=true",
		}, strings.Fields(command)...)
		require.Equal(t, exitPartial, code, "%s: %s", command, stderr)
		require.Contains(t, stdout, want[0], command)
		require.Contains(t, stderr, want[1], command)
	}
}

func TestDryRedriveThatCannotReadEverything(t *testing.T) {
	staging := objstore.NewMemory("staging")
	for n := range 2 {
		ref := delivery.FileRef{Topic: "sealift.events", Incarnation: "1", Seq: 1, Index: n}
		note := delivery.Parked{Job: delivery.Job{File: ref, Destination: "ws/a"}, Cause: "the bucket does not exist"}
		ledgertest.Put(t, staging, delivery.ParkedKey(ref, "ws/a"), note.Encode())
	}
	run := func(readable string) (string, int) {
		staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "get" && !strings.HasSuffix(op.Key, readable) {
				return objstore.Fault{Before: objstore.ErrDenied}
			}
			return objstore.Fault{}
		})
		var out strings.Builder
		err := redriveOptions{redrive: copier.Redrive{DryRun: true, Destination: "ws/a"}}.run(t.Context(), &app{stdout: &out}, &services{staging: staging})
		require.ErrorIs(t, err, objstore.ErrDenied)
		return out.String(), exitCode(t.Context(), err)
	}
	out, code := run("-00001.json")
	require.Contains(t, out, "the bucket does not exist")
	require.Equal(t, exitPartial, code)
	_, code = run("none")
	require.Equal(t, exitFailure, code)
}
