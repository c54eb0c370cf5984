package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/workers/copier"
)

var (
	bucketNames    = []string{"one", "two", "three"}
	destinationIDs = []string{acme + "/one", acme + "/two", other + "/three"}
)

const (
	acme  = "ws_acme0123456789abcd"
	other = "ws_other0123456789ab"
)

// customers is the catalog, with its history.
type customers struct {
	w    *world
	live *catalog.Live // as appenders see it
	late *catalog.Live // as copiers and auditors see it, who may be behind
	// owed has the sets of destinations that a source's files were owed to, in chronological order.
	owed map[string][]owedSet
}

// owedSet is a set of destinations with the time from which it was owed.
type owedSet struct {
	at time.Time
	to []string
}

func newCustomers(w *world) *customers {
	c := &customers{w: w, live: catalog.NewLive(), late: catalog.NewLive(), owed: map[string][]owedSet{}}
	c.restore()
	return c
}

// restore sets the initial catalog again.
func (c *customers) restore() { c.set(func([]catalog.Workspace) {}) }

func (c *customers) set(change func([]catalog.Workspace)) {
	ws := []catalog.Workspace{
		{ID: acme, Sources: []catalog.Source{{ID: "web"}, {ID: "app"}}, Destinations: []catalog.Destination{
			{Name: "one", Sources: []string{"web", "app"}, Bucket: "one", Region: "eu-west-1"},
			{Name: "two", Sources: []string{"web"}, Bucket: "two/logs", Region: "eu-west-1"},
		}},
		{ID: other, Sources: []catalog.Source{{ID: "iot"}, {ID: "nobodys"}}, Destinations: []catalog.Destination{
			{Name: "three", Sources: []string{"iot"}, Bucket: "three", Region: "eu-west-1"},
		}},
	}
	change(ws)
	s, err := catalog.NewSnapshot(ws)
	if err != nil {
		panic(err) // an error in the test's own catalog
	}
	c.live.Set(s)
	if lag := c.w.catalogLag; lag == 0 || c.w.calm || len(c.owed) == 0 {
		c.late.Set(s)
	} else {
		c.w.schedule(lag, "", func(*dice) { c.late.Set(c.live.Snapshot()) })
	}
	for _, source := range sources {
		owed, before := s.Owed(source), c.owed[source]
		if len(before) == 0 || !slices.Equal(before[len(before)-1].to, owed) {
			c.owed[source] = append(before, owedSet{time.Now(), owed})
		}
	}
}

// owes says whether a source's files were owed to exactly these destinations at any time since
// then.
func (c *customers) owes(source string, to []string, since time.Time) bool {
	all := c.owed[source]
	for i, o := range all {
		if past := i+1 < len(all) && all[i+1].at.Before(since); !past && slices.Equal(o.to, to) {
			return true
		}
	}
	return false
}

// change changes the catalog for a while.
func (c *customers) change(d *dice) bool {
	no := false
	c.set(func(ws []catalog.Workspace) {
		switch d.n(4) {
		case 0:
			ws[0].Destinations[0].Enabled = &no
		case 1:
			ws[0].Destinations = ws[0].Destinations[:1]
		case 2:
			ws[0].Destinations[1].Sources = []string{"web", "app"}
		case 3:
			ws[1].Destinations = nil
		}
	})
	c.w.schedule(time.Duration(pick(d, 5, 30, 60))*time.Second, "", func(*dice) { c.restore() })
	return true
}

// newOperator returns a person who redrives parked jobs from time to time.
func (w *world) newOperator(a *actor) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(25 * time.Second):
			}
			_, _ = copier.Redrive{Staging: w.staging.clientFor(w, a), Jobs: producer{kafkaClient{w.kafka, a}, jobsTopic}}.Run(ctx)
		}
	}
}
