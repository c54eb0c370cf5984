// Package check is the independent judge of a customer's bucket: given what was acknowledged, and
// optionally what Kafka held, it reads every object as a strict consumer would, and says what is
// lost, duplicated, foreign, misplaced or malformed (Expected). Given the operator's bucket as
// well, it compares ledger, staged files, receipts and objects with each other (Installation). It
// is for the demo, for the end-to-end tests, and for anybody who does not want to rely on Sealift's
// own counters.
//
// It promises to be independent: it imports only the standard library, shares no code with what
// writes the files, and restates the public contract of keys and objects. Its memory grows with the
// number of events (about 60 bytes each, 120 with a dump; never their bodies), and not with the
// size of objects. It neither lists nor fetches: the caller provides the objects.
package check

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"sync"
)

// id is a 128-bit digest: of a source and a messageId, or of a whole record.
type id [16]byte

// event is what is known about one messageId of one source.
type event struct {
	acked   uint32 // number of times it was acknowledged
	records uint32 // number of times it is in the events topic
	seen    uint32 // number of times it is in the bucket
}

// record is what is known about one line of one source and day.
type record struct {
	want uint32
	seen uint32
}

// Expected is what a bucket must contain. The zero value expects nothing and is ready to use. It is
// safe for concurrent use, but Check must not run concurrently with any other method.
//
// With Acknowledge alone, every acknowledged messageId must be in the bucket once, and nothing
// else. If the records of the events topic are given as well, by Record, the bucket must contain
// exactly those, byte for byte and each as often as the topic does, and every acknowledged
// messageId at least once: a producer that repeats a write after a broker's restart may have put a
// messageId into the topic twice.
type Expected struct {
	mu      sync.Mutex // guards all fields below
	events  map[id]event
	records map[id]record
	sources map[string]struct{}
	days    map[int64]struct{}
	acked   int64
	dumped  int64
}

// Acknowledge says that the event was answered with success. An event that
// was acknowledged n times may be in the bucket once to n times.
func (e *Expected) Acknowledge(source, messageID string) {
	k := eventID(source, messageID)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.init()
	v := e.events[k]
	v.acked++
	e.events[k] = v
	e.acked++
	e.sources[source] = struct{}{}
}

// Record says that the events topic has this line for the source, received at that time in unix
// milliseconds. The line need not have a messageId.
func (e *Expected) Record(source string, receivedMs int64, line []byte) {
	day := dayOf(receivedMs)
	k := recordID(source, day, line)
	var fields map[string]json.RawMessage
	var message string
	if json.Unmarshal(line, &fields) == nil {
		message, _ = stringField(fields, "messageId")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.init()
	r := e.records[k]
	r.want++
	e.records[k] = r
	e.dumped++
	e.sources[source] = struct{}{}
	e.days[day] = struct{}{}
	if message != "" {
		m := eventID(source, message)
		v := e.events[m]
		v.records++
		e.events[m] = v
	}
}

func (e *Expected) init() {
	if e.events == nil {
		e.events, e.records = map[id]event{}, map[id]record{}
		e.sources, e.days = map[string]struct{}{}, map[int64]struct{}{}
	}
}

// reset forgets what an earlier Check has seen.
func (e *Expected) reset() {
	e.init()
	for k, v := range e.events {
		v.seen = 0
		e.events[k] = v
	}
	for k, r := range e.records {
		r.seen = 0
		e.records[k] = r
	}
}

// verdict is the judgement of one line in the bucket.
type verdict int

const (
	fine verdict = iota
	duplicated
	foreign
	misplaced
)

// countLine counts a line found in the bucket below that source and day. A line found in a wrong
// place is misplaced, and not lost as well.
func (e *Expected) countLine(source string, day int64, message string, line []byte) verdict {
	var k id
	if e.dumped > 0 { // written before Check, read-only since
		k = recordID(source, day, line)
	}
	m := eventID(source, message)
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.dumped == 0 {
		return e.countEvent(message, m)
	}
	r, known := e.records[k]
	if !known {
		return e.findElsewhere(message, line)
	}
	r.seen++
	e.records[k] = r
	e.markSeen(m)
	if r.seen > r.want {
		return duplicated
	}
	return fine
}

func (e *Expected) countEvent(message string, m id) verdict {
	v, known := e.events[m]
	if !known {
		for other := range e.sources {
			if e.markSeen(eventID(other, message)) {
				return misplaced
			}
		}
		return foreign
	}
	e.markSeen(m)
	if v.seen+1 > v.acked {
		return duplicated
	}
	return fine
}

// findElsewhere looks up a line under every other source and day if it is not expected where it was
// found. That is slow, but in a good bucket nothing is misplaced.
func (e *Expected) findElsewhere(message string, line []byte) verdict {
	for source := range e.sources {
		for day := range e.days {
			k := recordID(source, day, line)
			if r, ok := e.records[k]; ok {
				r.seen++
				e.records[k] = r
				e.markSeen(eventID(source, message))
				return misplaced
			}
		}
	}
	return foreign
}

func (e *Expected) markSeen(m id) bool {
	v, ok := e.events[m]
	if ok {
		v.seen++
		e.events[m] = v
	}
	return ok
}

// countLost counts what must be in the bucket but is not.
func (e *Expected) countLost() (n int64) {
	for _, r := range e.records {
		n += max(0, int64(r.want)-int64(r.seen))
	}
	for _, v := range e.events {
		// With a dump, an event that Kafka holds is already counted above.
		if v.acked > 0 && v.seen == 0 && v.records == 0 {
			n++
		}
	}
	return n
}

func eventID(source, message string) id {
	b := binary.AppendUvarint(make([]byte, 0, 128), uint64(len(source)))
	b = append(append(b, source...), message...)
	sum := sha256.Sum256(b)
	return id(sum[:16])
}

func recordID(source string, day int64, line []byte) id {
	h := sha256.New()
	var b [binary.MaxVarintLen64]byte
	h.Write(b[:binary.PutUvarint(b[:], uint64(len(source)))])
	h.Write([]byte(source))
	h.Write(b[:binary.PutVarint(b[:], day)])
	h.Write(line)
	return id(h.Sum(nil)[:16])
}
