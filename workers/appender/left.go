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

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// leftEvery is how often it is looked whether what is left can go, beside when
// partitions are assigned.
const leftEvery = time.Minute

// watchLeft sweeps until ctx ends. It waits for disks and the ledger: nobody
// waits for it.
func (a *Appender) watchLeft(ctx context.Context, worker string) {
	every := 5 * a.tickEvery()
	swept, at := 0, time.Time{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every/2 + jitter.N(every)):
		}
		if !a.assigning.TryLock() {
			continue // it is just changing, which may wait for partitions to end
		}
		assigned := a.assigned
		a.assigning.Unlock()
		if assigned == 0 || assigned == swept && time.Since(at) < leftEvery {
			continue
		}
		if assigned != swept { // what was ours meanwhile has other files
			clear(a.left)
		}
		swept, at = assigned, time.Now()
		if err := a.sweepLeft(ctx, worker, assigned); err != nil && ctx.Err() == nil {
			a.deps.Logger.WarnContext(ctx, "local files of partitions that are not ours were not deleted", "err", err)
		}
	}
}

// sweepLeft deletes local files of partitions that are not ours, as soon as the
// ledger has all of them, or an entry of another worker: no claim of ours goes on with
// them after that. Until then they stay, over restarts, too: if retention passed
// meanwhile they are the only copy, for want of which that worker is halted.
// Nobody starts or stops while assigned stays what it is.
//
// Invariant: I5. What is deleted is what trust refuses, for good, or adds nothing.
func (a *Appender) sweepLeft(ctx context.Context, worker string, assigned int) error {
	left, err := os.ReadDir(a.spoolsDir())
	if err != nil {
		return nil //nolint:nilerr // nothing is left, or whoever makes it complains
	}
	var errs []error
	kept, away := 0, false
	for _, d := range left {
		if ctx.Err() != nil {
			return nil
		}
		n, err := strconv.Atoi(d.Name())
		numbered := err == nil
		if numbered && a.ours(n) {
			continue
		}
		useless := true
		if numbered {
			var cp *checkpoint
			cp, err = a.leftOf(ctx, n)
			useless = err == nil && cp == nil
			if cp != nil && !away { // or each of them would wait for the ledger as long
				useless, err = a.superseded(ctx, n, cp, worker)
				away = err != nil && !errors.Is(err, ledger.ErrCorrupt)
			}
			errs = append(errs, err)
		}
		if !a.assigning.TryLock() {
			return nil // the next one looks again
		}
		if a.assigned != assigned {
			a.assigning.Unlock()
			return nil
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

// leftOf returns the checkpoint of a partition that is not ours, nil if there is
// none. Whether its files are whole is for a claim to find out, which reads them.
func (a *Appender) leftOf(ctx context.Context, n int) (*checkpoint, error) {
	if cp := a.left[n]; cp != nil {
		return cp, nil
	}
	state, err := segment.State(a.spoolConfig(n).Dir)
	if errors.Is(err, segment.ErrNoCheckpoint) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	cp := new(checkpoint)
	if json.Unmarshal(state, cp) != nil {
		return nil, nil //nolint:nilerr // nobody can go on with it
	}
	a.left[n] = cp
	a.deps.Logger.InfoContext(ctx, "local files of a partition that is not ours are kept until the ledger has them or another worker has written to it",
		"topic", a.cfg.Topic, "partition", n, "entry", cp.Seq, "read_to", cp.Position)
	return cp, nil
}

// superseded tells whether the ledger has all of a checkpoint's files, or makes
// them void. An error says that this is not known.
func (a *Appender) superseded(ctx context.Context, n int, cp *checkpoint, worker string) (bool, error) {
	log := ledger.Log{Topic: a.cfg.Topic, Incarnation: a.cfg.Incarnation, Partition: n}
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
