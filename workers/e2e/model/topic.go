package model

import "math/bits"

// records is a set of offsets of one partition.
type records uint8

func at(offset uint8) records           { return 1 << offset }
func (r records) has(offset uint8) bool { return r&at(offset) != 0 }

// first returns the lowest offset; 8 if there is none.
func (r records) first() uint8 { return uint8(bits.TrailingZeros8(uint8(r))) }

// end returns the offset after the highest; 0 if there is none.
func (r records) end() uint8 { return uint8(bits.Len8(uint8(r))) }

// A stream is a source in one hour of receipt.
const (
	a1      = iota // source A, hour 1
	b1             // source B, hour 1
	a2             // source A, hour 2
	streams = 3
)

// topic is a partition's records, given by their streams. It never changes; it makes no difference
// to readers how much of it has been produced yet.
type topic struct {
	rules [2]rule // by which records become streams; an entry says which of them holds
	all   records
}

type rule struct {
	stream []uint8 // of each record
	of     [streams]records
}

func newRule(stream []uint8) rule {
	r := rule{stream: stream}
	for offset, k := range stream {
		r.of[k] |= at(uint8(offset))
	}
	return r
}

func newTopic(stream ...uint8) topic {
	r := newRule(stream)
	return topic{rules: [2]rule{r, r}, all: at(uint8(len(stream))) - 1}
}

// or returns the topic with a second rule, to which an operator may switch and back.
func (t topic) or(stream ...uint8) topic {
	t.rules[1] = newRule(stream)
	return t
}

func (t topic) end() uint8 { return t.all.end() }

// entry is what an entry of the ledger says about recovery: the low watermark and the filter.
// through is the offset after a stream's highest one in a file; 0: the stream is not listed.
type entry struct {
	rule    uint8
	low     uint8
	through [streams]uint8
}

// past reports whether a reader that begins at e passes over the record.
func (t topic) past(e entry, offset uint8) bool {
	return offset < e.low || t.filtered(e, offset)
}

// filtered reports whether e's filter covers the record.
func (t topic) filtered(e entry, offset uint8) bool {
	return offset < e.through[t.rules[e.rule].stream[offset]]
}

// read returns the records that a reader which began at e and is about to read pos has in memory,
// as I5 requires.
func (t topic) read(e entry, pos uint8) (r records) {
	for offset := e.low; offset < pos; offset++ {
		if !t.past(e, offset) {
			r |= at(offset)
		}
	}
	return r
}

// after returns the entry after base that seals files and moves the watermark. Streams below the
// watermark leave the filter, because nothing of them is read again (I2).
func (t topic) after(base entry, files records, low uint8) entry {
	e := entry{rule: base.rule, low: low}
	for k := range e.through {
		through := max(base.through[k], (files & t.rules[base.rule].of[k]).end())
		if through > low {
			e.through[k] = through
		}
	}
	return e
}

// cuts calls do with every set of files that can be sealed from what is open: for each stream
// nothing, or its oldest records. Time, size and disk space may cut anywhere.
func (t topic) cuts(r uint8, open records, do func(files records)) {
	var prefixes [streams][]records
	for k := range prefixes {
		prefixes[k] = append(prefixes[k], 0)
		var prefix records
		for rest := open & t.rules[r].of[k]; rest != 0; rest &= rest - 1 {
			prefix |= at(rest.first())
			prefixes[k] = append(prefixes[k], prefix)
		}
	}
	for _, a := range prefixes[a1] {
		for _, b := range prefixes[b1] {
			for _, c := range prefixes[a2] {
				if files := a | b | c; files != 0 {
					do(files)
				}
			}
		}
	}
}
