//go:build stack

package lease

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestConformanceOfRedis runs against the server of the test stack.
func TestConformanceOfRedis(t *testing.T) {
	url := os.Getenv("SEALIFT_TEST_REDIS_URL")
	require.NotEmpty(t, url, "SEALIFT_TEST_REDIS_URL names the Redis of the test stack")
	conformance(t, url, func(d time.Duration) { <-time.After(d) })
}
