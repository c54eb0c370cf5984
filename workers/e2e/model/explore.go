package model

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"time"
)

// machine is one part of the protocol. S is a state: plain integers without pointers, so that its
// memory can be hashed and compared.
type machine[S comparable] interface {
	initial() S
	// next calls do with every state that a single step leads to.
	next(s S, do func(step, S))
	// broken returns the properties that the state violates.
	broken(s *S) property
	// finished reports whether everything that was to be delivered has been.
	finished(s *S) bool
}

// step names what happened. It is formatted only when it is printed.
type step struct {
	format string
	a, b   int
	fault  bool // not needed for progress: switched off to test liveness
}

func (s step) String() string {
	switch strings.Count(s.format, "%") {
	case 0:
		return s.format
	case 1:
		return fmt.Sprintf(s.format, s.a)
	}
	return fmt.Sprintf(s.format, s.a, s.b)
}

// result is what an exploration found.
type result struct {
	states     int
	exhaustive bool     // every reachable state was visited
	broken     property // by the state that the trace leads to
	trace      []string // the shortest way there
	took       time.Duration
}

func (r result) String() string {
	how := "capped"
	switch {
	case r.broken != 0:
		how = fmt.Sprintf("%s after %d steps", r.broken, len(r.trace))
	case r.exhaustive:
		how = "exhaustive"
	}
	return fmt.Sprintf("%d states, %s, %.1fs, %.0f states/s", r.states, how, r.took.Seconds(), float64(r.states)/max(r.took.Seconds(), 1e-6))
}

// explore visits states breadth first, until one violates a property in stop, all were visited, or
// there are more than limit. Violations of other properties are ignored: an ablation is followed to
// the harm that it is supposed to do.
func explore[S comparable](m machine[S], stop property, limit int) result {
	start := time.Now()
	seen := newSet[S]()
	seen.add(m.initial(), 0)
	r := result{exhaustive: true}
	for i := 0; i < len(seen.states) && r.broken == 0; i++ {
		if len(seen.states) > limit {
			r.exhaustive = false
			break
		}
		m.next(seen.states[i], func(_ step, n S) {
			if r.broken != 0 {
				return
			}
			id, isNew := seen.add(n, i)
			if !isNew {
				return
			}
			if bad := m.broken(&n) & stop; bad != 0 {
				r.broken, r.exhaustive = bad, false
				r.trace = seen.trace(m, id)
			}
		})
	}
	r.states, r.took = len(seen.states), time.Since(start)
	return r
}

// set is a hash table of states that remembers how each was reached. Whole states are compared, so
// nothing is missed because of equal hashes.
type set[S comparable] struct {
	seed   maphash.Seed
	states []S
	parent []uint32
	slots  []uint64 // the upper half of a hash and 1 + an index into states
}

func newSet[S comparable]() *set[S] {
	return &set[S]{seed: maphash.MakeSeed(), slots: make([]uint64, 1<<12)}
}

// add returns the index of a state, and whether it is new.
func (t *set[S]) add(s S, parent int) (int, bool) {
	if 4*len(t.states) >= 3*len(t.slots) {
		t.grow()
	}
	h := maphash.Comparable(t.seed, s)
	mask := uint64(len(t.slots) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		slot := t.slots[i]
		if slot == 0 {
			t.states, t.parent = append(t.states, s), append(t.parent, uint32(parent))
			t.slots[i] = h>>32<<32 | uint64(len(t.states))
			return len(t.states) - 1, true
		}
		if slot>>32 == h>>32 && t.states[uint32(slot)-1] == s {
			return int(uint32(slot)) - 1, false
		}
	}
}

func (t *set[S]) grow() {
	t.slots = make([]uint64, 2*len(t.slots))
	mask := uint64(len(t.slots) - 1)
	for id, s := range t.states {
		h := maphash.Comparable(t.seed, s)
		i := h & mask
		for t.slots[i] != 0 {
			i = (i + 1) & mask
		}
		t.slots[i] = h>>32<<32 | uint64(id+1)
	}
}

// trace returns the steps that lead to a state; they are taken again to get their names.
func (t *set[S]) trace(m machine[S], id int) []string {
	var steps []string
	for id != 0 {
		parent, name := int(t.parent[id]), ""
		m.next(t.states[parent], func(st step, n S) {
			if name == "" && n == t.states[id] {
				name = st.String()
			}
		})
		steps = append(steps, name)
		id = parent
	}
	slices.Reverse(steps)
	return steps
}
