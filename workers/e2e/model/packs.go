package model

// A pack contains the files of one entry if there are two or more. Its key names its content and
// that entry's number, so packs share nothing, and a model follows only those with certain
// contents.

// packs are sets of staged packs, by the status of their numbers. All that matters about a number
// is whether it is free, as for an entry; and if it is taken, whether the entry that took it names
// the pack.
type packs struct {
	next objects // for the entry after the head
	live objects // named by the entry of their number
	junk objects // not named by it
}

// packState is the part of a ledgerState about packs.
type packState struct {
	there  packs
	doomed packs   // the one that an auditor is about to delete
	owed   objects // those that an entry names and that are not completely delivered
	noted  objects // only if a flaw reads names first: what was named then
}

// without returns the packs in p that are not in q.
func (p packs) without(q packs) packs {
	return packs{next: p.next &^ q.next, live: p.live &^ q.live, junk: p.junk &^ q.junk}
}

// turn returns the packs after the entry after the head is written, which names a pack (0: none).
// If keys have no number, the pack may be one of an older number.
func (p packs) turn(named objects, anyNumber bool) packs {
	if anyNumber {
		p.next |= p.junk & named
		p.junk &^= named
	}
	return packs{live: p.live | p.next&named, junk: p.junk | p.next&^named}
}

// packed returns the pack that an entry's files make; 0 if they make none, or it is not followed.
func (m ledgerModel) packed(r uint8, files records) objects {
	n := 0
	m.eachFile(r, files, func(records) { n++ })
	if n < 2 {
		return 0
	}
	return object(files) & m.packs
}

// stagePack stores a pack create-if-absent: for the entry after the head (isNext) or, by a worker
// that is behind or a late PUT, for an entry that already exists. It is fine if the key already
// exists.
func (m ledgerModel) stagePack(s *ledgerState, pack objects, files records, isNext bool) {
	p := &s.packs.there
	switch {
	case m.flaw == packOfContent && (p.next|p.live|p.junk)&pack != 0:
	case m.flaw == packOfRange && isNext && p.next&sameRange(files) != 0:
	case isNext:
		p.next |= pack
	default:
		p.junk |= pack
	}
}

// sameRange returns all packs with these first and last offsets.
func sameRange(files records) (o objects) {
	for f := records(1); f < at(files.end()); f++ {
		if f.first() == files.first() && f.end() == files.end() {
			o |= object(f)
		}
	}
	return o
}

// namePack records that the entry which becomes the head names a pack: I3, the pack exists under
// this entry's number and no other.
func (m ledgerModel) namePack(s *ledgerState, pack objects, files records) {
	p := &s.packs
	if m.flaw == packOfRange && p.there.next&sameRange(files)&^pack != 0 {
		s.bad |= mutate // other content is stored under that key
	}
	anyNumber := m.flaw == packOfContent
	p.there, p.doomed = p.there.turn(pack, anyNumber), p.doomed.turn(pack, anyNumber)
	if pack&^p.there.live != 0 {
		s.bad |= i3
	}
	p.owed |= pack
}

// sweep is the auditor. It deletes a pack when all of it is delivered (I4; the delivery's part says
// when that is). It also reads the entry whose number is in a pack's key: if that entry exists and
// does not name the pack, it deletes the pack at any later time (I11). An entry that does not exist
// decides nothing.
func (m ledgerModel) sweep(s ledgerState, do func(step, ledgerState)) {
	p := s.packs
	if m.flaw == staleNames && p.noted != p.owed {
		n := s
		n.packs.noted = p.owed
		do(step{format: "the auditor notes which packs are named"}, n)
	}
	if p.doomed != (packs{}) {
		n := s
		n.packs.there, n.packs.doomed = p.there.without(p.doomed), packs{}
		do(step{format: "the auditor deletes that pack"}, n)
	}
	garbage := packs{junk: p.there.junk}
	switch m.flaw {
	case packsByAge:
		garbage.next = p.there.next
	case staleNames:
		garbage.live = p.there.live &^ p.noted
	}
	for f := records(1); f <= m.all; f++ {
		if pack := object(f); p.owed&p.there.live&pack != 0 {
			n := s
			n.packs.owed &^= pack
			n.packs.there.live &^= pack
			do(step{format: "the auditor deletes the pack %04b: all of it is delivered", a: int(f)}, n)
		}
		for _, one := range []packs{{next: object(f)}, {live: object(f)}, {junk: object(f)}} {
			if p.doomed == (packs{}) && one.without(garbage) == (packs{}) {
				n := s
				n.packs.doomed = one
				do(step{format: "the auditor takes the pack %04b for garbage", a: int(f)}, n)
			}
		}
	}
}
