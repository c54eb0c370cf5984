package stream

import "time"

const (
	renewEvery    = 250 * time.Millisecond
	electionEvery = time.Second
)

// pacing limits how often a transport is renewed, because each renewal opens new connections to
// brokers. Renewals are at least renewEvery apart. As long as the trouble lasts the interval
// doubles: up to electionEvery while a new leader may still be elected (produceFor), then up to
// topicsFor, at which interval kafka-go refreshes its metadata anyway.
type pacing struct {
	began  time.Time     // when the trouble began; there was no quiet time since
	tried  time.Time     // when the last renewal ended
	failed error         // its error, or nil
	every  time.Duration // how long after it the next one may start
}

// start reports whether a renewal may start now. A renewal for a new topic (more) may start at
// once, unless the last one failed. With soon the interval is at most electionEvery, however long
// others have been in trouble.
func (p *pacing) start(now time.Time, more, soon bool) bool {
	since := now.Sub(p.tried)
	if more || since > p.every+topicsFor {
		p.began, p.every = now, renewEvery
	}
	every := p.every
	if soon {
		every = min(every, electionEvery)
	}
	return since >= every || more && p.failed == nil
}

// end records how the renewal ended.
func (p *pacing) end(now time.Time, more bool, err error) {
	p.tried, p.failed = now, err
	if more {
		return
	}
	most := electionEvery
	if now.Sub(p.began) > produceFor {
		most = topicsFor
	}
	p.every = min(2*p.every, most)
}
