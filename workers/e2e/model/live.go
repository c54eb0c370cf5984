package model

// stuck explores all states, at most limit, and returns the shortest way to a state from which no
// sequence of steps without a fault leads to everything being delivered; nil if there is none. It
// does not say how long delivery takes, nor that a step which stays possible is ever taken.
func stuck[S comparable](m machine[S], limit int) (trace []string, r result) {
	seen := newSet[S]()
	seen.add(m.initial(), 0)
	r.exhaustive = true
	var from, to []uint32 // edges without a fault
	for i := 0; i < len(seen.states) && r.exhaustive; i++ {
		if len(seen.states) > limit {
			r.exhaustive = false
			return nil, r
		}
		m.next(seen.states[i], func(st step, n S) {
			id, _ := seen.add(n, i)
			if !st.fault {
				from, to = append(from, uint32(i)), append(to, uint32(id))
			}
		})
	}
	r.states = len(seen.states)
	// Backwards from the states in which everything is done.
	begin := make([]uint32, r.states+1) // edges into s are order[begin[s]:begin[s+1]]
	for _, t := range to {
		begin[t+1]++
	}
	for s := range r.states {
		begin[s+1] += begin[s]
	}
	fill, order := append([]uint32(nil), begin...), make([]uint32, len(to))
	for e, t := range to {
		order[fill[t]] = from[e]
		fill[t]++
	}
	alive := make([]bool, r.states)
	var queue []uint32
	for s := range r.states {
		if m.finished(&seen.states[s]) {
			alive[s] = true
			queue = append(queue, uint32(s))
		}
	}
	for len(queue) > 0 {
		s := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, p := range order[begin[s]:begin[s+1]] {
			if !alive[p] {
				alive[p] = true
				queue = append(queue, p)
			}
		}
	}
	for s := range r.states {
		if !alive[s] {
			return seen.trace(m, s), r
		}
	}
	return nil, r
}
