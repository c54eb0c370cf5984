package copier

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

// pageAccounts returns the accounts in the copiers' pages.
func (r *rig) pageAccounts(copiers ...*Copier) map[string]meter.Account {
	for _, c := range copiers {
		c.book.WritePages(r.t.Context())
	}
	all, _, err := meter.Read(r.t.Context(), r.staging)
	require.NoError(r.t, err)
	return all
}

// Every request that arrives is counted, whatever its result: the figures are those that S3, STS
// and KMS counted themselves.
func TestCountsMatchTheRequestsThatArrived(t *testing.T) {
	r := newWireRig(t)
	const key = "arn:aws:kms:eu-west-1:123456789012:key/one"
	require.NoError(t, r.s3.PutKey(s3server.Key{ARN: key, Policy: &iam.Policy{Version: iam.Version, Statement: []iam.Statement{
		{Effect: iam.Allow, Principal: iam.AWS("*"), Action: iam.Strings{"kms:*"}, Resource: iam.Strings{"*"}},
	}}}))
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "two-logs", Region: "eu-west-1", Key: key}))
	once := func(f s3server.Fault, method string) func(*http.Request) s3server.Fault {
		left := 1
		return func(q *http.Request) s3server.Fault {
			if q.Method != method || left == 0 {
				return s3server.Fault{}
			}
			left--
			return f
		}
	}
	deliver := func(dest, content string, kind outcomeKind) {
		t.Helper()
		o := r.runJob(t.Context(), r.job(dest, content))
		require.Equal(t, kind, o.kind, o.verdict.Cause)
	}
	deliver(acmeOne, "followed to its region", outcomeDone)
	deliver(acmeTwo, "encrypted with a key", outcomeDone)
	r.s3.SetFault(once(s3server.Fault{After: true, Cut: true}, http.MethodPut))
	deliver(acmeOne, "reply lost, then 412", outcomeDone)
	r.s3.SetFault(once(s3server.Fault{Status: 503, Code: "SlowDown"}, http.MethodPut))
	deliver(acmeTwo, "throttled once", outcomeDone)
	r.s3.SetFault(func(*http.Request) s3server.Fault { return s3server.Fault{Status: 503, Code: "SlowDown"} })
	deliver(acmeTwo, "throttled for good", outcomeFailed)
	r.s3.SetFault(nil)
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Region: "ap-south-1", Owner: "999999999999"}))
	deliver(acmeOne, "denied", outcomeFailed)
	r.s3.ExpireSessionsForTesting()
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Region: "ap-south-1", Owner: "123456789012"}))
	deliver(acmeOne, "with new credentials", outcomeDone)
	r.setCatalog(func(ws []catalog.Workspace) { ws[0].Destinations[1].Bucket = "gone-logs" })
	deliver(acmeTwo, "no bucket", outcomeFailed)

	accounts := r.pageAccounts(r.Copier)
	var sum meter.Counts
	for _, a := range accounts {
		sum = sum.Plus(a.Counts)
	}
	arrived := r.s3.Requests()
	require.Equal(t, arrived["PutObject"], sum.Puts)
	require.Equal(t, arrived["AssumeRole"], sum.AssumeRoles)
	require.Equal(t, arrived["GenerateDataKey"], sum.DataKeys)
	require.EqualValues(t, 2, sum.DataKeys)
	require.Greater(t, sum.AssumeRoles, int64(1), "a new session after the old one expired")
	require.Equal(t, r.s3.BucketRequests("one-logs")["PutObject"], accounts[acmeOne].Puts)
	require.Zero(t, accounts[acmeTwo].AssumeRoles, "a classic destination has no role")
	require.False(t, accounts[acmeOne].Failing())
	require.Equal(t, "put_denied", accounts[acmeOne].Trouble.Reason)
	require.True(t, accounts[acmeTwo].Failing())
	require.Equal(t, "no_bucket", accounts[acmeTwo].Trouble.Reason)
	require.NotEmpty(t, accounts[acmeTwo].Trouble.Fix)

	// With a bucket key, S3 asks KMS only now and then, which nobody can observe; these requests
	// are not counted.
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "gone-logs", Region: "eu-west-1", Key: key, BucketKey: true}))
	deliver(acmeTwo, "bucket key", outcomeDone)
	require.Equal(t, accounts[acmeTwo].DataKeys, r.pageAccounts(r.Copier)[acmeTwo].DataKeys)
}

// A request that an endpoint's guard refuses never leaves the process, so it is not counted.
func TestRequestRefusedByTheGuardIsNotCounted(t *testing.T) {
	n := requestCounts(destination.Result{Sends: 2, STS: 1}, fmt.Errorf("put: %w", refusedEndpoint{}))
	require.Equal(t, meter.Counts{Puts: 1, AssumeRoles: 1}, n)
	require.EqualValues(t, 2, requestCounts(destination.Result{Sends: 2}, objstore.ErrUnavailable).Puts)
}

type refusedEndpoint struct{}

func (refusedEndpoint) Error() string         { return "refused" }
func (refusedEndpoint) RefusedEndpoint() bool { return true }

func TestStagingRequestsAreCountedForTheDestination(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	reads, writes := int64(0), int64(0)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		switch {
		case strings.HasPrefix(op.Key, "ledger/"): // shared by many
		case op.Name == "put":
			writes++
		case op.Name == "get", op.Name == "head":
			reads++
		}
		return objstore.Fault{}
	})
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	gone := r.job(acmeTwo, "parked")
	require.NoError(t, r.park(t.Context(), gone, destination.NewVerdict(destination.Permanent, destination.ScopeFile, "x", "c", "f")))
	read, wrote := reads, writes
	accounts := r.pageAccounts(r.Copier)
	require.Equal(t, meter.Counts{Puts: 1, StagingReads: 2, StagingWrites: 1}, accounts[acmeOne].Counts)
	require.Equal(t, meter.Counts{StagingWrites: 1}, accounts[acmeTwo].Counts)
	require.EqualValues(t, 2, read)
	require.EqualValues(t, 3, wrote, "receipt, parked note and the file staged by the test")
}

// A destination has delivered when it has the object. What fails there until the receipt is written
// is newer.
func TestDeliveryIsRecordedBeforeItsReceipt(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "x")
	to, err := r.target(job)
	require.NoError(t, err)
	f := &r.head.Files[0]
	body, err := spoolStaged(t.Context(), r.staging, "", f)
	require.NoError(t, err)
	nothing := func() {}
	synctest.Test(t, func(t *testing.T) {
		a := attempt{Job: job, onIdle: nothing, onLate: nothing, onStuck: nothing, onStored: nothing}
		require.NoError(t, r.deliver(t.Context(), a, to, f, body, nil, false, func(delivery.Receipt) error {
			time.Sleep(time.Second)
			r.recordFailure(acmeOne, destination.Verdict{Reason: "put_denied"})
			return nil
		}))
	})
	require.True(t, r.pageAccounts(r.Copier)[acmeOne].Failing())
}

// A forged job adds nothing to the books, so whoever can write jobs cannot choose names in books
// and metrics.
func TestForgedJobsAreNotCounted(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	job.Destination = acme + "/made-up"
	require.Equal(t, outcomeMoot, r.runJob(t.Context(), job).kind)
	require.Empty(t, r.pageAccounts(r.Copier))
}

// The books of several copiers add up, and a killed copier's book lacks only what it had not
// written yet.
func TestBooksOfSeveralCopiersAddUp(t *testing.T) {
	r := newRig(t)
	second, killed := r.newCopier("copier-2", nil), r.newCopier("copier-3", nil)
	for i, c := range []*Copier{r.Copier, second, killed} {
		require.Equal(t, outcomeDone, c.runJob(t.Context(), r.job(acmeOne, string(rune('a'+i)))).kind)
	}
	require.EqualValues(t, 2, r.pageAccounts(r.Copier, second)[acmeOne].Puts)
	back := r.newCopier("copier-3.2", nil)
	require.Equal(t, outcomeDone, back.runJob(t.Context(), r.job(acmeOne, "d")).kind)
	stop := back.startBook()
	stop() // writes the last page
	require.EqualValues(t, 3, r.pageAccounts()[acmeOne].Puts)
}

func TestDestinationMetrics(t *testing.T) {
	r := newRig(t)
	reg := prometheus.NewRegistry()
	r.metrics = newMetrics(reg, "")
	require.Equal(t, outcomeDone, r.runJob(t.Context(), r.job(acmeOne, "hello")).kind)
	r.buckets["two-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	require.Equal(t, outcomeFailed, r.runJob(t.Context(), r.job(acmeTwo, "hello")).kind)

	got := map[string]float64{} // name destination kind
	families, err := reg.Gather()
	require.NoError(t, err)
	for _, f := range families {
		for _, one := range f.GetMetric() {
			name := strings.TrimPrefix(f.GetName(), "sealift_copier_destination_")
			if name == f.GetName() {
				continue
			}
			for _, l := range one.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = one.GetCounter().GetValue() + one.GetGauge().GetValue()
		}
	}
	require.Positive(t, got["last_error_timestamp_seconds "+acmeTwo])
	delete(got, "last_error_timestamp_seconds "+acmeTwo)
	require.Equal(t, map[string]float64{
		"files_total " + acmeOne: 1, "records_total " + acmeOne: 1, "bytes_total " + acmeOne: 5,
		"newest_delivered_timestamp_seconds " + acmeOne: 1795356000.001,
		"requests_total " + acmeOne + " put":            1, "requests_total " + acmeOne + " staging_read": 2, "requests_total " + acmeOne + " staging_write": 1,
		"requests_total " + acmeTwo + " put": 1, "requests_total " + acmeTwo + " staging_read": 2,
	}, got)

	r.metrics.recordNewest(acmeOne, 1795356000000)
	require.Equal(t, int64(1795356000001), r.metrics.latest[acmeOne], "an older file replaced a newer one")
	r.metrics.recordNewest(acmeOne, time.Now().AddDate(1, 0, 0).UnixMilli())
	require.LessOrEqual(t, r.metrics.latest[acmeOne], time.Now().UnixMilli(), "a time of receipt in the future")
}

// The time until which a failing destination is left alone is noted, too.
func TestOpenBreakerIsRecordedInTheBook(t *testing.T) {
	r := newRig(t)
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrNoBucket} })
	e := r.newEngine(r.queue)
	<-submit(t, e, r.job(acmeOne, "a")).done
	e.drain()
	require.Zero(t, r.pageAccounts(r.Copier)[acmeOne].Trouble.Until)
	e = r.newEngine(r.queue)
	for _, content := range []string{"b", "c"} {
		<-submit(t, e, r.job(acmeOne, content)).done
	}
	e.drain()
	trouble := r.pageAccounts(r.Copier)[acmeOne].Trouble
	require.Greater(t, trouble.Until, trouble.At)
}

// A replay's requests count, but its failures are not noted, because they say nothing about what is
// owed.
func TestReplaysCountRequestsButRecordNoFailures(t *testing.T) {
	r := newRig(t)
	lane := r.replayLane()
	lane.recordFailure(acmeOne, destination.NewVerdict(destination.Hopeless, destination.ScopeFile, "not_permitted", "c", "f"))
	lane.addCounts(acmeOne, meter.Counts{Puts: 1})
	require.Equal(t, map[string]meter.Account{acmeOne: {Counts: meter.Counts{Puts: 1}}}, r.pageAccounts(r.Copier))
}
