package main

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/workers/copier"
)

// loadRig is `sealift dev` under load, and a second copier of the same fleet
// that never reads the catalog again.
type loadRig struct {
	t     *testing.T
	file  string // the catalog's document, which dev applies when it starts
	dev   *devProcess
	start func() *devProcess
	acked check.Expected
	env   []string
}

func newLoadRig(t *testing.T) *loadRig {
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	require.NoError(t, os.WriteFile(file, []byte(`
workspace: ws_AAAAAAAAAAAAAAAA
sources: [{id: s0, write_keys: [k0]}, {id: s1, write_keys: [k1]}, {id: s2, write_keys: [k2]}, {id: s3, write_keys: [k3]}]
destinations:
  - {name: one, sources: [s0, s1, s2, s3], bucket: old-logs}
  - {name: role, sources: [s0], bucket: old-logs/x, role_arn: "`+movedRole+`", enabled: false}
  - {name: other, sources: [s0], bucket: new-logs/x, enabled: false}
`), 0o600))
	data := t.TempDir()
	args := []string{"--catalog", file}
	for _, flag := range []string{"--http", "--s3", "--kafka", "--redis", "--admin"} {
		args = append(args, flag, porttest.Free(t)) // the same address after a kill
	}
	r := &loadRig{t: t, file: file, start: func() *devProcess { return startDev(t, data, args...) }}
	r.dev = r.start()
	t.Setenv("AWS_ACCESS_KEY_ID", r.dev.S3AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", r.dev.S3SecretKey)
	r.env = []string{
		"SEALIFT_KAFKA_BROKERS=" + r.dev.Kafka, "SEALIFT_REDIS_URL=" + r.dev.Redis, "SEALIFT_STAGING_REGION=" + r.dev.S3Region,
		"SEALIFT_STAGING_ENDPOINT=" + r.dev.S3, "SEALIFT_STAGING_FORCE_PATH_STYLE=true",
	}
	return r
}

// startStaleCopier runs a copier that keeps the present catalog, until stop is called.
func (r *loadRig) startStaleCopier() (stop func()) {
	cfg, err := config.Load("", r.env, map[string]string{
		"destinations.endpoint": r.dev.S3, "kafka.session_timeout": "10s", "copier.retry_tiers": "5s,30s,5m", "copier.spool_dir": r.t.TempDir(),
	})
	require.NoError(r.t, err)
	s, err := openServices(cfg, r.dev.credentials, true, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(r.t, err)
	stored, err := readStoredCatalog(r.t.Context(), s)
	require.NoError(r.t, err)
	s.catalog.Set(stored)
	c := copierConfig(cfg)
	c.Worker = "behind"
	late, err := copier.New(c, copier.Deps{
		Kafka: copier.NewKafka(s.kafka), Leases: s.redis, Staging: s.staging, Roles: s.roles, Catalog: s.catalog, Open: s.openBucket, Log: s.log, Metrics: s.metrics,
	})
	require.NoError(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- late.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		require.NoError(r.t, <-done)
		require.NoError(r.t, s.close())
	})
}

// startLoad sends events until stop is called.
func (r *loadRig) startLoad() (stop func()) {
	dev := r.dev // the addresses stay the same after a restart
	ctx, cancel := context.WithCancel(context.Background())
	var senders sync.WaitGroup
	for source := range 4 {
		senders.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				id := fmt.Sprintf("%d-%d", source, i)
				if dev.track(fmt.Sprint("k", source), id) {
					r.acked.Acknowledge(fmt.Sprint("s", source), id)
				}
			}
		})
	}
	return sync.OnceFunc(func() { cancel(); senders.Wait() })
}

// receipts counts the receipts by copier, bucket and role.
func (r *loadRig) receipts() map[string]int {
	out := map[string]int{}
	staging := r.dev.bucket("sealift-staging", r.dev.S3Region)
	for info, err := range objstore.All(r.t.Context(), staging, "receipts/") {
		require.NoError(r.t, err)
		body, _, err := staging.Get(r.t.Context(), info.Key)
		require.NoError(r.t, err)
		var b bytes.Buffer
		_, err = b.ReadFrom(body)
		require.NoError(r.t, err)
		require.NoError(r.t, body.Close())
		for line := range bytes.Lines(b.Bytes()) { // several in a batch, as after sealing was late
			receipt, err := delivery.DecodeReceipt(line)
			require.NoError(r.t, err)
			worker := "follows"
			if receipt.Worker == "behind" {
				worker = "behind"
			}
			out[fmt.Sprintf("%s %s/%s", worker, receipt.Bucket, receipt.Role)]++
		}
	}
	return out
}

// awaitReceipts waits until there is a receipt of each of these kinds.
func (r *loadRig) awaitReceipts(of ...string) {
	require.Eventually(r.t, func() bool {
		seen := r.receipts()
		for _, o := range of {
			if seen[o] == 0 {
				return false
			}
		}
		return true
	}, time.Minute, 200*time.Millisecond, "%v of %v", of, r.receipts())
}

func (r *loadRig) migrate(args ...string) (int, string) {
	var out bytes.Buffer
	code := run(r.t.Context(), append([]string{"destinations", "migrate", "one", "--endpoint", r.dev.S3, "--yes", "--wait", "60s"}, args...), r.env, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// files returns the objects of the buckets, except test files.
func (r *loadRig) files(buckets ...string) iter.Seq2[check.Object, error] {
	return func(yield func(check.Object, error) bool) {
		for _, b := range buckets {
			for o, err := range listObjects(r.t.Context(), r.dev.bucket(b, r.dev.S3Region), &tree{}) {
				if !strings.HasPrefix(o.Key, "segment-logs/sealift-check/") && !yield(o, err) {
					return
				}
			}
		}
	}
}

// A migration under load loses and duplicates nothing, although one copier never follows the
// catalog and the other is killed (-9) just after the switch.
func TestMigrationUnderLoad(t *testing.T) {
	for name, c := range map[string]struct {
		args    []string
		buckets []string
		behind  string // receipts of the copier that does not follow
		follows string
		edit    [2]string // of the document, as the output asks for: old and new text
	}{
		"to_a_role":         {[]string{"--role-arn", movedRole}, []string{"old-logs"}, "behind old-logs/", "follows old-logs/" + movedRole, [2]string{"bucket: old-logs}", "bucket: old-logs, role_arn: \"" + movedRole + "\"}"}},
		"to_another_bucket": {[]string{"--bucket", "new-logs"}, []string{"old-logs", "new-logs"}, "behind old-logs/", "follows new-logs/", [2]string{"bucket: old-logs}", "bucket: new-logs}"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newLoadRig(t)
			stopLate, stopLoad := r.startStaleCopier(), r.startLoad()
			defer stopLate()
			defer stopLoad()
			r.awaitReceipts("behind old-logs/", "follows old-logs/")
			before := r.receipts()[c.behind]

			code, output := r.migrate(c.args...)
			require.Equal(t, exitOK, code, output)
			require.Contains(t, output, "make the same change in the document")
			document, err := os.ReadFile(r.file)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(r.file, bytes.Replace(document, []byte(c.edit[0]), []byte(c.edit[1]), 1), 0o600))
			require.Error(t, r.dev.end(t, os.Kill))
			r.dev = r.start()
			moved := r.receipts()[c.follows]
			require.Eventually(t, func() bool { return r.receipts()[c.follows] > moved }, time.Minute, 200*time.Millisecond, "no delivery to the new place after the kill")
			require.Eventually(t, func() bool { return r.receipts()[c.behind] > before }, time.Minute, 200*time.Millisecond, "the stale copier stopped delivering to the old place")
			stopLoad()
			stopLate()

			var report *check.Report
			require.Eventually(t, func() bool {
				var err error
				report, err = r.acked.Check(r.files(c.buckets...), check.Rules{})
				return err == nil && report.Lost == 0
			}, time.Minute, 200*time.Millisecond, "%v", report)
			for _, b := range c.buckets {
				each, err := r.acked.Check(r.files(b), check.Rules{})
				require.NoError(t, err)
				require.Zero(t, each.Duplicated+each.Malformed+each.Misplaced, "%s: %v", b, each)
			}
			t.Logf("%d events acknowledged, receipts %v", report.Acknowledged, r.receipts())
			if len(c.buckets) > 1 { // the printed command brings what was delivered before
				_, printed, _ := strings.Cut(output, "  sealift replay ")
				args := strings.Fields(strings.TrimSuffix(strings.SplitN(printed, "\n", 2)[0], " --dry-run"))
				var out bytes.Buffer
				require.Equal(t, exitOK, run(t.Context(), append([]string{"replay"}, args...), r.env, strings.NewReader(""), &out, &out), out.String())
				whole, err := r.acked.Check(r.files("new-logs"), check.Rules{})
				require.NoError(t, err)
				require.Zero(t, whole.Lost+whole.Duplicated, "%v\n%v\n%s\n%v", whole, args, out.String(), r.receipts())
			}
		})
	}
}
