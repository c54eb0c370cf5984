package porttest

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// With 700 random ports, two would be equal in almost every run if nothing prevented it.
func TestNoAddressIsReturnedTwice(t *testing.T) {
	seen := map[string]bool{}
	for range 700 {
		addr := Free(t)
		require.False(t, seen[addr], addr)
		seen[addr] = true
	}
}

// A port that was returned is locked. The lock belongs to an open file, so taking it again fails
// even in the same process, as it would in another.
func TestReturnedPortIsLocked(t *testing.T) {
	_, port, err := net.SplitHostPort(Free(t))
	require.NoError(t, err)
	n, err := strconv.Atoi(port)
	require.NoError(t, err)
	file, err := lockPort(n)
	require.NoError(t, err)
	require.Nil(t, file)
}
