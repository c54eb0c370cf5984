package objstore

import (
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/auth"
	"github.com/stretchr/testify/require"
)

// Remembered or not, an endpoint is what the SDK's rules say, whatever of a
// request differs, and whatever the SDK did with the answer before.
func TestEndpointsAreThoseOfTheRules(t *testing.T) {
	rules := s3.NewDefaultEndpointResolverV2()
	for place, p := range map[string]s3.EndpointParameters{
		"aws":        {Region: aws.String("eu-west-1")},
		"fips":       {Region: aws.String("us-east-1"), UseFIPS: aws.Bool(true)},
		"dual_stack": {Region: aws.String("us-east-1"), UseDualStack: aws.Bool(true)},
		"endpoint":   {Region: aws.String("us-east-1"), Endpoint: aws.String("http://127.0.0.1:9000")},
		"path_style": {Region: aws.String("us-east-1"), Endpoint: aws.String("https://minio.example:9000"), ForcePathStyle: aws.Bool(true)},
	} {
		t.Run(place, func(t *testing.T) {
			remembered := newEndpoints()
			for range 3 {
				for _, bucket := range []string{"logs", "with.dots", "other-logs", "No_DNS name"} {
					for _, key := range []*string{nil, aws.String("k"), aws.String("segment-logs/web/0/f.gz")} {
						for _, control := range []*bool{nil, aws.Bool(true)} {
							p.Bucket, p.Key, p.Prefix, p.UseS3ExpressControlEndpoint, p.DisableS3ExpressSessionAuth = &bucket, key, key, control, control
							want, wantErr := rules.ResolveEndpoint(t.Context(), p)
							got, err := remembered.ResolveEndpoint(t.Context(), p)
							require.Equal(t, wantErr, err)
							require.Equal(t, want, got)
							options, _ := auth.GetAuthOptions(&got.Properties)
							for _, o := range options { // as the SDK does
								o.SchemeID = "changed"
								o.SignerProperties.Set("changed", true)
							}
						}
					}
				}
			}
		})
	}
}

func TestEndpointsAreBounded(t *testing.T) {
	e := newEndpoints()
	for i := range maxEndpoints + 10 {
		_, err := e.ResolveEndpoint(t.Context(), s3.EndpointParameters{Region: aws.String("eu-west-1"), Bucket: aws.String(fmt.Sprintf("logs-%d", i))})
		require.NoError(t, err)
	}
	require.Len(t, e.known, 10)
}

func TestEndpointsAreForManyAtOnce(t *testing.T) { // with the race detector
	e := newEndpoints()
	var users sync.WaitGroup
	for range 8 {
		users.Go(func() {
			for i := range 100 {
				got, err := e.ResolveEndpoint(t.Context(), s3.EndpointParameters{Region: aws.String("eu-west-1"), Bucket: aws.String("logs")})
				if err != nil {
					t.Error(err)
					return
				}
				options, _ := auth.GetAuthOptions(&got.Properties)
				options[0].SignerProperties.Set(i, i)
			}
		})
	}
	users.Wait()
}
