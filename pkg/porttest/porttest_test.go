package porttest

import (
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
