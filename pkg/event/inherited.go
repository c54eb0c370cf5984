package event

// inherited is an object of a batch, its context or integrations. Each event receives those of its
// members that it does not have itself. Members are inherited as a whole: an event's library is not
// mixed with its batch's.
type inherited struct {
	members []inheritedMember
	index   map[string]int // of members, by raw name
	// seen[i] == round: the current event has members[i] itself.
	seen  []int
	round int
	facts contextFacts // of the object as a context
}

type inheritedMember struct{ raw, key []byte } // raw: the whole member

func (in *inherited) reset(object []byte) {
	in.members, in.seen, in.round = in.members[:0], in.seen[:0], 0
	clear(in.index)
	in.facts = contextFacts{}
	if len(object) == 0 {
		return
	}
	if in.index == nil {
		in.index = map[string]int{}
	}
	eachMember(object, func(key, value []byte) bool {
		in.facts.add(key, value)
		raw := key[: len(key)+1+len(value) : len(key)+1+len(value)]
		if i, ok := in.index[string(key)]; ok {
			in.members[i].raw = raw // the last one counts
			return true
		}
		in.index[string(key)] = len(in.members)
		in.members = append(in.members, inheritedMember{raw: raw, key: key})
		in.seen = append(in.seen, 0)
		return true
	})
}

// nextEvent starts the next event.
func (in *inherited) nextEvent() { in.round++ }

// markOwn marks that the event has a member with that raw name itself.
func (in *inherited) markOwn(key []byte) {
	if len(in.members) == 0 {
		return
	}
	if i, ok := in.index[string(key)]; ok {
		in.seen[i] = in.round
	}
}

// anyMissing reports whether the event lacks any of the members.
func (in *inherited) anyMissing() bool {
	for _, round := range in.seen {
		if round != in.round {
			return true
		}
	}
	return false
}

// appendMissing appends the members that the event lacks, each followed by a comma.
func (in *inherited) appendMissing(dst []byte) []byte {
	for i := range in.members {
		if in.seen[i] != in.round {
			dst = append(dst, in.members[i].raw...)
			dst = append(dst, ',')
		}
	}
	return dst
}
