package destination

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const (
	workspace = "ws_acme0123456789abcd"
	roleARN   = "arn:aws:iam::123456789012:role/logs"
)

// wire is a Putter whose buckets and STS are reached over HTTP.
type wire struct {
	*Putter
	t        *testing.T
	s3       *s3server.Server
	roles    *assumerole.Roles
	operator func(bucket string) objstore.Store // with all permissions
}

func newWire(t *testing.T) *wire {
	s3, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "OPERATORKEY", SecretKey: "operatorsecret", Region: "us-east-1"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s3.Close()) })
	web := httptest.NewServer(s3)
	t.Cleanup(web.Close)
	require.NoError(t, s3.PutBucket(s3server.Bucket{Name: "one-logs", Owner: "123456789012"}))
	require.NoError(t, s3.PutRole(s3server.PutOnlyRole(roleARN, s3.OperatorARN(), workspace, "one-logs")))
	roles, open := clientsOf(web, objstore.Credentials{AccessKeyID: "OPERATORKEY", SecretAccessKey: secret.New("operatorsecret")})
	return &wire{NewPutter(Config{Roles: roles, Open: open, Pause: time.Microsecond}), t, s3, roles, func(bucket string) objstore.Store {
		return open(catalog.Target{BucketName: bucket, Destination: catalog.Destination{Region: "us-east-1"}}, nil)
	}}
}

// clientsOf returns roles and buckets of the server, for a principal with these keys of its own.
func clientsOf(web *httptest.Server, own objstore.Credentials) (*assumerole.Roles, Open) {
	ownKeys := func(context.Context) (objstore.Credentials, error) { return own, nil }
	roles := assumerole.New(assumerole.Config{Endpoint: web.URL, Region: "us-east-1", Credentials: ownKeys, HTTPClient: web.Client()})
	return roles, func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
		if creds == nil {
			creds = ownKeys
		}
		return objstore.NewS3(objstore.S3Config{Bucket: t.BucketName, Region: t.Region, Endpoint: web.URL, PathStyle: true,
			Credentials: creds, ExpectedOwner: t.Owner, HTTPClient: web.Client()})
	}
}

// target returns a destination with a role, after a change.
func (w *wire) target(change func(*catalog.Destination)) catalog.Target {
	d := catalog.Destination{Name: "one", Sources: []string{"web"}, Bucket: "one-logs/path", RoleARN: roleARN}
	if change != nil {
		change(&d)
	}
	s, err := catalog.NewSnapshot([]catalog.Workspace{{ID: workspace, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{d}}})
	require.NoError(w.t, err)
	t, ok := s.Destination(workspace + "/one")
	require.True(w.t, ok)
	return t
}

func (w *wire) put(t catalog.Target, name string) (Result, error) {
	return w.Put(w.t.Context(), t, Object{
		Key: t.Prefix + "/segment-logs/web/" + name, Body: strings.NewReader("x"), SHA256: sha256.Sum256([]byte("x")),
	})
}

// requests returns a function that counts the server's requests since this call.
func (w *wire) requests(op string) func() int64 {
	before := w.s3.Requests()[op]
	return func() int64 { return w.s3.Requests()[op] - before }
}

func TestRequestsToSTSAreCounted(t *testing.T) {
	w := newWire(t)
	r, err := w.put(w.target(nil), "1.gz")
	require.NoError(t, err)
	require.Equal(t, 3, r.STS, "one for the role, two for its trust")
	require.Equal(t, 1, r.Sends)
	r, err = w.put(w.target(nil), "2.gz")
	require.NoError(t, err)
	require.Zero(t, r.STS, "credentials or trust were not cached")
}

func TestOpenRoleIsRefused(t *testing.T) {
	w := newWire(t)
	require.NoError(t, w.s3.PutRole(s3server.PutOnlyRole(roleARN, w.s3.OperatorARN(), "", "one-logs"))) // no condition
	puts, target := w.requests("PutObject"), w.target(nil)
	r, err := w.put(target, "1.gz")
	require.ErrorIs(t, err, assumerole.ErrTrustsAnyone)
	require.Equal(t, 2, r.STS)
	require.Zero(t, puts(), "nothing was sent")
	v := Judge(err, target)
	require.Equal(t, "role_open", v.Reason)
	require.Equal(t, Permanent, v.Class)
	require.Equal(t, ScopeDestination, v.Scope)
	require.Contains(t, v.Fix.String(), `"Condition": {"StringEquals": {"sts:ExternalId": "`+workspace+`"}}`)
	require.Contains(t, v.Fix.String(), roleARN)

	w.s3.SetFault(func(r *http.Request) s3server.Fault {
		if r.Method == http.MethodPost {
			return s3server.Fault{Status: 503, Code: "ServiceUnavailable"}
		}
		return s3server.Fault{}
	})
	_, err = w.put(target, "1.gz")
	require.Equal(t, "role_open", Judge(err, target).Reason, "refused without asking again")
}

// TestUnreadableBodyIsNotTheDestinationsFault: if the copier's disk fails, that does not count
// against the destination.
func TestUnreadableBodyIsNotTheDestinationsFault(t *testing.T) {
	broken := errors.New("input/output error")
	for name, body := range map[string]io.ReadSeeker{
		"while_small":    &failingDisk{strings.NewReader("x"), nil, broken},
		"while_large":    &failingDisk{strings.NewReader(strings.Repeat("x", 1<<20)), nil, broken},
		"when_rewinding": &failingDisk{strings.NewReader("x"), broken, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			target := w.target(nil)
			_, err := w.Put(t.Context(), target, Object{Key: "path/segment-logs/web/1.gz", Body: body, SHA256: sha256.Sum256([]byte("x"))})
			require.ErrorIs(t, err, broken)
			v := Judge(err, target)
			require.Equal(t, ScopeFile, v.Scope)
			require.Equal(t, Transient, v.Class)
			require.Equal(t, "spool", v.Reason)
			require.Contains(t, v.Cause, broken.Error())
			require.Contains(t, v.Fix.String(), "copier.spool_dir")
		})
	}
}

type failingDisk struct {
	*strings.Reader
	seek, read error
}

func (d *failingDisk) Seek(offset int64, whence int) (int64, error) {
	if d.seek != nil {
		return 0, d.seek
	}
	return d.Reader.Seek(offset, whence)
}

func (d *failingDisk) Read(p []byte) (int, error) {
	if d.read != nil {
		return 0, d.read
	}
	return d.Reader.Read(p)
}
