// Package awstest sets up the embedded S3, STS and KMS like AWS between an operator and a customer:
// two accounts, with an operator who is a plain user of the first, and a role, a bucket and a key
// in the second. It is for tests of everything that delivers, checks destinations or explains their
// failures.
//
// Denials is the table of what AWS refuses, each with the name of its hazard:
//
//	for _, d := range awstest.Denials() {
//		t.Run(d.Name, func(t *testing.T) {
//			w := d.Open(t)                 // the hazard is in place
//			putter := destination.NewPutter(destination.Config{Roles: w.Roles(), Open: w.Open})
//			_, err := putter.Put(ctx, w.Target(), object)
//			…                              // AWS answers d.Status, d.Code; d.Remedy says what to change
//			w.Repair()                     // as if that was done
//			…                              // now the delivery succeeds
//		})
//	}
//
// OpenSound opens a world without a hazard. Workspace is a world's catalog, without an endpoint.
// Endpoint is where its S3 and STS listen, for processes that are configured with it.
//
// The package promises, and its own test checks, that every world differs from a sound one only by
// its hazard. It does not deliver anything itself.
package awstest

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

// The same in every world.
const (
	OperatorAccount = "999999999999"
	CustomerAccount = "123456789012"
	ThirdAccount    = "555555555555" // somebody else's

	OperatorARN = "arn:aws:iam::" + OperatorAccount + ":user/sealift"
	RoleARN     = "arn:aws:iam::" + CustomerAccount + ":role/segment-logs"
	BucketName  = "acme-logs"
	Prefix      = "raw"
	Region      = "eu-west-1" // of the bucket and the key
	KeyARN      = "arn:aws:kms:" + Region + ":" + CustomerAccount + ":key/11111111-2222-3333-4444-555555555555"

	WorkspaceID = "ws_0123456789abcdefABCDEF"
	SourceID    = "qv5iYYMxd94DahFpRzm58y"
	Destination = "acme" // its name in the catalog
	STSRegion   = "us-east-1"
)

// World is one situation. It is closed at the end of its test.
type World struct {
	// Server stands for AWS. Its own root principal is not used.
	Server *s3server.Server
	// Endpoint is the URL of S3 and STS, over http. Requests count as TLS, as if it ended at a
	// proxy, unless the hazard is that there is none.
	Endpoint string
	// Client reaches Endpoint.
	Client *http.Client
	// Workspace is the catalog: one source, one destination.
	Workspace catalog.Workspace
	// Operator is the credentials of OperatorARN.
	Operator objstore.Credentials

	t     testing.TB
	sound parts

	mu    sync.Mutex // guards plain
	noTLS bool       // requests count as sent without TLS
}

// openWorld opens a world with these parts; Repair goes back to sound.
func openWorld(t testing.TB, p, sound parts) *World {
	t.Helper()
	server, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "ROOT", SecretKey: "of-the-server", Region: Region, Account: "000000000000"})
	require.NoError(t, err)
	w := &World{Server: server, t: t, sound: sound}
	web := httptest.NewServer(http.HandlerFunc(w.serve))
	w.Endpoint, w.Client = web.URL, web.Client()
	t.Cleanup(func() {
		w.Client.CloseIdleConnections()
		web.Close()
		require.NoError(t, server.Close())
	})
	w.install(p)
	return w
}

func (w *World) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	plain := w.noTLS
	w.mu.Unlock()
	if !plain {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
	}
	w.Server.ServeHTTP(rw, r)
}

// install sets up the world according to the parts.
func (w *World) install(p parts) {
	w.t.Helper()
	w.mu.Lock()
	w.noTLS = p.noTLS
	w.mu.Unlock()
	s := w.Server
	s.DisableSTS(p.withoutSTS...)
	require.NoError(w.t, s.PutUser(p.operator))
	s.DeleteRole(RoleARN)
	if !p.noRole {
		require.NoError(w.t, s.PutRole(p.role))
	}
	s.DeleteKey(KeyARN)
	if p.key.ARN != "" {
		require.NoError(w.t, s.PutKey(p.key))
	}
	if !p.noBucket {
		require.NoError(w.t, s.PutBucket(p.bucket))
	}
	w.Operator = objstore.Credentials{AccessKeyID: p.accessKey(), SecretAccessKey: secret.New(p.operator.SecretKey)}
	w.Workspace = catalog.Workspace{
		ID:           WorkspaceID,
		Sources:      []catalog.Source{{ID: SourceID, Name: "web", WriteKeys: []string{"wk_" + strings.Repeat("0", 22)}}},
		Destinations: []catalog.Destination{p.destination},
	}
	w.Target() // checks that the catalog accepts it
}

// Repair makes the change that the hazard requires: the world and its catalog are sound afterwards.
// Values that Roles returned earlier still remember what they saw.
func (w *World) Repair() {
	w.t.Helper()
	w.install(w.sound)
}

// Target returns the destination as the catalog has it now.
func (w *World) Target() catalog.Target {
	w.t.Helper()
	snapshot, err := catalog.NewSnapshot([]catalog.Workspace{w.Workspace})
	require.NoError(w.t, err)
	target, ok := snapshot.Destination(WorkspaceID + "/" + Destination)
	require.True(w.t, ok)
	return target
}

// Credentials returns the operator's own credentials.
func (w *World) Credentials(context.Context) (objstore.Credentials, error) { return w.Operator, nil }

// Roles returns a new assumerole.Roles that assumes roles as the operator.
func (w *World) Roles() *assumerole.Roles {
	return assumerole.New(assumerole.Config{Endpoint: w.Endpoint, Region: STSRegion, HTTPClient: w.Client, Credentials: w.Credentials})
}

// Open returns a target's bucket, as the operator if credentials is nil. It can be used as
// destination.Open.
func (w *World) Open(t catalog.Target, credentials func(context.Context) (objstore.Credentials, error)) objstore.Store {
	if credentials == nil {
		credentials = w.Credentials
	}
	return objstore.NewS3(objstore.S3Config{
		Bucket: t.BucketName, Region: t.Region, Endpoint: w.Endpoint, PathStyle: true, HTTPClient: w.Client,
		Credentials: credentials, ExpectedOwner: t.Owner,
	})
}
