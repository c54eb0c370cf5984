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

// File is a locked file.
type File struct{ *os.File }

// Open opens a file, creating it if necessary, and locks it.
func Open(name string) (*File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := Lock(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &File{f}, nil
}

// Close unlocks the file and closes it. If it were only closed, it would stay locked while a child
// process is being started, which has a copy of every open file until it executes its program.
func (f *File) Close() error {
	return errors.Join(syscall.Flock(int(f.Fd()), syscall.LOCK_UN), f.File.Close())
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
