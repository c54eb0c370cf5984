package appender

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
)

// leftEvery is how often leftovers are looked at, besides whenever partitions are
// assigned.
const leftEvery = time.Minute

// leftover is what is known of local files that are not ours.
type leftover struct {
	checkpoint
	next int64 // entries below it were looked at: they do not make the files useless
}

// watchLeft sweeps until ctx ends. It has a goroutine of its own, for it waits for
// disks and the ledger, and reading must not.
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
			continue // partitions are starting and stopping, which may take a while
		}
		assigned := a.assigned
		a.assigning.Unlock()
		if assigned == 0 || assigned == swept && time.Since(at) < leftEvery {
			continue
		}
		if assigned != swept { // a partition that was ours in between has other files now
			clear(a.left)
		}
		swept, at = assigned, time.Now()
		if err := a.sweepLeft(ctx, worker, assigned); err != nil && ctx.Err() == nil {
			a.deps.Logger.WarnContext(ctx, "local files of partitions that are not ours were not deleted", "err", err)
		}
	}
}

// sweepLeft deletes local files of partitions that are not ours, also of another topic
// or incarnation, once the ledger that they build on has all that they hold, or an
// entry of another worker: no claim of ours goes on with them after that. Until then
// they stay, over restarts too: if retention passed meanwhile they are the only copy,
// and for want of it that other worker is halted. It gives up when the partitions are
// assigned anew, that is, when assigned is not what it was.
//
// Invariant: I5. What is deleted is what trust refuses, for good, or adds nothing.
func (a *Appender) sweepLeft(ctx context.Context, worker string, assigned int) error {
	spools := filepath.Join(a.cfg.DataDir, spoolDir)
	left, err := fs.Glob(os.DirFS(spools), "*/*/*")
	if err != nil {
		return fmt.Errorf("sweep appender.data_dir: %w", err)
	}
	var errs []error
	kept, away := 0, false
	for _, path := range left {
		if ctx.Err() != nil {
			return nil
		}
		dir := filepath.Join(spools, path)
		log, numbered := logOf(path)
		if numbered && a.ours(log) {
			continue
		}
		why := "they are no partition's"
		if numbered {
			var l *leftover
			l, err = a.leftOf(ctx, log, dir)
			switch {
			case err != nil || l != nil && away: // or each of them would wait for the ledger as long
				why = ""
			case l == nil:
				why = "they hold no whole checkpoint"
			default:
				why, err = a.superseded(ctx, log, l, worker)
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
		if why != "" {
			a.deps.Logger.InfoContext(ctx, "local files that are no longer needed are deleted", "dir", dir, "why", why)
			errs = append(errs, os.RemoveAll(dir))
			delete(a.left, log)
		} else {
			kept++
		}
		a.assigning.Unlock()
	}
	a.metrics.left.Set(float64(kept))
	return errors.Join(errs...)
}

// logOf returns the log whose spool lies there, below spoolDir; ok is false if none does.
func logOf(path string) (log ledger.Log, ok bool) {
	part := strings.Split(path, "/")
	n, err := strconv.Atoi(part[2])
	return ledger.Log{Topic: part[0], Incarnation: part[1], Partition: n}, err == nil && strconv.Itoa(n) == part[2]
}

func (a *Appender) ours(log ledger.Log) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.partitions[log.Partition]
	return r != nil && r.log == log
}

// leftOf returns what is left of a partition that is not ours, nil if there is no
// checkpoint. Whether its files are whole is for a claim to find out, which reads them.
func (a *Appender) leftOf(ctx context.Context, log ledger.Log, dir string) (*leftover, error) {
	if l := a.left[log]; l != nil {
		return l, nil
	}
	state, err := segment.State(ctx, dir)
	if errors.Is(err, segment.ErrNoCheckpoint) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	l := new(leftover)
	if json.Unmarshal(state, &l.checkpoint) != nil {
		return nil, nil //nolint:nilerr // nobody can go on with it
	}
	l.Skipped, l.Doubles = nil, nil // nobody asks for them, and they may be many
	l.next = l.Seq
	a.left[log] = l
	lg := a.deps.Logger.With("dir", dir, "topic", log.Topic, "incarnation", log.Incarnation, "partition", log.Partition, "entry", l.Seq, "read_to", l.Position)
	if log.Topic == a.cfg.Topic && log.Incarnation == a.cfg.Incarnation {
		lg.InfoContext(ctx, "keeping local files of a partition that is not ours until the ledger has them or another worker has written to it")
	} else {
		lg.WarnContext(ctx, "keeping local files of another topic or incarnation, which the ledger may lack; correct kafka.events_topic or kafka.incarnation if they are wrong; to give the files up, delete the directory")
	}
	return l, nil
}

// superseded tells why local files are of no use: the ledger has all of them, or
// makes them void. It is "" if they are of use; an error says that this is not known.
func (a *Appender) superseded(ctx context.Context, log ledger.Log, l *leftover, worker string) (string, error) {
	for ; ; l.next++ {
		seq := l.next
		e, err := a.deps.Rotator.Entry(ctx, log, seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("look whether ledger %s has another owner: %w", log, err)
		case seq == l.Seq && e.Attempt != l.Attempt: // of another staging bucket, perhaps by mistake
			return "", nil
		case e.Owner != worker:
			return fmt.Sprintf("entry %d of ledger %s is of %q", seq, log, e.Owner), nil
		case e.LowWatermark >= l.Position:
			return fmt.Sprintf("the ledger has them all: entry %d of %s", seq, log), nil
		}
	}
}
