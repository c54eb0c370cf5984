//go:build stack

package objstore_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/conformance"
	"github.com/sealift/sealift/pkg/secret"
)

// S3 passes the conformance suite on a real server, given by SEALIFT_TEST_S3_ENDPOINT,
// SEALIFT_TEST_S3_ACCESS_KEY and SEALIFT_TEST_S3_SECRET_KEY.
func TestS3ConformsOnTheStack(t *testing.T) {
	env := func(name string) string {
		v := os.Getenv(name)
		require.NotEmpty(t, v, "%s must be set with the build tag stack", name)
		return v
	}
	endpoint, access, key := env("SEALIFT_TEST_S3_ENDPOINT"), env("SEALIFT_TEST_S3_ACCESS_KEY"), env("SEALIFT_TEST_S3_SECRET_KEY")
	admin := s3.New(s3.Options{
		BaseEndpoint: &endpoint, Region: "us-east-1", UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider(access, key, ""),
	})
	run, n := time.Now().UnixNano(), 0
	open := func(t *testing.T) *objstore.S3 {
		n++
		bucket := fmt.Sprintf("conformance-%d-%d", run, n)
		_, err := admin.CreateBucket(t.Context(), &s3.CreateBucketInput{Bucket: &bucket})
		require.NoError(t, err)
		store := objstore.NewS3(objstore.S3Config{
			Bucket: bucket, Region: "us-east-1", Endpoint: endpoint, PathStyle: true,
			Credentials: func(context.Context) (objstore.Credentials, error) {
				return objstore.Credentials{AccessKeyID: access, SecretAccessKey: secret.New(key)}, nil
			},
		})
		t.Cleanup(func() {
			ctx := context.WithoutCancel(t.Context())
			for info, err := range objstore.All(ctx, store, "") {
				require.NoError(t, err)
				require.NoError(t, store.Delete(ctx, info.Key))
			}
			_, err := admin.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: &bucket})
			require.NoError(t, err)
		})
		return store
	}
	conformance.Run(t, func(t *testing.T) objstore.Store { return open(t) })
	conformance.RunReader(t, open)
}
