package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/stream"
)

// peerEvents are the events of one topic on which programs from Kafka to S3 are compared. They are
// a function of its fields, so another run may have filled the topic.
type peerEvents struct {
	n, sources int
	begin      time.Time     // when the first was received
	span       time.Duration // in which all were received
	// Set by records.
	bytes int64              // of the lines, newlines included
	index map[uint64]int     // index of a line, by its hash
	of    []int32            // their sources
	days  map[int64][]string // ways in which a path may write a day, by its midnight
}

var peerSeed = maphash.MakeSeed()

// records generates the events as a producer would write them that knows nothing about Sealift: the
// source is the key (and the header source), and the time of receipt is the record's own time. It
// has to be consumed to its end.
func (e *peerEvents) records() iter.Seq[stream.Record] {
	return func(yield func(stream.Record) bool) {
		e.bytes, e.index, e.of, e.days = 0, make(map[uint64]int, e.n), make([]int32, 0, e.n), map[int64][]string{}
		step := e.span / time.Duration(e.n)
		g := sample.New(sample.Config{Seed: uint64(e.sources), Sources: e.sources, Start: e.begin, Step: step})
		for event := range g.Take(e.n) {
			e.bytes += int64(len(event.Body)) + 1
			e.index[maphash.Bytes(peerSeed, event.Body)] = len(e.of)
			e.of = append(e.of, int32(event.Source))
			id := []byte(sourceID(event.Source))
			if !yield(stream.Record{
				Key: id, Value: event.Body, Time: e.received(len(e.of) - 1), Headers: []stream.Header{{Key: "source", Value: id}},
			}) {
				return
			}
		}
	}
}

func (e *peerEvents) received(i int) time.Time {
	return e.begin.Add(time.Duration(i) * (e.span / time.Duration(e.n)))
}

// belongs says whether a key contains event i's source and its day of receipt.
func (e *peerEvents) belongs(i int, key string) bool {
	day := e.received(i).Truncate(24 * time.Hour)
	forms := e.days[day.Unix()]
	if forms == nil {
		for _, layout := range []string{time.DateOnly, "2006/01/02", "20060102"} {
			forms = append(forms, day.Format(layout))
		}
		forms = append(forms, strconv.FormatInt(day.UnixMilli(), 10))
		e.days[day.Unix()] = forms
	}
	return strings.Contains(key, sourceID(int(e.of[i]))) && slices.ContainsFunc(forms, func(f string) bool { return strings.Contains(key, f) })
}

// peerCounts compares what is in S3 with what should be.
type peerCounts struct {
	Lines     int64 `json:"lines"`
	Missing   int64 `json:"missing"`   // events that are in no object
	Doubled   int64 `json:"doubled"`   // additional copies of lines
	Damaged   int64 `json:"damaged"`   // lines that are not an event, byte for byte
	Misplaced int64 `json:"misplaced"` // lines in an object whose key lacks their source or their day
	Broken    int64 `json:"broken"`    // objects that are not whole gzip files
	Other     int64 `json:"other"`     // objects that are not gzip, such as a program's own state; not an error
}

func (c peerCounts) problems() string {
	if c.Missing+c.Doubled+c.Damaged+c.Misplaced+c.Broken == 0 {
		return ""
	}
	return fmt.Sprintf("%d missing, %d doubled, %d damaged, %d misplaced lines, %d broken objects", c.Missing, c.Doubled, c.Damaged, c.Misplaced, c.Broken)
}

// peerJudge reads objects, oldest first, and counts every line in them.
type peerJudge struct {
	peerCounts
	want  *peerEvents
	seen  []bool
	files int64
	bytes int64     // compressed
	last  time.Time // time of the object with the last event
}

func newPeerJudge(want *peerEvents) *peerJudge {
	return &peerJudge{want: want, seen: make([]bool, want.n), peerCounts: peerCounts{Missing: int64(want.n)}}
}

// object reads one object: any number of gzip members, with one event per line.
func (j *peerJudge) object(key string, stored time.Time, body []byte) {
	if !bytes.HasPrefix(body, []byte{0x1f, 0x8b}) {
		j.Other++
		return
	}
	j.files++
	j.bytes += int64(len(body))
	inflated, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		j.Broken++
		return
	}
	for lines := bufio.NewReaderSize(inflated, 256<<10); ; {
		line, err := lines.ReadSlice('\n')
		if len(line) > 0 {
			j.line(key, stored, bytes.TrimSuffix(line, []byte("\n")))
		}
		switch {
		case err == nil, errors.Is(err, bufio.ErrBufferFull): // no event is that long: its pieces count as damaged
		case errors.Is(err, io.EOF):
			return
		default:
			j.Broken++
			return
		}
	}
}

func (j *peerJudge) line(key string, stored time.Time, line []byte) {
	j.Lines++
	i, known := j.want.index[maphash.Bytes(peerSeed, line)]
	switch {
	case !known:
		j.Damaged++
		return
	case j.seen[i]:
		j.Doubled++
	default:
		j.seen[i] = true
		j.Missing--
		if stored.After(j.last) {
			j.last = stored
		}
	}
	if !j.want.belongs(i, key) {
		j.Misplaced++
	}
}

// TestPeerJudge gives the judge a good bucket, and every fault.
func TestPeerJudge(t *testing.T) {
	events := &peerEvents{n: 40, sources: 2, begin: time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC), span: 2 * time.Hour}
	const first, second = "run/src00000/2026-03-01/a.gz", "run/day=1772409600000/src00001-b.gz" // the second day, in milliseconds
	lines := map[string][]string{}
	for r := range events.records() {
		switch { // two sources and two days, one of each
		case string(r.Key) == "src00000" && r.Time.Day() == 1:
			lines[first] = append(lines[first], string(r.Value)+"\n")
		case string(r.Key) == "src00001" && r.Time.Day() == 2:
			lines[second] = append(lines[second], string(r.Value)+"\n")
		}
	}
	require.Greater(t, min(len(lines[first]), len(lines[second])), 2)
	all := int64(len(lines[first]) + len(lines[second]))
	rest := int64(events.n) - all // in no object

	zip := gziptest.Zip
	good := func() map[string][]byte {
		return map[string][]byte{first: zip(strings.Join(lines[first], "")), second: zip(strings.Join(lines[second], ""))}
	}
	edit := func(f func(l []string) []string) func(map[string][]byte) {
		return func(objects map[string][]byte) {
			objects[first] = zip(strings.Join(f(slices.Clone(lines[first])), ""))
		}
	}
	tests := map[string]struct {
		damage func(map[string][]byte)
		want   peerCounts // in addition to those of a good bucket
	}{
		"nothing":           {func(map[string][]byte) {}, peerCounts{}},
		"line_missing":      {edit(func(l []string) []string { return l[1:] }), peerCounts{Lines: -1, Missing: 1}},
		"line_doubled":      {edit(func(l []string) []string { return append(l, l[0]) }), peerCounts{Lines: 1, Doubled: 1}},
		"line_damaged":      {edit(func(l []string) []string { l[0] = strings.Replace(l[0], `"type"`, `"tYpe"`, 1); return l }), peerCounts{Missing: 1, Damaged: 1}},
		"carriage_return":   {edit(func(l []string) []string { l[0] = strings.Replace(l[0], "\n", "\r\n", 1); return l }), peerCounts{Missing: 1, Damaged: 1}},
		"empty_line":        {edit(func(l []string) []string { return append(l, "\n") }), peerCounts{Lines: 1, Damaged: 1}},
		"one_for_another":   {edit(func(l []string) []string { l[0] = l[1]; return l }), peerCounts{Missing: 1, Doubled: 1}},
		"of_another_source": {edit(func(l []string) []string { return append(l, lines[second][0]) }), peerCounts{Lines: 1, Doubled: 1, Misplaced: 1}},
		"endless_line":      {edit(func(l []string) []string { return append(l, strings.Repeat("x", 300<<10)+"\n") }), peerCounts{Lines: 2, Damaged: 2}},
		"no_last_newline":   {edit(func(l []string) []string { l[2] = strings.TrimSpace(l[2]); return l[:3] }), peerCounts{Lines: 3 - int64(len(lines[first])), Missing: int64(len(lines[first])) - 3}},
		"object_missing":    {func(o map[string][]byte) { delete(o, second) }, peerCounts{Lines: -int64(len(lines[second])), Missing: int64(len(lines[second]))}},
		"object_elsewhere":  {func(o map[string][]byte) { o["run/src00001/2026-03-01/a.gz"] = o[first]; delete(o, first) }, peerCounts{Misplaced: int64(len(lines[first]))}},
		"of_another_day":    {func(o map[string][]byte) { o["run/src00000/2026-03-02/a.gz"] = o[first]; delete(o, first) }, peerCounts{Misplaced: int64(len(lines[first]))}},
		"object_cut":        {func(o map[string][]byte) { o[first] = o[first][:len(o[first])-4] }, peerCounts{Broken: 1}},
		"two_members": {func(o map[string][]byte) {
			o[first] = append(zip(lines[first][0]), zip(strings.Join(lines[first][1:], ""))...)
		}, peerCounts{}},
		"an_object_of_state": {func(o map[string][]byte) { o["run/_state"] = []byte("{}") }, peerCounts{Other: 1}},
	}
	for hazard, test := range tests {
		t.Run(hazard, func(t *testing.T) {
			objects, judge := good(), newPeerJudge(events)
			test.damage(objects)
			for key, body := range objects {
				judge.object(key, events.begin, body)
			}
			want := test.want
			want.Lines += all
			want.Missing += rest
			require.Equal(t, want, judge.peerCounts)
			require.Contains(t, judge.problems(), fmt.Sprintf("%d missing", want.Missing))
		})
	}
	require.Empty(t, peerCounts{Lines: 40, Other: 1}.problems())
}
