//go:build stack

package s3server_test

import (
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server/awstest"
	"github.com/sealift/sealift/pkg/secret"
)

// A real server evaluates session policies as this one does. It does not evaluate trust, bucket and
// key policies as AWS does, so these cannot be compared.
func TestSessionPoliciesAgreeOnTheStack(t *testing.T) {
	env := func(name string) string {
		v := os.Getenv(name)
		require.NotEmpty(t, v, "%s must be set with the build tag stack", name)
		return v
	}
	operator := objstore.Credentials{AccessKeyID: env("SEALIFT_TEST_S3_ACCESS_KEY"), SecretAccessKey: secret.New(env("SEALIFT_TEST_S3_SECRET_KEY"))}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	w := &awstest.World{Endpoint: env("SEALIFT_TEST_S3_ENDPOINT"), Client: client}
	bucket := fmt.Sprintf("agreed-%d", time.Now().UnixNano())
	ask := call{method: http.MethodPut, path: "/" + bucket, as: operator, region: awstest.STSRegion}
	require.Equal(t, 200, send(t, w, ask).status)
	checkAgreement(t, w, roleARN, bucket, operator)
	for _, path := range []string{"/" + bucket + "/in/k", "/" + bucket} {
		ask.method, ask.path = http.MethodDelete, path
		require.Equal(t, 204, send(t, w, ask).status)
	}
}
