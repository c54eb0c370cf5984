package flock_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/flock"
)

func TestOnlyOneHolderAtATime(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	one, err := flock.Open(name)
	require.NoError(t, err)
	_, err = flock.Open(name)
	require.ErrorIs(t, err, flock.ErrHeld)
	require.ErrorContains(t, err, name)
	require.NoError(t, one.Close())
	two, err := flock.Open(name)
	require.NoError(t, err)
	require.NoError(t, flock.Lock(two), "locking a file again that is locked by us")
	require.NoError(t, two.Close())
	_, err = flock.Open(filepath.Join(name, "below a file"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
}
