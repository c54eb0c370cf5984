package mirror

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/sealift/sealift/pkg/flock"
	"github.com/sealift/sealift/pkg/sleep"
)

// diskError is a failure of the local disk. It ends the whole download, because other files would
// fail too.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

func asDiskError(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{err}
}

// errBusy says that another process is downloading the same file.
var errBusy = errors.New("another download of it into the same folder is under way")

// part is a file that does not have its name yet: it is .NAME.part in the same folder, where the
// next run finds what an interrupted one left. It is locked: of two concurrent runs one continues,
// and the other waits for the outcome.
type part struct {
	*os.File
	path string // the file's final path
}

const (
	// busyPause is the time between checks whether another download has released a part.
	busyPause = 200 * time.Millisecond
	// busyWarnAfter is how long another download may hold a part before that is reported: it may be
	// suspended, and wait for a person.
	busyWarnAfter = 5 * time.Second
)

// awaitPart is like openPart, but waits while another download has the part. If that takes long, it
// calls tell.
func awaitPart(ctx context.Context, path string, warn func(part string)) (*part, error) {
	for since := time.Now(); ; {
		p, err := openPart(path)
		if !errors.Is(err, errBusy) {
			return p, err
		}
		if time.Since(since) >= busyWarnAfter {
			warn(partPath(path))
		}
		if err := sleep.For(ctx, busyPause); err != nil {
			return nil, err
		}
	}
}

// partPath is the path of a file until it gets its name.
func partPath(path string) string {
	dir, name := filepath.Split(path)
	return filepath.Join(dir, "."+name+".part")
}

// openPart opens an existing part or creates one. It returns errBusy if another download has the
// part, or has just had it. A symbolic link is not followed: otherwise whoever may write into the
// folder could have a file elsewhere overwritten.
func openPart(path string) (*part, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, asDiskError(err)
	}
	f, err := os.OpenFile(partPath(path), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o644)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // EMLINK on BSD
		return nil, fmt.Errorf("%s is a symbolic link: remove it", partPath(path))
	}
	if err != nil {
		return nil, asDiskError(err)
	}
	p := &part{f, path}
	held, err := p.lock()
	if held && err == nil {
		return p, nil
	}
	if err == nil {
		err = errBusy
	}
	_ = f.Close()
	return nil, err
}

// lock returns false if the part was renamed or removed between open and lock.
func (p *part) lock() (held bool, err error) {
	err = flock.Lock(p.File)
	switch {
	case errors.Is(err, flock.ErrHeld):
		return false, errBusy
	case err != nil && !errors.Is(err, errors.ErrUnsupported): // some network disks have no locks
		return false, asDiskError(err)
	}
	locked, err := p.Stat()
	if err != nil {
		return false, asDiskError(err)
	}
	current, err := os.Lstat(p.Name())
	return err == nil && os.SameFile(locked, current), nil
}

// size returns how much an earlier run left.
func (p *part) size() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, asDiskError(err)
	}
	return info.Size(), nil
}

// truncate keeps the first n bytes and seeks to their end.
func (p *part) truncate(n int64) error {
	if err := p.Truncate(n); err != nil {
		return asDiskError(err)
	}
	_, err := p.Seek(n, 0)
	return asDiskError(err)
}

// Write implements io.Writer.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	return n, asDiskError(err)
}

// install gives the file its name and the object's time, by which this package and `aws s3 sync`
// recognize it later.
func (p *part) install(modified time.Time) error {
	//  1. its bytes are on disk  2. it gets its name
	if err := p.Sync(); err != nil {
		return asDiskError(err)
	}
	if err := os.Chtimes(p.Name(), modified, modified); err != nil {
		return asDiskError(err)
	}
	if _, err := os.Lstat(p.path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: it appeared meanwhile", errDiffers), asDiskError(err))
	}
	return asDiskError(os.Rename(p.Name(), p.path))
}

// remove deletes the part while it is locked.
func (p *part) remove() error {
	err := os.Remove(p.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return asDiskError(err)
}
