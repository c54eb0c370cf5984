package appender

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"
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
	free       func() (int64, error) // bytes of free disk
	minFree    int64                 // free bytes below which reading pauses
	diskShort  atomic.Bool
	maxWaiting int64        // sealed files that may wait, see Config.MaxWaiting
	waiting    atomic.Int64 // sealed files of all partitions that are in no entry
}

func newPressure(dir string, minFree, maxWaiting int64) *pressure {
	return &pressure{minFree: minFree, maxWaiting: maxWaiting, free: func() (int64, error) {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		return int64(st.Bavail) * st.Bsize, err
	}}
}

// pauseReason returns why a partition must not read, or "". own is how many sealed files of its own
// wait, last what pauseReason last returned. A partition that was paused because of waiting files
// reads again once no more than three quarters of the maximum wait.
func (p *pressure) pauseReason(last string, own int) string {
	most := p.maxWaiting
	if last == pausedStaging {
		most = most * 3 / 4
	}
	switch {
	case p.diskShort.Load():
		return pausedDisk
	case own > 0 && p.waiting.Load() > most:
		return pausedStaging
	}
	return ""
}

// watch checks the disk every second until ctx ends. Reading resumes when a quarter more than the
// minimum is free.
func (p *pressure) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if free, err := p.free(); err == nil {
			switch {
			case free < p.minFree:
				p.diskShort.Store(true)
			case free > p.minFree+p.minFree/4:
				p.diskShort.Store(false)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
