package copier

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const roleARN = "arn:aws:iam::123456789012:role/logs"

// wireRig is a rig whose customers' buckets and roles are behind HTTP; signatures, session
// policies, regions and owners are checked.
type wireRig struct {
	*rig
	s3      *s3server.Server
	handler http.Handler // receives the requests: s3, or something in front of it
	assume  *assumerole.Roles
	open    destination.Open
	puts    int
}

func newWireRig(t *testing.T) *wireRig {
	r := &wireRig{rig: newRig(t)}
	var err error
	r.s3, err = s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "OPERATORKEY", SecretKey: "operatorsecret", Region: "us-east-1", Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	r.handler = r.s3
	t.Cleanup(func() { require.NoError(t, r.s3.Close()) })
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.Method == http.MethodPut {
			r.puts++
		}
		r.handler.ServeHTTP(w, q)
	}))
	t.Cleanup(web.Close)
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Region: "ap-south-1", Owner: "123456789012"}))
	require.NoError(t, r.s3.PutRole(s3server.PutOnlyRole(roleARN, r.s3.OperatorARN(), acme, "one-logs")))

	own := func(context.Context) (objstore.Credentials, error) {
		return objstore.Credentials{AccessKeyID: "OPERATORKEY", SecretAccessKey: secret.New("operatorsecret")}, nil
	}
	r.assume = assumerole.New(assumerole.Config{Endpoint: web.URL, Region: "us-east-1", Credentials: own, HTTPClient: web.Client()})
	r.open = func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
		if creds == nil {
			creds = own
		}
		return objstore.NewS3(objstore.S3Config{Bucket: t.BucketName, Region: t.Region, Endpoint: web.URL, PathStyle: true,
			Credentials: creds, ExpectedOwner: t.Owner, HTTPClient: web.Client()})
	}
	r.customers = destination.NewPutter(destination.Config{Roles: r.assume, Open: r.open, Pause: time.Microsecond})
	return r
}

func TestDeliveryOverTheWire(t *testing.T) {
	r := newWireRig(t)
	job := r.job(acmeOne, "hello")
	o := r.runJob(t.Context(), job)
	require.Equal(t, outcomeDone, o.kind, o.verdict.Cause)
	require.Equal(t, 2, r.puts, "want one PUT to the wrong region and one that follows")
	require.NotEmpty(t, r.receipt(job).ETag)
	target, _ := r.live.Snapshot().Destination(acmeOne)
	require.Equal(t, "ap-south-1", r.customers.Region(target))

	// The reply to the next PUT is lost; the repeated PUT is answered 412.
	lost := false
	r.s3.SetFault(func(q *http.Request) s3server.Fault {
		if q.Method == http.MethodPut && !lost {
			lost = true
			return s3server.Fault{After: true, Cut: true}
		}
		return s3server.Fault{}
	})
	job = r.job(acmeOne, "again")
	o = r.runJob(t.Context(), job)
	require.Equal(t, outcomeDone, o.kind, o.verdict.Cause)
	require.True(t, r.receipt(job).Existed)
}

func TestRefusalsOverTheWire(t *testing.T) {
	for hazard, c := range map[string]struct {
		disturb func(r *wireRig)
		class   destination.Class
	}{
		"role_denied": {func(r *wireRig) { // wrong external id
			require.NoError(r.t, r.s3.PutRole(s3server.PutOnlyRole(roleARN, r.s3.OperatorARN(), other, "one-logs")))
		}, destination.Permanent},
		"put_denied": {func(r *wireRig) { // wrong owner
			require.NoError(r.t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Owner: "999999999999"}))
		}, destination.Permanent},
		"throttled": {func(r *wireRig) {
			r.s3.SetFault(func(q *http.Request) s3server.Fault {
				if q.Method == http.MethodPut {
					return s3server.Fault{Status: 503, Code: "SlowDown", Message: "reduce your request rate"}
				}
				return s3server.Fault{}
			})
		}, destination.Transient},
		"sts_unavailable": {func(r *wireRig) {
			r.s3.SetFault(func(q *http.Request) s3server.Fault {
				if q.Method == http.MethodPost {
					return s3server.Fault{Status: 503, Code: "ServiceUnavailable"}
				}
				return s3server.Fault{}
			})
		}, destination.Transient},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newWireRig(t)
			job := r.job(acmeOne, "hello")
			c.disturb(r)
			o := r.runJob(t.Context(), job)
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, hazard, o.verdict.Reason, o.verdict.Cause)
			require.Equal(t, c.class, o.verdict.Class)
			require.Nil(t, r.receipt(job))
		})
	}
}

func TestNoBucketOverTheWire(t *testing.T) {
	r := newWireRig(t)
	r.setCatalog(func(ws []catalog.Workspace) { ws[0].Destinations[1].Bucket = "not-there" })
	o := r.runJob(t.Context(), r.job(acmeTwo, "hello"))
	require.Equal(t, "no_bucket", o.verdict.Reason, o.verdict.Cause)
}
