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
)

// diskError is a failure of the local disk: it ends the whole download, since
// other files would meet it too.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }
func (e *diskError) Unwrap() error { return e.err }

func onDisk(err error) error {
	if err == nil {
		return nil
	}
	return &diskError{err}
}

// errBusy says that another process downloads the same file.
var errBusy = errors.New("another download of it into the same folder is under way")

// part is a file that has not got its name yet: .NAME.part beside it, where
// the next run finds what an interrupted one left. It is locked: of two runs
// at the same time one goes on, and the other waits for what becomes of it.
type part struct {
	*os.File
	path string // the file's own
}

const (
	// busyPause is how often it is looked whether another is done with a part.
	busyPause = 200 * time.Millisecond
	// busyTold is how long another has it until somebody is told: it may be stopped,
	// and wait for a person.
	busyTold = 5 * time.Second
)

// awaitPart is openPart once no other has the part. It tells of one that another
// has for long.
func awaitPart(ctx context.Context, path string, tell func(part string)) (*part, error) {
	for since := time.Now(); ; {
		p, err := openPart(path)
		if !errors.Is(err, errBusy) {
			return p, err
		}
		if time.Since(since) >= busyTold {
			tell(partOf(path))
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(busyPause):
		}
	}
}

// partOf is where a file is until it gets its name.
func partOf(path string) string {
	dir, name := filepath.Split(path)
	return filepath.Join(dir, "."+name+".part")
}

// openPart opens what there is, or makes it. It returns errBusy if another has it, or
// had it just now. A link is not followed: whoever may write into the folder would
// choose a file elsewhere that is overwritten.
func openPart(path string) (*part, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, onDisk(err)
	}
	f, err := os.OpenFile(partOf(path), os.O_CREATE|os.O_RDWR|syscall.O_NOFOLLOW, 0o644)
	if errors.Is(err, syscall.ELOOP) || errors.Is(err, syscall.EMLINK) { // which BSD says
		return nil, fmt.Errorf("%s is a symbolic link: remove it", partOf(path))
	}
	if err != nil {
		return nil, onDisk(err)
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

// lock is false if the file got its name, or went, between open and lock.
func (p *part) lock() (held bool, err error) {
	err = flock.Lock(p.File)
	switch {
	case errors.Is(err, flock.ErrHeld):
		return false, errBusy
	case err != nil && !errors.Is(err, errors.ErrUnsupported): // some network disks have no locks
		return false, onDisk(err)
	}
	ours, err := p.Stat()
	if err != nil {
		return false, onDisk(err)
	}
	there, err := os.Lstat(p.Name())
	return err == nil && os.SameFile(ours, there), nil
}

// size is how much an earlier run left.
func (p *part) size() (int64, error) {
	info, err := p.Stat()
	if err != nil {
		return 0, onDisk(err)
	}
	return info.Size(), nil
}

// cut leaves the first n bytes and goes to their end.
func (p *part) cut(n int64) error {
	if err := p.Truncate(n); err != nil {
		return onDisk(err)
	}
	_, err := p.Seek(n, 0)
	return onDisk(err)
}

// Write implements io.Writer.
func (p *part) Write(b []byte) (int, error) {
	n, err := p.File.Write(b)
	return n, onDisk(err)
}

// install gives the file its name and the object's time, by which it, and `aws
// s3 sync`, know it again.
func (p *part) install(modified time.Time) error {
	// 1. its bytes are on disk  2. it gets its name
	if err := p.Sync(); err != nil {
		return onDisk(err)
	}
	if err := os.Chtimes(p.Name(), modified, modified); err != nil {
		return onDisk(err)
	}
	if _, err := os.Lstat(p.path); !errors.Is(err, fs.ErrNotExist) {
		return errors.Join(fmt.Errorf("%w: it appeared meanwhile", errDiffers), onDisk(err))
	}
	return onDisk(os.Rename(p.Name(), p.path))
}

// remove takes the part away, while it is locked.
func (p *part) remove() error {
	err := os.Remove(p.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return onDisk(err)
}
