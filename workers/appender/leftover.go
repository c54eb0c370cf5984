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
	"github.com/sealift/sealift/pkg/sleep"
)

// leftoverInterval is how often leftovers are checked, in addition to each assignment of
// partitions.
const leftoverInterval = time.Minute

// leftover is what is known of the local files of a partition that is not ours.
type leftover struct {
	checkpoint
	next int64 // entries below it were checked: they do not make the files useless
}

// watchLeftovers sweeps until ctx ends. It has its own goroutine, because it waits for disks and
// the ledger, and reading must not.
func (a *Appender) watchLeftovers(ctx context.Context, worker string) {
	every := 5 * a.tickInterval()
	swept, at := 0, time.Time{}
	for {
		if sleep.For(ctx, every/2+jitter.N(every)) != nil {
			return
		}
		if !a.assignMu.TryLock() {
			continue // partitions are being started and stopped, which may take a while
		}
		assignments := a.assignments
		a.assignMu.Unlock()
		if assignments == 0 || assignments == swept && time.Since(at) < leftoverInterval {
			continue
		}
		if assignments != swept { // a partition that was ours in between has other files now
			clear(a.leftovers)
		}
		swept, at = assignments, time.Now()
		if err := errors.Join(a.sweepLeftovers(ctx, worker, assignments), a.sweepStores(ctx, assignments)); err != nil && ctx.Err() == nil {
			a.deps.Logger.WarnContext(ctx, "local files of partitions that are not ours, or what is remembered of their messages, were not deleted", "err", err)
		}
	}
}

// sweepLeftovers deletes local files of partitions that are not ours, also of other topics and
// incarnations, once the ledger that they build on has everything they hold, or has an entry of
// another worker: after that, no claim of ours can continue with them. Until then they stay, also
// across restarts: if retention has passed meanwhile, they are the only copy, and the other worker
// is halted without it. sweepLeftovers gives up when partitions are assigned anew, that is, when
// a.assignments differs from assignments.
//
// Invariant: I5. It deletes only what checkChain would refuse for good, or what adds nothing.
func (a *Appender) sweepLeftovers(ctx context.Context, worker string, assignments int) error {
	spools := filepath.Join(a.cfg.DataDir, spoolDir)
	left, err := fs.Glob(os.DirFS(spools), "*/*/*")
	if err != nil {
		return fmt.Errorf("sweep appender.data_dir: %w", err)
	}
	var errs []error
	kept, ledgerFailed := 0, false
	for _, path := range left {
		if ctx.Err() != nil {
			return nil
		}
		dir := filepath.Join(spools, path)
		log, ok := logOf(path)
		if ok && a.ours(log) {
			continue
		}
		if !ok {
			errs = append(errs, a.remove(ctx, dir, "they are no partition's"))
			continue
		}
		l, err := a.readLeftover(ctx, log, dir)
		why := ""
		switch {
		case err != nil || l != nil && ledgerFailed: // after one failure the others do not wait for the ledger as well
		case l == nil:
			why = "they hold no whole checkpoint"
		default:
			why, err = a.superseded(ctx, log, l, worker)
			ledgerFailed = err != nil && !errors.Is(err, ledger.ErrCorrupt)
		}
		errs = append(errs, err)
		if why == "" {
			kept++
			continue
		}
		doomed, err := a.renameForDeletion(dir, assignments)
		if errors.Is(err, errReassigned) {
			return errors.Join(errs...) // the next sweep checks again
		}
		if err == nil {
			delete(a.leftovers, log)
			err = a.remove(ctx, doomed, why)
		}
		errs = append(errs, err)
	}
	a.metrics.leftovers.Set(float64(kept))
	return errors.Join(errs...)
}

// errReassigned says that partitions were assigned in the meantime, perhaps the one that was not
// ours.
var errReassigned = errors.New("partitions are assigned anew")

// renameForDeletion renames the directory of a partition that is not ours to a name that belongs to
// no partition, so that any later sweep deletes it. Deleting may take minutes, and neither the next
// assignment nor a stop must wait for it.
func (a *Appender) renameForDeletion(dir string, assignments int) (doomed string, err error) {
	if !a.assignMu.TryLock() {
		return "", errReassigned
	}
	defer a.assignMu.Unlock()
	if a.assignments != assignments {
		return "", errReassigned
	}
	doomed = fmt.Sprintf("%s.%x", dir, time.Now().UnixNano())
	return doomed, os.Rename(dir, doomed)
}

// remove deletes what is at path, file by file, until ctx ends.
func (a *Appender) remove(ctx context.Context, path, why string) error {
	a.deps.Logger.InfoContext(ctx, "local files that are no longer needed are deleted", "dir", path, "why", why)
	var errs []error
	err := filepath.WalkDir(path, func(at string, d fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			errs = append(errs, err)
		case !d.IsDir():
			errs = append(errs, unlink(at))
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errors.Join(append(errs, os.RemoveAll(path))...)
}

var unlink = os.Remove // a variable for tests

// logOf returns the log whose spool is at path, relative to spoolDir; ok is false if the path is
// not that of a partition.
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

// readLeftover returns what is left of a partition that is not ours, or nil if there is no
// checkpoint. It does not check whether the files are intact; a claim does, since it reads them.
func (a *Appender) readLeftover(ctx context.Context, log ledger.Log, dir string) (*leftover, error) {
	if l := a.leftovers[log]; l != nil {
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
	l.Skipped, l.Duplicates = nil, nil // not needed, and there may be many
	l.next = l.Seq
	a.leftovers[log] = l
	lg := a.deps.Logger.With("dir", dir, "topic", log.Topic, "incarnation", log.Incarnation, "partition", log.Partition, "entry", l.Seq, "read_to", l.Position)
	if log.Topic == a.cfg.Topic && log.Incarnation == a.cfg.Incarnation {
		lg.InfoContext(ctx, "keeping local files of a partition that is not ours until the ledger has them or another worker has written to it")
	} else {
		lg.WarnContext(ctx, "keeping local files of another topic or incarnation, which the ledger may lack; correct kafka.events_topic or kafka.incarnation if they are wrong; to give the files up, delete the directory")
	}
	return l, nil
}

// superseded returns why local files are of no use: the ledger has all of them, or makes them void.
// It returns "" if they are of use. An error means that this is not known.
func (a *Appender) superseded(ctx context.Context, log ledger.Log, l *leftover, worker string) (string, error) {
	for ; ; l.next++ {
		seq := l.next
		e, err := a.deps.Rotator.Entry(ctx, log, seq)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			return "", nil
		case err != nil:
			return "", fmt.Errorf("look whether ledger %s has another owner: %w", log, err)
		case seq == l.Seq && e.Attempt != l.Attempt: // that of another staging bucket, perhaps configured by mistake
			return "", nil
		case e.Owner != worker:
			return fmt.Sprintf("entry %d of ledger %s is of %q", seq, log, e.Owner), nil
		case e.LowWatermark >= l.Position:
			return fmt.Sprintf("the ledger has them all: entry %d of %s", seq, log), nil
		}
	}
}
