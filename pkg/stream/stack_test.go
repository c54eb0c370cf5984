//go:build stack

package stream_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRealBroker(t *testing.T) {
	brokers := os.Getenv("SEALIFT_TEST_KAFKA")
	require.NotEmpty(t, brokers, "run it with make test-stack")
	suite(t, strings.Split(brokers, ",")[0])
}
