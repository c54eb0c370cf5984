package appender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// leftEvery is how often it is looked whether what is left can go, beside when
// partitions are assigned.
const leftEvery = time.Minute

// sweepLeft deletes local files of partitions that are not ours, as soon as the
// ledger has all of them, or an entry of another worker: no claim of ours goes on with
// them after that. Until then they stay, over restarts, too: if retention passed
// meanwhile they are the only copy, for want of which that worker is halted.
//
// Invariant: I5. What is deleted is what trust refuses, for good, or adds nothing.
func (a *Appender) sweepLeft(ctx context.Context, worker string) error {
	a.assigning.Lock()
	assigned := a.assigned // nobody is starting or stopping while this stays
	a.assigning.Unlock()
	left, err := os.ReadDir(a.spoolsDir())
	if err != nil {
		return nil //nolint:nilerr // nothing is left, or whoever makes it complains
	}
	var errs []error
	kept := 0
	for _, d := range left {
		n, err := strconv.Atoi(d.Name())
		numbered := err == nil
		if numbered && a.ours(n) {
			delete(a.left, n)
			continue
		}
		useless := true
		if numbered {
			useless, err = a.useless(ctx, n, worker)
			errs = append(errs, err)
		}
		a.assigning.Lock()
		if a.assigned != assigned {
			a.assigning.Unlock()
			return nil // the next one looks again
		}
		if useless {
			errs = append(errs, os.RemoveAll(filepath.Join(a.spoolsDir(), d.Name())))
			delete(a.left, n)
		} else {
			kept++
		}
		a.assigning.Unlock()
	}
	a.metrics.left.Set(float64(kept))
	return errors.Join(errs...)
}

func (a *Appender) ours(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.partitions[n] != nil
}

// useless tells whether the local files of a partition that is not ours are of no
// use any more. An error says that this is not known.
func (a *Appender) useless(ctx context.Context, n int, worker string) (bool, error) {
	cp := a.left[n]
	log := ledger.Log{Topic: a.cfg.Topic, Incarnation: a.cfg.Incarnation, Partition: n}
	if cp == nil {
		local, err := segment.Recover(a.spoolConfig(n))
		if errors.Is(err, segment.ErrNoCheckpoint) || errors.Is(err, segment.ErrDamaged) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		defer local.Close()
		cp = new(checkpoint)
		if json.Unmarshal(local.State, cp) != nil {
			return true, nil
		}
		a.left[n] = cp
		a.deps.Logger.InfoContext(ctx, "local files of a partition that is not ours are kept until the ledger has them or another worker has written to it",
			"topic", a.cfg.Topic, "partition", n, "entry", cp.Seq, "read_to", cp.Position)
	}
	for seq := cp.Seq; ; seq++ {
		e, err := a.deps.Rotator.Entry(ctx, log, seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("look whether partition %d has another owner: %w", n, err)
		case e.Owner != worker || seq == cp.Seq && e.Attempt != cp.Attempt || e.LowWatermark >= cp.Position:
			return true, nil
		}
	}
}
