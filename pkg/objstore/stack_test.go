//go:build stack

package objstore_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/conformance"
	"github.com/sealift/sealift/pkg/secret"
)

// The contract over a real server, of which the environment tells:
// SEALIFT_TEST_S3_ENDPOINT, SEALIFT_TEST_S3_ACCESS_KEY and
// SEALIFT_TEST_S3_SECRET_KEY.
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
		t.Cleanup(func() { empty(t, admin, bucket) })
		return objstore.NewS3(objstore.S3Config{
			Bucket: bucket, Region: "us-east-1", Endpoint: endpoint, PathStyle: true,
			Credentials: func(context.Context) (objstore.Credentials, error) {
				return objstore.Credentials{AccessKeyID: access, SecretAccessKey: secret.New(key)}, nil
			},
		})
	}
	conformance.Run(t, func(t *testing.T) objstore.Store { return open(t) })
	conformance.RunReader(t, open)
}

// empty removes a bucket and all in it.
func empty(t *testing.T, admin *s3.Client, bucket string) {
	ctx := context.WithoutCancel(t.Context())
	pages := s3.NewListObjectsV2Paginator(admin, &s3.ListObjectsV2Input{Bucket: &bucket})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		require.NoError(t, err)
		for _, o := range page.Contents {
			_, err := admin.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &bucket, Key: o.Key})
			require.NoError(t, err)
		}
	}
	_, err := admin.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: aws.String(bucket)})
	require.NoError(t, err)
}
