package appender

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// disk knows for how long nothing could be written to the data directory.
type disk struct {
	broken chan error // gets one when that is brokenAfter

	mu    sync.Mutex // guards since
	since time.Time  // of the first failure; zero: the last try succeeded
}

// brokenAfter is when a worker that cannot write to its disk ends, so that others get
// its partitions.
const brokenAfter = 2 * time.Minute

func newDisk() *disk { return &disk{broken: make(chan error, 1)} }

// note takes up the outcome of a try.
func (d *disk) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.since = time.Time{}
	case d.since.IsZero():
		d.since = time.Now()
	case time.Since(d.since) >= brokenAfter:
		select {
		case d.broken <- fmt.Errorf("appender.data_dir cannot be used for %s: %w", brokenAfter, err):
		default: // the worker ends already
		}
	}
}

// usable returns why the partition's directory cannot be written to. To find that out
// after the claim would write another claim with each try, and they are there for good.
func (p *partition) usable() error {
	err := writable(p.a.spoolConfig(p.log.Partition).Dir)
	if err == nil {
		p.a.disk.note(nil)
	} else { // or that directory is in trouble alone
		p.a.disk.note(writable(p.a.spoolsDir()))
	}
	return err
}

// writable makes the directory, and a file in it for a moment. A disk that is full is one
// that can be used: what lies on it makes room when it is staged.
func writable(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "probe-") // whatever the spool does first deletes it
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
