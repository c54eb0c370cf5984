package catalog

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
)

// Live is the catalog of a running role: it takes the records of the catalog
// topic and shows the Snapshot of them all. It is safe for concurrent use.
//
// The snapshot is made when it is first asked for after a change, so that
// reading a topic of many workspaces takes time for each record once.
type Live struct {
	snapshot atomic.Pointer[Snapshot]
	stale    atomic.Bool // records changed since snapshot was made

	mu      sync.Mutex // guards all below, and making a snapshot
	records map[string]record
	applied int64
	changed chan struct{}
}

// record is the latest document of a workspace. Order is when it came.
type record struct {
	workspace Workspace
	order     int64
}

// NewLive returns an empty catalog.
func NewLive() *Live {
	l := &Live{records: map[string]record{}, changed: make(chan struct{})}
	l.snapshot.Store(index(nil))
	return l
}

// Snapshot returns the catalog as of the last Apply or Set that returned
// before. It is never nil.
func (l *Live) Snapshot() *Snapshot {
	if !l.stale.Load() {
		return l.snapshot.Load()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.stale.Load() {
		return l.snapshot.Load()
	}
	list := make([]record, 0, len(l.records))
	for _, r := range l.records {
		list = append(list, r)
	}
	// In the order of the topic: of two records that collide the earlier one
	// stands, in every role and after every restart.
	slices.SortFunc(list, func(a, b record) int { return cmp.Compare(a.order, b.order) })
	workspaces := make([]Workspace, len(list))
	for i, r := range list {
		workspaces[i] = r.workspace
	}
	s := index(workspaces)
	l.snapshot.Store(s)
	l.stale.Store(false)
	return s
}

// Set replaces everything with the workspaces of s.
func (l *Live) Set(s *Snapshot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = map[string]record{}
	for _, w := range s.workspaces {
		l.applied++
		l.records[w.ID] = record{workspace: w, order: l.applied}
	}
	l.change()
}

// Apply takes one record of the catalog topic: the key is a workspace's id,
// the value what Encode wrote, or nil when the workspace was deleted. A
// record that cannot be read is an error that wraps ErrBadRecord and changes
// nothing: the workspace stays as it was.
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
	l.change()
	return nil
}

// change is called with mu held.
func (l *Live) change() {
	l.stale.Store(true)
	close(l.changed)
	l.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change. To miss none,
// get it before the Snapshot.
func (l *Live) Changed() <-chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}
