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
	broken chan error // receives an error once the worker has to end because of the disk

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
		d.giveUp(fmt.Errorf("appender.data_dir cannot be used for %s: %w", brokenAfter, err))
	}
}

// giveUp ends the worker, so that others get its partitions.
func (d *disk) giveUp(err error) {
	select {
	case d.broken <- err:
	default: // the worker is already ending
	}
}

const (
	// mostDamages is how many tenures of a partition in a row may end because of damaged local files
	// before the worker ends.
	mostDamages = 3
	// damagePeriod is the time after which another damage counts as the first.
	damagePeriod = time.Hour
)

// noteDamage counts a tenure that ended because the disk did not return local files as they were
// written. The next tenure reads their records again, to the same disk. If that damages them again
// and again, the partition makes no progress, while each try costs Kafka up to an hour's records
// and the ledger a claim. So the worker ends.
func (p *partition) noteDamage(err error) {
	p.appender.metrics.damages.Inc()
	if time.Since(p.damagedAt) > damagePeriod {
		p.damages = 0
	}
	p.damages, p.damagedAt = p.damages+1, time.Now()
	if p.damages >= mostDamages {
		p.appender.disk.giveUp(fmt.Errorf("local files of partition %d were damaged %d times in a row; if the disk of appender.data_dir fails, replace it: %w", p.log.Partition, p.damages, err))
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
