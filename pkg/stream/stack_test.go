//go:build stack

package stream_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRealBroker(t *testing.T) {
	broker := os.Getenv("SEALIFT_TEST_KAFKA")
	require.NotEmpty(t, broker, "run it with make test-stack")
	suite(t, broker)
}
