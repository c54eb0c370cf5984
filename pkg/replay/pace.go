package replay

import "time"

// pacer keeps a rate of files and of bytes, file by file. It does not make up for pauses: after one
// it continues at the same rate.
type pacer struct {
	files float64 // per second; 0: unbounded
	bytes int64   // per second; 0: unbounded
	next  time.Time
}

// reserve returns how long to wait before the next file, and counts that file.
func (p *pacer) reserve(size int64, now time.Time) time.Duration {
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
