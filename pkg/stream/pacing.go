package stream

import "time"

const (
	refreshInterval  = 250 * time.Millisecond
	electionInterval = time.Second
)

// pacing limits how often a transport is refreshed, because each refresh opens new connections to
// brokers. Refreshes are at least refreshInterval apart. As long as the trouble lasts the interval
// doubles: up to electionInterval while a new leader may still be elected (produceRetryFor), then
// up to metadataTTL, at which interval kafka-go refreshes its metadata anyway.
type pacing struct {
	troubleBegan time.Time     // when the trouble began; there was no quiet time since
	lastEnd      time.Time     // when the last refresh ended
	lastErr      error         // its error, or nil
	interval     time.Duration // how long after it the next one may start
}

// allow reports whether a refresh may start now. One for new topics (newTopics) may start at once,
// unless the last one failed. With electing the interval is at most electionInterval, however long
// others have been in trouble.
func (p *pacing) allow(now time.Time, newTopics, electing bool) bool {
	since := now.Sub(p.lastEnd)
	if newTopics || since > p.interval+metadataTTL {
		p.troubleBegan, p.interval = now, refreshInterval
	}
	interval := p.interval
	if electing {
		interval = min(interval, electionInterval)
	}
	return since >= interval || newTopics && p.lastErr == nil
}

// record notes how the refresh ended.
func (p *pacing) record(now time.Time, newTopics bool, err error) {
	p.lastEnd, p.lastErr = now, err
	if newTopics {
		return
	}
	most := electionInterval
	if now.Sub(p.troubleBegan) > produceRetryFor {
		most = metadataTTL
	}
	p.interval = min(2*p.interval, most)
}
