package appender

import (
	"context"
	"sync/atomic"
	"syscall"
	"time"
)

// pausedDisk is why nothing is read while the disk is short of space.
const pausedDisk = "disk"

// pressure watches what reading depends on. Memory needs no pause: open files
// make room by themselves, by compressing into the spool.
type pressure struct {
	dir   string
	least int64 // bytes of free disk
	low   atomic.Bool
}

func newPressure(dir string, least int64) *pressure { return &pressure{dir: dir, least: least} }

// paused returns why nothing is to be read, or "".
func (p *pressure) paused() string {
	if p.low.Load() {
		return pausedDisk
	}
	return ""
}

// watch looks at the disk every second until ctx ends. Reading goes on when a
// quarter more than the least is free again.
func (p *pressure) watch(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var st syscall.Statfs_t
		if err := syscall.Statfs(p.dir, &st); err == nil {
			free := int64(st.Bavail) * st.Bsize
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
