// Package flock restricts files and directories to one process at a time. It is for packages that
// keep state on disk.
//
// It promises that the kernel releases a lock when the file is closed or the process ends, however
// it ends. It does not keep out processes that do not ask for the lock, nor, on some network file
// systems, processes on other machines.
package flock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrHeld says that another process has the lock, or another open file of this process.
var ErrHeld = errors.New("in use by another process: give each a directory of its own")

// Open opens a file, creating it if necessary, and locks it.
func Open(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Lock locks an open file, or returns ErrHeld without waiting. If the file system has no locks, the
// error is errors.ErrUnsupported.
func Lock(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = ErrHeld
	}
	if err != nil {
		return fmt.Errorf("lock %q: %w", f.Name(), err)
	}
	return nil
}
