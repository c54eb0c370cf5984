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
	free  func() (int64, error) // bytes of free disk
	least int64                 // of them
	low   atomic.Bool
}

func newPressure(dir string, least int64) *pressure {
	return &pressure{least: least, free: func() (int64, error) {
		var st syscall.Statfs_t
		err := syscall.Statfs(dir, &st)
		return int64(st.Bavail) * st.Bsize, err
	}}
}

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
