//go:build stack

package destination

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/secret"
)

// On a real server, a probe is allowed or denied exactly as its PUT would be, and stores nothing:
// no object, no version, no part.
func TestProbeStoresNothingOnTheStack(t *testing.T) {
	env := func(name string) string {
		v := os.Getenv(name)
		require.NotEmpty(t, v, "%s must be set with the build tag stack", name)
		return v
	}
	endpoint, access, key := env("SEALIFT_TEST_S3_ENDPOINT"), env("SEALIFT_TEST_S3_ACCESS_KEY"), env("SEALIFT_TEST_S3_SECRET_KEY")
	admin := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider(access, key, ""),
	})
	bucket := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	_, err := admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
	require.NoError(t, err)
	t.Cleanup(func() {
		_, err := admin.DeleteBucket(context.WithoutCancel(t.Context()), &s3.DeleteBucketInput{Bucket: &bucket})
		require.NoError(t, err, "it is empty")
	})
	_, err = admin.PutBucketVersioning(t.Context(), &s3.PutBucketVersioningInput{
		Bucket: &bucket, VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled},
	})
	require.NoError(t, err)

	web := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(web.CloseIdleConnections)
	roles := assumerole.New(assumerole.Config{
		Endpoint: endpoint, Region: "us-east-1", HTTPClient: web, NoExternalID: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: access, SecretAccessKey: secret.New(key)}, nil
		},
	})
	p := NewPutter(Config{Roles: roles, Open: func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
		return objstore.NewS3(objstore.S3Config{Bucket: t.BucketName, Region: t.Region, Endpoint: endpoint, PathStyle: true, Credentials: creds, ExpectedOwner: t.Owner, HTTPClient: web})
	}})
	for name, c := range map[string]struct {
		before string // prefix of the key, which the session's policy then does not cover
		alter  func(*objstore.PutOptions)
		denied bool
	}{
		"allowed":            {"", nil, false},
		"allowed_with_kms":   {"", func(o *objstore.PutOptions) { o.ServerSideEncryption = "aws:kms" }, false},
		"allowed_without_if": {"", func(o *objstore.PutOptions) { o.IfAbsent = false }, false},
		"denied":             {"elsewhere/", nil, true},
		"denied_with_kms":    {"elsewhere/", func(o *objstore.PutOptions) { o.ServerSideEncryption = "aws:kms" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			target := catalog.Target{
				Destination: catalog.Destination{RoleARN: roleARN, Region: "us-east-1"}, ID: workspace + "/one", Workspace: workspace, BucketName: bucket, SSE: true,
			}
			obj, err := TrialObject(target, "web")
			require.NoError(t, err)
			obj.Key, obj.SHA256[0], obj.alter = c.before+obj.Key, ^obj.SHA256[0], c.alter
			r, err := p.Put(t.Context(), target, obj)
			var e *objstore.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.denied, e.Status == http.StatusForbidden, "%v", err)
			require.Equal(t, !c.denied, isChecksumMismatch(e), "%v", err)
			require.Equal(t, 1, r.Sends)
		})
	}
	versions, err := admin.ListObjectVersions(t.Context(), &s3.ListObjectVersionsInput{Bucket: &bucket})
	require.NoError(t, err)
	require.Empty(t, versions.Versions)
	uploads, err := admin.ListMultipartUploads(t.Context(), &s3.ListMultipartUploadsInput{Bucket: &bucket})
	require.NoError(t, err)
	require.Empty(t, uploads.Uploads)
}
