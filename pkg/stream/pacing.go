package stream

import "time"

const (
	renewEvery    = 250 * time.Millisecond
	electionEvery = time.Second
)

// pacing decides how often a transport may be renewed, which opens new connections to
// brokers. Renewals are at least renewEvery apart; while the trouble goes on the interval
// doubles: up to electionEvery as long as a new leader may still be due (produceFor), then
// up to topicsFor, after which kafka-go asks by itself.
type pacing struct {
	began  time.Time     // when the trouble began: since then there was no quiet time
	tried  time.Time     // when the last renewal ended
	failed error         // how it ended
	every  time.Duration // how long after it the next one may start
}

// start tells whether a renewal may start now. One for a new topic (more) may start at once,
// unless the last one failed. With soon the interval is electionEvery at most, however long
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

// end notes how the renewal that was started ended.
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
