//go:build stack

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// claim is a period in which the catalog said that a destination gets its sources' files.
type claim struct {
	from time.Time // the catalog was applied by then; zero: before any role started
	to   time.Time // another catalog was about to be applied; zero: to the end
}

const (
	// catalogDelay is how long an appender may take to hear of a catalog while nothing is broken.
	catalogDelay = 15 * time.Second
	// catalogDelayInFaults is the same during faults: the broker that leads the catalog's topic may
	// be stopped, and then the appender.
	catalogDelayInFaults = 45 * time.Second
	// calmDuration is how long events continue after the faults: until every appender must have
	// heard of every claim, and then for some files.
	calmDuration = 2 * catalogDelay
)

// recordClaims records what a catalog says about the destinations. Applying it began at one time
// and was done at the other.
func (n *nemesis) recordClaims(began, applied time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range n.s.workspaces {
		for _, d := range w.destinations {
			id := w.id + "/" + d.name
			list := n.claims[id]
			switch open := len(list) > 0 && list[len(list)-1].to.IsZero(); {
			case open && d.disabled:
				list[len(list)-1].to = began
			case !open && !d.disabled:
				n.claims[id] = append(list, claim{from: applied})
			}
		}
	}
}

// requires says whether a file must be owed because of the claim. What a file is owed to was
// decided after its newest record existed, and before its entry was written.
func (c claim) requires(newest, written, calm time.Time) bool {
	since := calm
	if c.from.After(calm) {
		since = c.from
	}
	heard := newest.Sub(since) >= catalogDelay || newest.Sub(c.from) >= catalogDelayInFaults
	return heard && c.covers(written)
}

// covers says whether the claim had not ended by then.
func (c claim) covers(t time.Time) bool { return c.to.IsZero() || t.Before(c.to) }

func TestClaims(t *testing.T) {
	began := time.Now()
	at := func(seconds int) time.Time { return began.Add(time.Duration(seconds) * time.Second) }
	for name, c := range map[string]struct {
		claim
		newest, written time.Time
		want            bool
	}{
		"from_the_beginning":   {claim{}, at(1), at(2), true},
		"in_trouble":           {claim{from: at(10)}, at(55), at(56), true},
		"in_trouble_too_early": {claim{from: at(10)}, at(54), at(90), false},
		"in_calm":              {claim{from: at(95)}, at(115), at(116), true},
		"in_calm_too_early":    {claim{from: at(95)}, at(114), at(130), false},
		"too_late_in_calm":     {claim{from: at(110)}, at(124), at(130), false},
		"before_it_ended":      {claim{from: at(10), to: at(60)}, at(55), at(59), true},
		"written_later":        {claim{from: at(10), to: at(60)}, at(55), at(60), false},
	} {
		require.Equal(t, c.want, c.requires(c.newest, c.written, at(100)), name)
	}
}
