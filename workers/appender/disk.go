package appender

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"
)

// disk tracks for how long nothing could be written to the data directory.
type disk struct {
	broken chan error // receives an error once that has lasted for brokenAfter

	mu           sync.Mutex // guards failingSince
	failingSince time.Time  // time of the first failure; zero: the last try succeeded
}

// brokenAfter is how long a worker that cannot write to its disk continues before it ends, so that
// others get its partitions.
const brokenAfter = 2 * time.Minute

func newDisk() *disk { return &disk{broken: make(chan error, 1)} }

// record records the outcome of a try.
func (d *disk) record(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case err == nil:
		d.failingSince = time.Time{}
	case d.failingSince.IsZero():
		d.failingSince = time.Now()
	case time.Since(d.failingSince) >= brokenAfter:
		select {
		case d.broken <- fmt.Errorf("appender.data_dir cannot be used for %s: %w", brokenAfter, err):
		default: // the worker is already ending
		}
	}
}

// checkWritable returns why the partition's directory cannot be written to. It is checked before
// the claim: otherwise each try would write another claim, and entries stay for good.
func (p *partition) checkWritable() error {
	err := probeWrite(p.appender.spoolConfig(p.log.Partition).Dir)
	if err == nil {
		p.appender.disk.record(nil)
	} else { // perhaps only that directory has a problem
		p.appender.disk.record(probeWrite(p.appender.spoolsDir()))
	}
	return err
}

// probeWrite creates the directory and, briefly, a file in it. A full disk counts as usable: it
// gets room when the files on it are staged.
func probeWrite(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "probe-") // if it is left behind, the spool deletes it when it opens the directory
	switch {
	case errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		return nil
	case err != nil:
		return err
	}
	return errors.Join(f.Close(), os.Remove(f.Name()))
}
