package porttest

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of 700 random ports two would be the same in nearly every run.
func TestNoAddressIsGivenTwice(t *testing.T) {
	seen := map[string]bool{}
	for range 700 {
		addr := Free(t)
		require.False(t, seen[addr], addr)
		seen[addr] = true
	}
}

// A lock is of an open file, so that of this process keeps it from itself, too.
func TestAnAddressIsKeptFromOtherProcesses(t *testing.T) {
	_, port, err := net.SplitHostPort(Free(t))
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	file, err := take(n)
	require.NoError(t, err)
	require.Nil(t, file)
}
