package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/stream"
)

// TestRedrivenDeadLetterIsDelivered: an event that was answered 200 but became a dead letter is
// reported. When validation is off, redrive brings it into the bucket, once, beside the others of
// its batch.
func TestRedrivenDeadLetterIsDelivered(t *testing.T) {
	t.Parallel()
	p := startDev(t, t.TempDir())
	req, err := http.NewRequest(http.MethodPost, p.Collector+"/v1/batch", strings.NewReader(
		`{"batch":[{"type":"page","userId":"u","messageId":"good"},{"type":"page","messageId":"nobody"}]}`))
	require.NoError(t, err)
	req.SetBasicAuth("demo", "")
	resp, err := doUntilTaken(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	acked := &check.Expected{}
	acked.Acknowledge("demo", "good")
	bucket := p.bucket("demo-logs", p.S3Region)
	require.True(t, p.awaitDelivered(t, bucket, "", acked).OK(), "only the valid event is delivered")

	run := func(args ...string) *exec.Cmd {
		cmd := exec.Command("sealift", append([]string{"sources"}, args...)...)
		cmd.Env = append(os.Environ(), "SEALIFT_KAFKA_BROKERS="+p.Kafka, "SEALIFT_REDIS_URL="+p.Redis, "SEALIFT_STAGING_ENDPOINT="+p.S3, "SEALIFT_STAGING_REGION="+p.S3Region,
			"SEALIFT_STAGING_FORCE_PATH_STYLE=true", "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
		return cmd
	}
	sources := func(into any, args ...string) {
		t.Helper()
		out, err := run(args...).Output()
		require.NoError(t, err, "%s", out)
		require.NoError(t, json.Unmarshal(out, into))
	}
	var status sourcesStatus
	sources(&status, "status", "demo", "--json")
	require.Len(t, status.Sources, 1)
	row := status.Sources[0]
	require.EqualValues(t, 1, row.Records)
	require.EqualValues(t, 1, row.DeadLetters)
	require.Equal(t, "no_user", row.Reasons[0].Reason)
	require.WithinDuration(t, time.Now(), row.LastSeen, 2*time.Minute)

	redis, err := lease.Open(p.Redis, nil)
	require.NoError(t, err)
	defer redis.Close()
	cfg := config.Default()
	cfg.Staging.Endpoint = p.S3
	other, err := redis.WithNamespace(ledgerName(cfg.Staging)).Acquire(t.Context(), "redrive/"+cfg.Kafka.DeadLettersTopic, time.Minute)
	require.NoError(t, err)
	out, err := run("redrive", "--set", "collector.validation=none").CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "another one is at work")
	require.NoError(t, other.Release(t.Context()))

	var done redrivenLetters
	for _, want := range []int64{1, 0, 0} {
		sources(&done, "redrive", "demo", "--json", "--set", "collector.validation=none")
		require.Equal(t, want, done.Sent)
	}
	acked.Acknowledge("demo", "nobody")
	require.True(t, p.awaitDelivered(t, bucket, "", acked).OK(), "both events are delivered once")
	sources(&status, "status", "demo", "--json")
	require.Zero(t, status.Sources[0].DeadLetters)
	require.EqualValues(t, 1, status.Sources[0].SentAgain)
}

// If a source's last event is not among the last records of a busy partition, its files tell when
// it was last seen, but only as a bound.
func TestLastSeenOnABusyPartition(t *testing.T) {
	_, svc := openStack(t, func(*config.Config) {})
	cfg := svc.cfg

	received := time.Now().Truncate(time.Hour).Add(-time.Minute).UTC()
	file := func(before time.Duration, first int64) ledger.File {
		at := received.Add(-before)
		return ledger.File{Source: "web", Hour: at.Truncate(time.Hour).UnixMilli(), Received: at.UnixMilli(), First: first}
	}
	l := ledger.Log{Topic: cfg.Kafka.EventsTopic, Incarnation: cfg.Kafka.Incarnation}
	files := []ledger.File{ledgertest.File(l, file(0, 10), []byte("x")), ledgertest.File(l, file(20*time.Minute, 0), []byte("x"))}
	ledgertest.Append(t, svc.staging, ledgertest.Next(ledgertest.Append(t, svc.staging, ledgertest.Init(l, time.Now())), files...))
	event := func(source string) stream.Record {
		return deadletter.NewRefused(source, time.Now(), []byte(`{}`), true, []byte("m"), "")
	}
	events := svc.topicProducer(cfg.Kafka.EventsTopic, 0)
	web := func() sourceRow {
		status, err := readSources(t.Context(), svc, []string{"web"}, deadletter.Window{})
		require.NoError(t, err)
		return status.Sources[0]
	}
	require.True(t, web().SeenExactly, "the topic has no other records")
	for range 20 {
		var batch []stream.Record
		for i := range 1000 {
			batch = append(batch, event(fmt.Sprint("busy", i)))
		}
		require.NoError(t, events.Produce(t.Context(), batch...))
	}
	row := web()
	require.Equal(t, received, row.LastSeen, "the time of its newest file")
	require.False(t, row.SeenExactly)
	var out bytes.Buffer
	require.NoError(t, (&sourcesStatus{At: received.Add(20 * time.Minute), Sources: []sourceRow{row}}).print(&out))
	require.Contains(t, out.String(), " <20m ago\n")

	require.NoError(t, events.Produce(t.Context(), event("web")))
	row = web()
	require.True(t, row.SeenExactly)
	require.WithinDuration(t, time.Now(), row.LastSeen, time.Minute)
}

// TestRevokedKeyIsRefused: a change of the catalog's file reaches the collector by
// way of the catalog's topic.
func TestRevokedKeyIsRefused(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	write := func(key string) {
		require.NoError(t, os.WriteFile(file, []byte("workspace: ws_AAAAAAAAAAAAAAAA\nsources: [{id: web, write_keys: ["+key+"]}]\n"), 0o600))
	}
	write("old")
	p := startDev(t, t.TempDir(), "--catalog", file)
	require.True(t, p.track("old", "1"))
	require.False(t, p.track("new", "2"))
	write("new")
	require.Eventually(t, func() bool { return !p.track("old", "3") }, time.Minute, 10*time.Millisecond)
	require.True(t, p.track("new", "4"), "the new key is accepted once the old one is refused")
}

// A write key given instead of a source's id is recognised, and not repeated in the error.
func TestWriteKeyGivenAsSourceIsNotRepeated(t *testing.T) {
	known := map[string]catalog.SourceRef{"web": {Source: catalog.Source{ID: "web", WriteKeyHashes: []string{catalog.HashKey("sEcReT")}}}}
	require.EqualError(t, unknownSourceError("sEcReT", known), `that is a write key of source "web": write the source's id`)
}

// Sources that the catalog does not have are named, but not thousands of them.
func TestSourcesStatusNamesUncatalogued(t *testing.T) {
	s := &sourcesStatus{catalogKnown: true, Sources: []sourceRow{{ID: ""}, {ID: "known", Workspace: "ws"}}}
	for i := range maxPrintedUncatalogued {
		s.Sources = append(s.Sources, sourceRow{ID: fmt.Sprint("s", i)})
	}
	var out strings.Builder
	require.NoError(t, s.print(&out))
	require.Contains(t, out.String(), "not in the catalog: 10 sources (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9);")
	s.Sources = append(s.Sources, sourceRow{ID: "t0"}, sourceRow{ID: "t1"})
	out.Reset()
	require.NoError(t, s.print(&out))
	require.Contains(t, out.String(), "not in the catalog: 12 sources (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, … and 2 more);")
}
