package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/migration"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

const movedRole = "arn:aws:iam::123456789012:role/moved"

// moveRig has the services of a fleet but no roles, and what these would have left: ledgers, staged
// files, and receipts as if copiers followed the catalog at once.
type moveRig struct {
	t     *testing.T
	stack *stack
	svc   *services
	env   []string
}

func newMoveRig(t *testing.T) *moveRig {
	// Each record is read a hundred times, and lz4 takes 4 MiB of buffers each time.
	s, svc := openStack(t, func(cfg *config.Config) { cfg.Kafka.Compression = "none" })
	cfg := svc.cfg
	r := &moveRig{t: t, stack: s, svc: svc, env: []string{
		"SEALIFT_KAFKA_BROKERS=" + cfg.Kafka.Brokers[0], "SEALIFT_KAFKA_COMPRESSION=none", "SEALIFT_STS_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_REGION=" + cfg.Staging.Region,
		"SEALIFT_STAGING_ENDPOINT=" + s.s3URL, "SEALIFT_STAGING_FORCE_PATH_STYLE=true",
	}}
	t.Setenv("AWS_ACCESS_KEY_ID", s.key.AccessKeyID)
	t.Setenv("AWS_SECRET_ACCESS_KEY", s.key.SecretAccessKey.Reveal())
	return r
}

// addWorkspace sets up customer n: a classic destination, a role that it could be moved to, and a
// delivered file. It returns the destination.
func (r *moveRig) addWorkspace(n int) catalog.Target {
	ctx := r.t.Context()
	id, bucket := fmt.Sprintf("ws_%016d", n), fmt.Sprintf("logs-%d", n)
	source := fmt.Sprintf("web%d", n)
	role := fmt.Sprintf("%s-%d", movedRole, n)
	w := catalog.Workspace{ID: id, Sources: []catalog.Source{{ID: source}}, Destinations: []catalog.Destination{{Name: "one", Sources: []string{source}, Bucket: bucket + "/raw"}}}
	require.NoError(r.t, r.stack.s3.PutBucket(s3server.Bucket{Name: bucket}))
	require.NoError(r.t, r.stack.s3.PutRole(s3server.PutOnlyRole(role, r.stack.s3.OperatorARN(), id, bucket)))
	require.NoError(r.t, (&catalogTopic{r.svc}).write(ctx, map[string][]byte{id: catalog.Encode(w)}))

	// Each customer has a ledger, so that commands do not have to walk the others'.
	head := ledger.Entry{Version: ledger.EntryVersion, Kind: ledger.KindInit, Attempt: "a", Owner: "appender-1", Topic: r.svc.cfg.Kafka.EventsTopic,
		Incarnation: strconv.Itoa(n), WrittenAt: time.Now().UnixMilli()}
	require.NoError(r.t, ledger.NewChain(r.svc.staging, head.Log()).Append(ctx, &head))
	r.deliver(n, 1, delivery.Receipt{At: time.Now().Add(time.Hour).UnixMilli(), Role: role})
	return r.target(id + "/one")
}

// deliver appends entry seq to customer n's ledger, with a staged file and its
// receipt.
func (r *moveRig) deliver(n int, seq int64, receipt delivery.Receipt) {
	body := gziptest.Zip(fmt.Sprintf(`{"type":"track","event":"%d of %d"}`+"\n", seq, n))
	before := ledgertest.Init(ledger.Log{Topic: r.svc.cfg.Kafka.EventsTopic, Incarnation: strconv.Itoa(n)}, time.Now())
	before.Seq = seq - 1
	f := ledgertest.File(before.Log(), ledger.File{
		Source: fmt.Sprintf("web%d", n), Hour: time.Now().Truncate(time.Hour).UnixMilli(), First: seq - 1, Owed: []string{fmt.Sprintf("ws_%016d/one", n)},
	}, body)
	e := ledgertest.Append(r.t, r.svc.staging, ledgertest.Next(before, f))
	ledgertest.Put(r.t, r.svc.staging, f.StagedKey, body)
	receipt.Bucket, receipt.Key = fmt.Sprintf("logs-%d", n), delivery.ObjectKey("raw", e.Log(), &f)
	ledgertest.Receipt(r.t, r.svc.staging, e, 0, f.Owed[0], receipt)
}

// redeliver replaces the receipt of customer n's file of entry seq.
func (r *moveRig) redeliver(n int, seq int64, receipt delivery.Receipt) {
	ctx := r.t.Context()
	log := ledger.Log{Topic: r.svc.cfg.Kafka.EventsTopic, Incarnation: strconv.Itoa(n)}
	e, err := ledger.NewChain(r.svc.staging, log).Entry(ctx, seq)
	require.NoError(r.t, err)
	receipt.File, receipt.Destination, receipt.Outcome = delivery.Ref(e, 0), e.Files[0].Owed[0], delivery.Delivered
	receipt.Bucket, receipt.Key = fmt.Sprintf("logs-%d", n), delivery.ObjectKey("raw", log, &e.Files[0])
	_, err = r.svc.staging.Put(ctx, delivery.ReceiptKey(receipt.File, receipt.Destination), bytes.NewReader(receipt.Encode()), objstore.PutOptions{})
	require.NoError(r.t, err)
}

func (r *moveRig) target(id string) catalog.Target {
	stored, err := readStoredCatalog(r.t.Context(), r.svc)
	require.NoError(r.t, err)
	t, ok := stored.Destination(id)
	require.True(r.t, ok)
	return t
}

// migrate runs the command for customer n, and returns its exit code and its output.
func (r *moveRig) migrate(ctx context.Context, n int, args ...string) (int, string) {
	var out bytes.Buffer
	fixed := []string{"destinations", "migrate", "--endpoint", r.stack.s3URL, "--yes", "--set", "kafka.incarnation=" + strconv.Itoa(n)}
	code := run(ctx, append(fixed, args...), r.env, strings.NewReader(""), &out, &out)
	return code, out.String()
}

// objects returns the keys of a bucket.
func (r *moveRig) objects(bucket string) []string {
	infos, err := r.svc.openBucket(catalog.Target{BucketName: bucket, Destination: catalog.Destination{Endpoint: r.stack.s3URL, Region: embeddedRegion}}, nil).List(r.t.Context(), "", "", 0)
	require.NoError(r.t, err)
	var keys []string
	for _, i := range infos {
		keys = append(keys, i.Key)
	}
	return keys
}

// Whichever request a migration dies at, before or after the request takes effect, a second run
// completes it. The same is true of --abort.
func TestMigrationCompletesAfterAnyInterruption(t *testing.T) {
	r := newMoveRig(t)
	n, taken := 0, false // taken: --abort makes fewer requests, and has died at each of them
	for request := 1; ; request++ {
		for _, after := range []bool{false, true} {
			n++
			target := r.addWorkspace(n)
			role := fmt.Sprintf("%s-%d", movedRole, n)
			died, written := r.migrateAndDieAt(request, after, n, target.ID, "--role-arn", role)
			if !died {
				require.Greater(t, request, 20, "a migration makes more requests")
				t.Logf("died at each of %d requests", request-1)
				return
			}
			code, output := r.migrate(t.Context(), n, target.ID, "--role-arn", role)
			require.Equal(t, exitOK, code, output)
			require.Contains(t, output, "aws s3 rm --recursive")
			require.Equal(t, migration.Place{Bucket: target.Bucket, RoleARN: role}, placeOf(r.target(target.ID)))
			keys := r.objects(target.BucketName)
			require.Len(t, keys, 1, "request %d: want only the test file, once", request)
			require.True(t, strings.HasPrefix(keys[0], "raw/segment-logs/sealift-check/segment-logs/"), keys[0])
			log, err := migration.Open(t.Context(), r.svc.staging, target.ID)
			require.NoError(t, err)
			require.Equal(t, migration.Confirmed, log.Last().Step)
			if !taken {
				died, _ = r.migrateAndDieAt(request, after, n, target.ID, "--abort")
				taken = !died
				code, output = r.migrate(t.Context(), n, target.ID, "--abort")
				if code == exitFailure {
					require.Contains(t, output, "no migration", "the abort was complete before the cut")
				} else {
					require.Equal(t, exitOK, code, output)
				}
				require.Equal(t, placeOf(target), placeOf(r.target(target.ID)))
			}
			if !written {
				break // for a request that only reads, before and after are the same
			}
		}
	}
}

// migrateAndDieAt runs the command for customer n and cuts it off at the given request. It returns
// whether the command made so many requests, and whether that request writes.
func (r *moveRig) migrateAndDieAt(request int, after bool, n int, args ...string) (died, writes bool) {
	ctx, cancel := context.WithCancelCause(r.t.Context())
	defer cancel(nil)
	var seen atomic.Int64
	var put atomic.Bool
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		switch at := seen.Add(1); {
		case at < int64(request):
			return s3server.Fault{}
		case at == int64(request):
			put.Store(q.Method == http.MethodPut)
		}
		cancel(interruptedError{os.Interrupt})
		return s3server.Fault{Cut: true, After: after}
	})
	defer r.stack.s3.SetFault(nil)
	code, output := r.migrate(ctx, n, args...)
	if seen.Load() < int64(request) {
		require.Equal(r.t, exitOK, code, output)
		return false, false
	}
	require.NotEqual(r.t, exitOK, code, output)
	return true, put.Load()
}

// If two people migrate one destination at the same time, each step is taken by one of them, and
// the other is told.
func TestConcurrentMigrationsOfOneDestination(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	role := movedRole + "-1"
	// The other one completes the migration just before our note of the test is written.
	var once atomic.Bool
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/migrations/") && strings.HasSuffix(q.URL.Path, "00001.json") && once.CompareAndSwap(false, true) {
			r.stack.s3.SetFault(nil)
			code, output := r.migrate(t.Context(), 1, target.ID)
			require.Equal(t, exitOK, code, output)
		}
		return s3server.Fault{}
	})
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitFailure, code)
	require.Contains(t, output, "somebody else takes this destination further: tried, by ")
	require.Equal(t, role, r.target(target.ID).RoleARN)
	require.Len(t, r.objects(target.BucketName), 1)
}

// A migration reads staging until the first file has arrived, and continues if staging is
// overloaded for a moment.
func TestMigrationRetriesStagingReads(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	var mu sync.Mutex
	failed := map[string]bool{}
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		kind, _, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"+r.svc.cfg.Staging.Bucket+"/")+q.URL.Query().Get("prefix"), "/")
		mu.Lock()
		defer mu.Unlock()
		if q.Method != http.MethodGet && q.Method != http.MethodHead || failed[kind] {
			return s3server.Fault{}
		}
		failed[kind] = true
		return s3server.Fault{Status: http.StatusServiceUnavailable, Code: "SlowDown"}
	})
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", movedRole+"-1")
	require.Equal(t, exitOK, code, output)
	require.Contains(t, output, "1 file of the newest arrived")
	mu.Lock()
	defer mu.Unlock()
	require.True(t, failed["ledger"] && failed["migrations"] && failed["receipts"], "%v", failed)
}

// If only the prefix changes, a file in flight could arrive below both prefixes. The command waits
// for it, and reports it if it does not arrive.
func TestPrefixChangeWaitsForFilesInFlight(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	var receipt string
	for info, err := range objstore.All(t.Context(), r.svc.staging, "receipts/") {
		require.NoError(t, err)
		receipt = info.Key
	}
	require.NoError(t, r.svc.staging.Delete(t.Context(), receipt))
	code, output := r.migrate(t.Context(), 1, target.ID, "--bucket", target.BucketName+"/new", "--wait", "1s")
	require.Equal(t, exitPartial, code, output)
	require.Contains(t, output, "1 file still in flight")
	require.Contains(t, output, "waits for its first file")
	require.Equal(t, target.BucketName+"/new", r.target(target.ID).Bucket)
	code, output = r.migrate(t.Context(), 1, target.ID, "--abort", "--wait", "1s")
	require.Equal(t, exitOK, code, output)
	require.Contains(t, output, "1 file still in flight", "an abort waits for files in flight too")
}

// A migration can be aborted while STS, which says who Sealift is, does not answer. Starting one
// needs STS, and then the hint names a setting that the command has.
func TestMigrationIsAbortedWithoutSTS(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	role := movedRole + "-1"
	mute := func(q *http.Request) s3server.Fault { return s3server.Fault{Cut: q.URL.Path == "/"} }
	r.stack.s3.SetFault(mute)
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", role, "--dry-run")
	require.Equal(t, exitFailure, code, output)
	require.Contains(t, output, "name it with destinations.principal:")
	require.NotContains(t, output, "--principal")

	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		return s3server.Fault{Cut: q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "/00001.json")}
	})
	code, output = r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitFailure, code, "the migration is begun but not tried: %s", output)
	r.stack.s3.SetFault(mute)
	code, output = r.migrate(t.Context(), 1, target.ID, "--abort")
	require.Equal(t, exitOK, code, output)
	require.Contains(t, output, "the catalog says what it said before")
}

// Whoever reverts a migration at the moment of its switch may have read the catalog before it. It
// is reverted all the same.
func TestAbortDuringTheSwitch(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	role := movedRole + "-1"
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		return s3server.Fault{Cut: q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "/00002.json")}
	})
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitFailure, code, "the migration is tried but not switched: %s", output)
	var once atomic.Bool
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		if strings.Contains(q.URL.Path, "/migrations/") && once.CompareAndSwap(false, true) { // --abort has just read the catalog
			r.stack.s3.SetFault(nil)
			code, output := r.migrate(t.Context(), 1, target.ID)
			require.Equal(t, exitOK, code, output)
		}
		return s3server.Fault{}
	})
	code, output = r.migrate(t.Context(), 1, target.ID, "--abort")
	require.Equal(t, exitOK, code, output)
	require.Contains(t, output, "the catalog says what it said before")
	require.Empty(t, r.target(target.ID).RoleARN)
}

// If a copier does not follow the catalog, the command names it, and the migration is not
// confirmed.
func TestMigrationNamesACopierWithAStaleCatalog(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	role := movedRole + "-1"
	r.deliver(1, 2, delivery.Receipt{Worker: "deaf", At: time.Now().Add(2 * time.Hour).UnixMilli()})
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitPartial, code, output)
	require.Contains(t, output, "copier deaf still delivered the old way at")
	log, err := migration.Open(t.Context(), r.svc.staging, target.ID)
	require.NoError(t, err)
	require.Equal(t, migration.Switched, log.Last().Step)

	// Once it has been named, it is not granted another minute to follow.
	r.redeliver(1, 2, delivery.Receipt{Worker: "deaf", At: log.Last().At + 1})
	code, output = r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitPartial, code, output)
	require.Contains(t, output, "copier deaf still delivered the old way at")

	// After a restart it follows. What it delivered before is not held against it again.
	code, output = r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitOK, code, output)
}

// Changes that are applied to the catalog between the start and the switch are kept.
func TestMigrationKeepsConcurrentCatalogChanges(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	role := movedRole + "-1"
	var once atomic.Bool
	r.stack.s3.SetFault(func(q *http.Request) s3server.Fault {
		if q.Method == http.MethodPut && strings.HasSuffix(q.URL.Path, "/00001.json") && once.CompareAndSwap(false, true) {
			stored, err := readStoredCatalog(t.Context(), r.svc)
			require.NoError(t, err)
			w := catalog.Stored(stored.Workspaces()[0])
			w.Sources = append(w.Sources, catalog.Source{ID: "added"})
			w.Destinations[0].ACL = "bucket-owner-full-control"
			require.NoError(t, (&catalogTopic{r.svc}).write(t.Context(), map[string][]byte{w.ID: catalog.Encode(w)}))
		}
		return s3server.Fault{}
	})
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", role)
	require.Equal(t, exitOK, code, output)
	now := r.target(target.ID)
	require.Equal(t, role, now.RoleARN)
	require.Equal(t, "bucket-owner-full-control", now.ACL)
	stored, err := readStoredCatalog(t.Context(), r.svc)
	require.NoError(t, err)
	require.Len(t, stored.Workspaces()[0].Sources, 2)
}

// `destinations check` and `migrate` say that files are parked for a destination that works again.
func TestParkedFilesAreCounted(t *testing.T) {
	r := newMoveRig(t)
	target := r.addWorkspace(1)
	ref := delivery.FileRef{Topic: "sealift.events", Incarnation: "1", Seq: 1}
	_, err := r.svc.staging.Put(t.Context(), delivery.ParkedKey(ref, target.ID),
		bytes.NewReader(delivery.Parked{Job: delivery.Job{File: ref, Destination: target.ID}, Cause: "c", Fix: "f"}.Encode()), objstore.PutOptions{})
	require.NoError(t, err)
	var out bytes.Buffer
	code := run(t.Context(), []string{"destinations", "check", "one", "--endpoint", r.stack.s3URL}, r.env, strings.NewReader(""), &out, &out)
	require.Equal(t, exitOK, code, out.String())
	require.Contains(t, out.String(), "1 file parked: sealift redrive --destination "+target.ID+"\n")
	code, output := r.migrate(t.Context(), 1, target.ID, "--role-arn", movedRole+"-1")
	require.Equal(t, exitOK, code, output)
	require.Contains(t, output, "1 file parked: sealift redrive --destination "+target.ID+"\n")
	r.redeliver(1, 1, delivery.Receipt{}) // long ago: nothing arrives
	code, output = r.migrate(t.Context(), 1, target.ID, "--bucket", target.BucketName+"/new", "--wait", "0s")
	require.Equal(t, exitPartial, code, output)
	require.Contains(t, output, "1 file parked: sealift redrive --destination "+target.ID+"\n")
}
