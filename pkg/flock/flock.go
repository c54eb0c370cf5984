// Package flock keeps files and directories to one process at a time, for
// whoever holds state on a disk.
//
// It promises that the kernel gives a lock back when the file is closed or the
// process ends, however it ends. It does not keep anybody out who does not ask,
// nor, on some network disks, processes of other machines.
package flock

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// ErrHeld says that another process has the lock, or another file that was
// opened in this one.
var ErrHeld = errors.New("in use by another process: give each a directory of its own")

// Open opens a file, which it makes if there is none, and locks it.
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

// Lock locks an open file, or returns ErrHeld at once. Where the disk has no
// locks the error is errors.ErrUnsupported.
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
