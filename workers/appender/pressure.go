package appender

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/sealift/sealift/pkg/progress"
)

// Reasons why nothing is read.
const (
	pausedDisk    = "disk is short"
	pausedStaging = "staging takes files slower than they are sealed"
)

// pressure watches the conditions for reading. Open files need no pause: they free memory by
// themselves, by compressing into the spool. Sealed files that wait for the staging bucket take
// about 350 bytes of memory each, and their size on disk.
type pressure struct {
	dir           string // the data directory
	space         func() (diskSpace, error)
	minFree       int64 // free bytes below which reading pauses
	diskShort     atomic.Bool
	free          atomic.Int64 // bytes of free disk, when last checked
	maxWaiting    int64        // sealed files that may wait, see Config.MaxWaiting
	waiting       atomic.Int64 // sealed files of all partitions that are in no entry
	stagingBehind bool         // as last logged; used only by the goroutine of watch
}

// diskSpace is the room on a disk, in bytes.
type diskSpace struct {
	free int64 // for this process
	size int64 // what would be free if nothing else were stored; 0: not known
}

func spaceOf(dir string) (diskSpace, error) {
	var st syscall.Statfs_t
	err := syscall.Statfs(dir, &st)
	// Free blocks that are not available are reserved for root: there is never room in them.
	return diskSpace{free: int64(st.Bavail) * st.Bsize, size: int64(st.Blocks-st.Bfree+st.Bavail) * st.Bsize}, err
}

func newPressure(dir string, minFree, maxWaiting int64) *pressure {
	return &pressure{dir: dir, minFree: minFree, maxWaiting: maxWaiting, space: func() (diskSpace, error) { return spaceOf(dir) }}
}

// resumeAbove is how many bytes have to be free before reading continues after a pause.
func (p *pressure) resumeAbove() int64 { return p.minFree + min(p.minFree/4, math.MaxInt64-p.minFree) }

// resumeAt is how many sealed files may wait when reading continues after a pause because of them.
func (p *pressure) resumeAt() int64 { return p.maxWaiting * 3 / 4 }

// checkSize returns an error if the disk is so small that a pause for lack of room would never end.
func (p *pressure) checkSize(ctx context.Context, logger *slog.Logger) error {
	if p.minFree == 0 {
		return nil
	}
	space, err := p.space()
	switch {
	case err != nil || space.size <= 0:
		logger.WarnContext(ctx, "the size of the disk is not known; if reading never begins, lower appender.disk_free",
			"dir", p.dir, "needed_bytes", p.resumeAbove(), "err", err)
	case space.size <= p.resumeAbove():
		return fmt.Errorf("appender.disk_free (%s) is too much for the disk of appender.data_dir %q, which holds %s: reading would pause for lack of room and never continue; use a larger disk, or set appender.disk_free to less than %s",
			progress.Bytes(p.minFree), p.dir, progress.Bytes(space.size), progress.Bytes(space.size/5*4))
	}
	return nil
}

// pauseReason returns why a partition must not read, or "". own is how many sealed files of its own
// wait, last what pauseReason last returned. A partition that was paused because of waiting files
// reads again once no more than resumeAt files wait.
func (p *pressure) pauseReason(last string, own int) string {
	most := p.maxWaiting
	if last == pausedStaging {
		most = p.resumeAt()
	}
	switch {
	case p.diskShort.Load():
		return pausedDisk
	case own > 0 && p.waiting.Load() > most:
		return pausedStaging
	}
	return ""
}

// explain returns what an operator needs to know about a pause; reason is what pauseReason returned.
func (p *pressure) explain(reason string) string {
	switch reason {
	case pausedDisk:
		return fmt.Sprintf("%s: %s free in %q, reading continues above %s (appender.disk_free is %s)",
			reason, progress.Bytes(p.free.Load()), p.dir, progress.Bytes(p.resumeAbove()), progress.Bytes(p.minFree))
	case pausedStaging:
		return fmt.Sprintf("%s: %s waiting in %q, reading continues at %s; the log says if staging.bucket does not take them",
			reason, progress.Plural(p.waiting.Load(), "file"), p.dir, progress.Count(p.resumeAt()))
	}
	return reason
}

// watch checks the disk every second until ctx ends. Reading resumes when a quarter more than the
// minimum is free. Pauses are logged here and not by the partitions, since they all share the disk.
func (p *pressure) watch(ctx context.Context, logger *slog.Logger) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if space, err := p.space(); err == nil {
			p.noteFree(ctx, logger, space.free)
		}
		p.logStaging(ctx, logger)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// noteFree notes how much disk is free.
func (p *pressure) noteFree(ctx context.Context, logger *slog.Logger, free int64) {
	p.free.Store(free)
	switch short := p.diskShort.Load(); {
	case !short && free < p.minFree:
		p.diskShort.Store(true)
		logger.WarnContext(ctx, "the disk is short: reading pauses until there is room; free some, use a larger disk, or lower appender.disk_free",
			"dir", p.dir, "free_bytes", free, "needed_bytes", p.resumeAbove())
	case short && free > p.resumeAbove():
		p.diskShort.Store(false)
		logger.InfoContext(ctx, "the disk has room again: reading continues", "dir", p.dir, "free_bytes", free)
	}
}

// logStaging logs when partitions begin to pause because of sealed files, and when all read again.
func (p *pressure) logStaging(ctx context.Context, logger *slog.Logger) {
	switch waiting := p.waiting.Load(); {
	case !p.stagingBehind && waiting > p.maxWaiting:
		p.stagingBehind = true
		logger.WarnContext(ctx, "staging takes files slower than they are sealed: partitions that have some waiting pause until it has caught up; if other warnings say why staging.bucket does not take them, that has to be fixed",
			"dir", p.dir, "waiting_files", waiting, "most_files", p.maxWaiting)
	case p.stagingBehind && waiting <= p.resumeAt():
		p.stagingBehind = false
		logger.InfoContext(ctx, "staging has caught up: reading continues", "waiting_files", waiting)
	}
}
