package dedup

import (
	"errors"
	"math"
	"slices"
	"sync/atomic"
)

// merge makes one run of several, in the background. Its inputs stay in use until it is done.
type merge struct {
	inputs []*run
	need   int64 // bytes of memory reserved for the output
	stop   atomic.Bool
	done   chan struct{} // closed when out and err are set
	out    *run
	err    error
}

const (
	fanIn    = 4  // this many runs of about the same size are merged
	maxInput = 32 // most runs in one merge
	// parts of the window within which runs are merged: a run is dropped as a whole, so its times
	// must not lie too far apart.
	windowParts = 4
)

// compact installs a finished merge and starts the next one, if any.
func (s *Store) compact() {
	if m := s.merge; m != nil {
		select {
		case <-m.done:
		default:
			return
		}
		s.install(m)
	}
	inputs := s.pickMerge()
	if inputs == nil {
		return
	}
	f := mergedFooter(inputs)
	bits := bitsPerKey
	need := memoryOf(max(1, f.count/bucketEntries), filterBlocks(f.count, bits))
	if !s.cfg.Budget.allowsMerge(s.held, need) {
		bits = coarseBits
		need = memoryOf(max(1, f.count/bucketEntries), filterBlocks(f.count, bits))
		if !s.cfg.Budget.allowsMerge(s.held, need) {
			return // harmless: only lookups are slower with more runs
		}
	}
	s.hold(need)
	m := &merge{inputs: inputs, need: need, done: make(chan struct{})}
	s.merge = m
	seq := s.nextRun
	s.nextRun++
	go func() {
		defer close(m.done)
		m.out, m.err = m.write(s.cfg.Dir, seq, f, bits)
	}()
}

// install replaces a merge's inputs by its output.
func (s *Store) install(m *merge) {
	s.merge = nil
	s.hold(-m.need)
	if m.err != nil {
		var bad *inputError
		if errors.As(m.err, &bad) {
			s.dropRun(bad.run)
		}
		s.noteError("merge dedup runs", m.err)
		return
	}
	m.out.newest = mergedFooter(m.inputs).newest // setClock may have lowered it since the merge began
	for _, in := range m.inputs {
		s.dropRun(in)
	}
	s.addRun(m.out)
}

// abandon stops the running merge, waits for it, and deletes its output.
func (s *Store) abandon() {
	m := s.merge
	if m == nil {
		return
	}
	m.stop.Store(true)
	<-m.done
	if m.out != nil {
		m.out.remove()
	}
	s.hold(-m.need)
	s.merge = nil
}

// pickMerge returns neighbouring runs to merge, or nil: several of about the same size in one part
// of the window, or all runs of a part that is over.
func (s *Store) pickMerge() []*run {
	part := s.cfg.Window.Milliseconds() / windowParts
	large := s.cfg.Budget.share() / 16 // a larger run would cost too much when memory is short and it is given up
	for end := len(s.runs); end > 0; {
		start := end - 1
		group, all := s.runs[start].newest/part, s.runs[start].span
		for size := s.runs[start].memory(); start > 0; start-- {
			r := s.runs[start-1]
			if size += r.memory(); size > large || r.newest/part != group || !r.span.touches(all) {
				break
			}
			all = r.span.join(all)
		}
		runs := s.runs[start:end]
		if len(runs) > 1 && s.backfill == nil && group < s.clock/part {
			return mergeable(runs[:min(len(runs), maxInput)])
		}
		for i := len(runs); i > 0; {
			j := i - 1
			for j > 0 && sizeLevel(runs[j-1]) <= sizeLevel(runs[i-1]) {
				j--
			}
			if i-j >= fanIn {
				return mergeable(runs[max(j, i-maxInput):i])
			}
			i = j
		}
		end = start
	}
	return nil
}

// mergeable returns a copy of runs, or nil if their offsets are too far apart for one file or there
// are too many entries.
func mergeable(runs []*run) []*run {
	f := mergedFooter(runs)
	if f.max-f.base > math.MaxUint32 || f.count > math.MaxUint32/2 {
		return nil
	}
	return slices.Clone(runs)
}

// sizeLevel is the size of a run, in powers of fanIn.
func sizeLevel(r *run) (n int) {
	for c := r.count / minSlots; c > 0; c /= fanIn {
		n++
	}
	return n
}

// mergedFooter returns what is known beforehand about the run that merging runs will make.
func mergedFooter(runs []*run) footer {
	f := footer{base: math.MaxInt64, oldest: math.MaxInt64}
	for _, r := range runs {
		f.count += r.count
		f.base, f.max = min(f.base, r.base), max(f.max, r.max)
		f.oldest, f.newest = min(f.oldest, r.oldest), max(f.newest, r.newest)
		f.span = f.span.join(r.span)
	}
	return f
}

// inputError says which input of a merge cannot be read.
type inputError struct {
	run *run
	err error
}

func (e *inputError) Error() string { return e.err.Error() }
func (e *inputError) Unwrap() error { return e.err }

var errStopped = errors.New("merge was stopped")

// write merges the inputs. Of several entries with the same key, the one with the lowest offset
// stays.
func (m *merge) write(dir string, seq uint64, f footer, bits int) (*run, error) {
	type cursor struct {
		entry
		next func() (entry, bool)
	}
	var cursors []cursor
	errs := make([]error, len(m.inputs))
	for i, in := range m.inputs {
		next := in.each(&errs[i])
		if e, ok := next(); ok {
			cursors = append(cursors, cursor{e, next})
		}
	}
	out, err := writeRun(dir, seq, f, bits, &m.stop, func() (entry, bool) {
		if len(cursors) == 0 {
			return entry{}, false
		}
		first := cursors[0].entry
		for _, c := range cursors[1:] {
			if c.key.less(first.key) || c.key == first.key && c.offset < first.offset {
				first = c.entry
			}
		}
		for i := len(cursors) - 1; i >= 0; i-- {
			if cursors[i].key == first.key {
				var ok bool
				if cursors[i].entry, ok = cursors[i].next(); !ok {
					cursors = slices.Delete(cursors, i, i+1)
				}
			}
		}
		return first, true
	})
	for i, e := range errs {
		if e != nil {
			err = &inputError{m.inputs[i], e}
		}
	}
	if err != nil && out != nil {
		out.remove()
		out = nil
	}
	return out, err
}
