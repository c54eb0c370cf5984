package appender

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"
)

// Why nothing is read.
const (
	pausedDisk    = "disk is short"
	pausedStaging = "staging takes files slower than they are sealed"
)

// pressure watches what reading depends on. Open files need no pause: they
// make room in memory by themselves, by compressing into the spool. Sealed ones
// that wait for the staging bucket take some 350 bytes each, and their bytes on the disk.
type pressure struct {
	free    func() (int64, error) // bytes of free disk
	least   int64                 // of them
	low     atomic.Bool
	most    int64        // sealed files that may wait
	waiting atomic.Int64 // sealed files that are in no entry, of all partitions
}

func newPressure(dir string, least, most int64) *pressure {
	return &pressure{least: least, most: most, free: func() (int64, error) {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		return int64(st.Bavail) * st.Bsize, err
	}}
}

// paused returns why a partition with that many files of its own waiting is not to
// read, or "". One that was paused for such files reads on once no more than three
// quarters of the most wait.
func (p *pressure) paused(was string, own int) string {
	most := p.most
	if was == pausedStaging {
		most = most * 3 / 4
	}
	switch {
	case p.low.Load():
		return pausedDisk
	case own > 0 && p.waiting.Load() > most:
		return pausedStaging
	}
	return ""
}

// watch looks at the disk every second until ctx ends. Reading goes on when a
// quarter more than the least is free again.
func (p *pressure) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		if free, err := p.free(); err == nil {
			switch {
			case free < p.least:
				p.low.Store(true)
			case free > p.least+p.least/4:
				p.low.Store(false)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
