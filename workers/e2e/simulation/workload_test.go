package simulation

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/stream"
)

// workload is what producers write. It is a function of the seed and of the time.
type workload struct {
	w    *world
	next time.Time
	n    int
	skew time.Duration // of the collectors' clocks
	// truth is what was written to each partition, by offset.
	truth [][]writtenRecord
	first map[message]bool // messages that a partition has had
}

type message struct {
	partition  int
	source, id string
}

// writtenRecord is a record as its producer meant it.
type writtenRecord struct {
	source   string
	id       string
	at       time.Time // when it was written, not by a collector's clock
	received int64
	line     string
	poison   bool // it belongs in no file
	// double says that a record with a lower offset has the same message, so this one may be
	// dropped.
	double bool
}

func (r writtenRecord) hour() int64 { return r.received - r.received%3_600_000 }

func newWorkload(w *world) *workload {
	return &workload{w: w, next: time.Now(), first: map[message]bool{}}
}

var sources = []string{"web", "app", "iot", "nobodys"}

// runDue writes what is due, and says whether anything was.
func (l *workload) runDue() (some bool) {
	for !l.w.calm && !time.Now().Before(l.next) {
		d := newDice(l.w.seed, "workload", l.n)
		l.n++
		gap := pick(d, 50, 300, 1000, 4000, 12_000)
		partition := d.n(len(l.w.kafka.topics[eventsTopic]))
		batch, fileless := 1+d.n(6), false
		if l.w.trickle { // long enough for files to be sealed, and for an entry without files
			gap, batch, fileless = pick(d, 1000, 4000, 12_000, 30_000), min(batch, 2), d.n(2) == 0
		}
		l.next = l.next.Add(time.Duration(gap) * time.Millisecond)
		for range batch {
			l.write(d, partition, fileless)
		}
		some = true
	}
	return some
}

// write writes a record; a fileless one gets into no file.
func (l *workload) write(d *dice, partition int, fileless bool) {
	for len(l.truth) <= partition {
		l.truth = append(l.truth, nil)
	}
	now := time.Now().Add(l.w.workload.skew)
	switch d.n(12) {
	case 0: // a collector that was down for long
		now = now.Add(-time.Duration(1+d.n(3)) * time.Hour)
	case 1: // a collector whose clock is ahead
		now = now.Add(time.Duration(d.n(120)) * time.Second)
	case 2:
		now = now.Add(-time.Duration(d.n(120)) * time.Second)
	}
	offset := len(l.truth[partition])
	r := writtenRecord{at: time.Now(), source: sources[d.n(len(sources))], received: now.UnixMilli()}
	m := message{partition, r.source, fmt.Sprintf("%d-%d", partition, offset)}
	if l.w.dedup && offset > 0 && (fileless || d.n(6) == 0) { // an SDK that got no answer and sends it again
		again := offset - 1 - d.n(min(offset, pick(d, 5, 50, 1000)))
		r.source = l.truth[partition][again].source
		m.source, m.id = r.source, l.truth[partition][again].id
	}
	r.id = m.id
	r.line = fmt.Sprintf(`{"messageId":%q,"type":"track","n":%d,"pad":%q}`, m.id, offset, strings.Repeat("x", d.n(40)))
	record := stream.Record{Key: []byte(r.source), Value: []byte(r.line), Headers: []stream.Header{
		{Key: "sealift-source", Value: []byte(r.source)},
		{Key: "sealift-received", Value: strconv.AppendInt(nil, r.received, 10)},
	}}
	kind := d.n(60)
	if fileless && m.id == fmt.Sprintf("%d-%d", partition, offset) {
		kind = d.n(3)
	}
	switch kind {
	case 0:
		r.poison, record.Value = true, []byte(r.line[:len(r.line)-1])
	case 1:
		r.poison, record.Headers, record.Key = true, record.Headers[1:], nil
	case 2: // marked as a line, but it is not one
		r.poison, record.Value = true, []byte("{\n}")
		record.Headers = append(record.Headers, stream.Header{Key: "sealift-line"})
	}
	if !r.poison {
		r.double = l.first[m]
		l.first[m] = true
	}
	l.truth[partition] = append(l.truth[partition], r)
	l.w.kafka.appendTo(eventsTopic, partition, record)
}

// records returns the number of records written.
func (l *workload) records() (n int) {
	for _, t := range l.truth {
		n += len(t)
	}
	return n
}
