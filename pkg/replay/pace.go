package replay

import (
	"context"
	"time"
)

// pacer keeps a rate of files and of bytes, in steps of a file. It saves
// nothing up: after a pause it goes on at the rate.
type pacer struct {
	files float64 // a second; 0: unbounded
	bytes int64   // a second; 0: unbounded
	next  time.Time
}

// due returns how long to wait before the next file, and counts it.
func (p *pacer) due(size int64, now time.Time) time.Duration {
	if p.next.Before(now) {
		p.next = now
	}
	wait := p.next.Sub(now)
	var cost time.Duration
	if p.files > 0 {
		cost = time.Duration(float64(time.Second) / p.files)
	}
	if p.bytes > 0 {
		cost = max(cost, time.Duration(float64(size)/float64(p.bytes)*float64(time.Second)))
	}
	p.next = p.next.Add(cost)
	return wait
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
