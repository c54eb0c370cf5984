//go:build unix

package s3server

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// lockFile takes the directory for this process. The kernel gives it back
// when the process ends, however it ends.
func lockFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			err = errors.New("another process uses this directory")
		}
		return nil, errors.Join(fmt.Errorf("lock %q: %w", name, err), f.Close())
	}
	return f, nil
}
