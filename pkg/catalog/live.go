package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sealift/sealift/pkg/ablation"
)

// Live is the catalog of a running role: it receives the records of the catalog topic and provides
// the Snapshot of all of them. It is safe for concurrent use.
//
// Its feeder decides when a snapshot is made. With 20,000 sources and destinations that takes a
// tenth of a second, too long for each request that looks up a write key, or for each record that
// is read from the topic.
type Live struct {
	operator Operator
	snapshot atomic.Pointer[Snapshot]

	mu      sync.Mutex // guards all below, and making a snapshot
	records map[string]record
	applied int64
	stale   bool // records changed since snapshot was made
	changed chan struct{}
}

// record is the latest document of a workspace. order says when it arrived.
type record struct {
	workspace Workspace
	order     int64
}

// NewLive returns an empty catalog.
func (o Operator) NewLive() *Live {
	l := &Live{operator: o, records: map[string]record{}, changed: make(chan struct{})}
	l.snapshot.Store(index(nil, o))
	return l
}

// NewLive is Operator.NewLive for an unknown operator.
func NewLive() *Live { return Operator{}.NewLive() }

// Snapshot returns the catalog as of the last Publish or Set. It never waits, not even for a
// snapshot that is being made, and never returns nil.
func (l *Live) Snapshot() *Snapshot { return l.snapshot.Load() }

// Publish makes a Snapshot of everything applied so far, shows it, and returns it.
func (l *Live) Publish() *Snapshot {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stale {
		return l.snapshot.Load()
	}
	list := make([]record, 0, len(l.records))
	for _, r := range l.records {
		list = append(list, r)
	}
	// In the order of the topic: of two records that collide the earlier one wins, in every role
	// and after every restart.
	slices.SortFunc(list, func(a, b record) int { return cmp.Compare(a.order, b.order) })
	workspaces := make([]Workspace, len(list))
	for i, r := range list {
		workspaces[i] = r.workspace
	}
	s := index(workspaces, l.operator)
	l.setCurrent(s)
	return s
}

// Set replaces the whole catalog by the workspaces of s.
func (l *Live) Set(s *Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = map[string]record{}
	for _, w := range s.workspaces {
		l.applied++
		l.records[w.ID] = record{workspace: w, order: l.applied}
	}
	l.setCurrent(s)
}

// setCurrent makes s the current snapshot. The caller holds mu.
func (l *Live) setCurrent(s *Snapshot) {
	if ablation.On(ablation.KeepsFirstCatalog) && len(l.Snapshot().workspaces) > 0 {
		return
	}
	l.snapshot.Store(s)
	l.stale = false
	close(l.changed)
	l.changed = make(chan struct{})
}

// Apply applies one record of the catalog topic. key is a workspace's id, value what Encode
// returned, or nil if the workspace was deleted. The change shows after the next Publish. A record
// that cannot be read returns an error that wraps ErrBadRecord and changes nothing: the workspace
// stays as it was.
func (l *Live) Apply(key string, value []byte) error {
	var w Workspace
	if len(value) > 0 {
		var err error
		if w, err = Decode(value); err != nil {
			return fmt.Errorf("apply catalog record %q: %w", key, err)
		}
		if w.ID != key {
			return fmt.Errorf("apply catalog record %q: %w: it holds workspace %q", key, ErrBadRecord, w.ID)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(value) == 0 {
		delete(l.records, key)
	} else {
		l.applied++
		l.records[key] = record{workspace: w, order: l.applied}
	}
	l.stale = true
	return nil
}

// Changed returns a channel that is closed when another Snapshot is shown. Call it before Snapshot,
// so as not to miss one.
func (l *Live) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}
