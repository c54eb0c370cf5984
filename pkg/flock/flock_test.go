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
	require.NoError(t, flock.Lock(two.File), "locking a file again that is locked by us")
	require.NoError(t, two.Close())
	_, err = flock.Open(filepath.Join(name, "below a file"))
	require.ErrorIs(t, err, syscall.ENOTDIR)
}

// A child process that is being started has such a copy.
func TestClosedFileIsUnlockedThoughThereIsACopy(t *testing.T) {
	name := filepath.Join(t.TempDir(), "lock")
	f, err := flock.Open(name)
	require.NoError(t, err)
	inherited, err := syscall.Dup(int(f.Fd()))
	require.NoError(t, err)
	defer syscall.Close(inherited)
	require.NoError(t, f.Close())
	f, err = flock.Open(name)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}
