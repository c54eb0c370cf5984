package deadletter

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// memory holds topics in memory: topic -> partition -> records.
type memory map[string][][]stream.Record

const (
	topic      = "sealift.dead-letters"
	partitions = 2
	perFetch   = 3
)

func (m memory) kafka() Kafka {
	return Kafka{
		BoundsSince: func(_ context.Context, topic string, t time.Time) (map[int]stream.Bounds, error) {
			if m[topic] == nil {
				return nil, fmt.Errorf("topic %q: %w", topic, stream.ErrNoTopic)
			}
			out := map[int]stream.Bounds{}
			for p, records := range m[topic] {
				b := stream.Bounds{End: int64(len(records))}
				for b.First < b.End && records[b.First].Time.Before(t) {
					b.First++
				}
				out[p] = b
			}
			return out, nil
		},
		Fetcher: func(topic string, p int) Fetcher { return fetcher{m, topic, p} },
	}
}

// flaky returns a Kafka whose every other call finds no broker.
func flaky(kafka Kafka) Kafka {
	calls := 0
	away := func() error {
		if calls++; calls%2 == 1 {
			return syscall.ECONNREFUSED
		}
		return nil
	}
	return Kafka{
		BoundsSince: func(ctx context.Context, topic string, t time.Time) (map[int]stream.Bounds, error) {
			if err := away(); err != nil {
				return nil, err
			}
			return kafka.BoundsSince(ctx, topic, t)
		},
		Fetcher: func(topic string, p int) Fetcher { return flakyFetcher{away, kafka.Fetcher(topic, p)} },
	}
}

type flakyFetcher struct {
	away func() error
	Fetcher
}

func (f flakyFetcher) Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error) {
	if err := f.away(); err != nil {
		return stream.Fetched{}, err
	}
	return f.Fetcher.Fetch(ctx, offset, opts)
}

// TestUnreachableBrokersAreRetried: each letter is sent, and none twice, although brokers are
// unreachable at times.
func TestUnreachableBrokersAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := memory{}
		letters := &producer{m: m, topic: topic}
		for i := range 10 {
			require.NoError(t, letters.Produce(t.Context(), collectorLetter("web", fmt.Sprint(i), fmt.Sprintf(`{"messageId":"%d","type":"track","event":"e","userId":"u"}`, i), "no_user")))
		}
		a := newResender(t, m, true, "header", "header")
		a.Kafka = flaky(a.Kafka)
		tally, err := a.Run(t.Context(), Window{})
		require.NoError(t, err)
		require.EqualValues(t, 10, tally.Sent)
		require.Len(t, m.events(), 10)
		tally, err = a.Run(t.Context(), Window{})
		require.NoError(t, err)
		require.EqualValues(t, 10, tally.Already)
		require.Len(t, m.events(), 10)
	})
}

// A broker that has to get old records from slower storage first may answer with none.
func TestNoLetterIsMissedWhenABrokerHasNoneYet(t *testing.T) {
	m := letters(t, 20)
	run := newResender(t, m, false, "header", "header")
	run.Kafka.Fetcher = func(topic string, p int) Fetcher { return &slowFetcher{Fetcher: m.kafka().Fetcher(topic, p)} }
	tally, err := run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.EqualValues(t, 20, tally.Sent)
}

// slowFetcher answers every other request without records.
type slowFetcher struct {
	Fetcher
	calls int
}

func (f *slowFetcher) Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error) {
	got, err := f.Fetcher.Fetch(ctx, offset, opts)
	if f.calls++; f.calls%2 == 1 {
		got.Records, got.Next = nil, offset
	}
	return got, err
}

type fetcher struct {
	m         memory
	topic     string
	partition int
}

func (f fetcher) Fetch(_ context.Context, offset int64, _ stream.FetchOptions) (stream.Fetched, error) {
	all := f.m[f.topic][f.partition]
	if offset > int64(len(all)) {
		return stream.Fetched{}, stream.ErrOffsetOutOfRange
	}
	end := min(offset+perFetch, int64(len(all)))
	return stream.Fetched{Records: all[offset:end], Next: end, HighWatermark: int64(len(all))}, nil
}

// producer chooses a record's partition by the length of the key.
type producer struct {
	m       memory
	topic   string
	fail    error
	largest int    // maximum size of a record's value, if not 0
	before  func() // called while records are in flight
	hangs   string // a value that contains this is never acknowledged; Produce returns when ctx ends
	mu      sync.Mutex
}

func (p *producer) Produce(ctx context.Context, records ...stream.Record) error {
	if p.fail != nil {
		return p.fail
	}
	if p.hangs != "" && bytes.Contains(records[0].Value, []byte(p.hangs)) {
		<-ctx.Done()
		return ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	fit := records[:0:0] // like stream.Producer: those that fit are written, then it fails
	for _, r := range records {
		if p.largest == 0 || len(r.Value) <= p.largest {
			fit = append(fit, r)
		}
	}
	var tooLarge error
	if len(fit) < len(records) {
		tooLarge = fmt.Errorf("produce: %w", stream.ErrRecordTooLarge)
	}
	records = fit
	if p.before != nil {
		p.before()
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if p.m[p.topic] == nil {
		p.m[p.topic] = make([][]stream.Record, partitions)
	}
	for _, r := range records {
		r.Topic, r.Partition = p.topic, len(r.Key)%partitions
		r.Offset = int64(len(p.m[p.topic][r.Partition]))
		p.m[p.topic][r.Partition] = append(p.m[p.topic][r.Partition], r)
	}
	return tooLarge
}

var received = time.Date(2026, 11, 22, 18, 30, 0, 0, time.UTC)

func collectorLetter(source, id, value, reason string) stream.Record {
	return NewRefused(source, received, []byte(value), strings.HasPrefix(value, "{"), []byte(id), reason)
}

// appenderLetter returns a letter as the appender writes it, for a record with these headers.
func appenderLetter(value, reason string, headers ...string) stream.Record {
	r := stream.Record{Key: []byte("web"), Value: []byte(value), Time: received.Add(time.Second)}
	headers = append(headers, HeaderReason, reason, HeaderTopic, "sealift.events", HeaderPartition, "3", HeaderOffset, "17",
		HeaderTime, strconv.FormatInt(received.UnixMilli(), 10))
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, stream.Header{Key: headers[i], Value: []byte(headers[i+1])})
	}
	return r
}

// newResender returns an Again that sends all letters of m.
func newResender(t *testing.T, m memory, validate bool, sourceFrom, receivedFrom string) *Resender {
	t.Helper()
	router, err := route.New(sourceFrom, receivedFrom)
	require.NoError(t, err)
	return &Resender{
		Kafka: m.kafka(), Topic: topic, Router: router, Validate: validate, Select: func(*Letter) bool { return true },
		Events: &producer{m: m, topic: "events"}, Letters: &producer{m: m, topic: topic},
	}
}

func (m memory) events() (out []stream.Record) {
	for _, records := range m["events"] {
		out = append(out, records...)
	}
	return out
}

func TestWhichLettersAreResent(t *testing.T) {
	ms := strconv.FormatInt(received.UnixMilli(), 10)
	large := `{"type":"page","userId":"u","a":"` + strings.Repeat("x", 33<<10) + `"}`
	for hazard, c := range map[string]struct {
		letter           stream.Record
		lenient          bool
		source, received string // the SourceFrom and ReceivedFrom rules; default header
		left             string
	}{
		"no_user_still":                              {collectorLetter("web", "m", `{"type":"page"}`, "no_user"), false, "", "", "no_user"},
		"no_user_and_lenient_now":                    {collectorLetter("web", "m", `{"type":"page"}`, "no_user"), true, "", "", ""},
		"no_event_name_still":                        {collectorLetter("web", "m", `{"type":"track","userId":"u"}`, "no_event_name"), false, "", "", "no_event_name"},
		"another_reason_by_now":                      {collectorLetter("web", "m", `{"type":"track"}`, "no_event_name"), false, "", "", "no_user"},
		"a_rule_that_is_gone":                        {collectorLetter("web", "m", `{"type":"page","userId":"u"}`, "no_plan"), false, "", "", ""},
		"too_large_still":                            {collectorLetter("web", "m", large, "event_too_large"), true, "", "", "event_too_large"},
		"a_line_larger_than_its_event":               {collectorLetter("web", "m", large, "no_user"), false, "", "", ""},
		"long_message_id_still":                      {collectorLetter("web", "m", `{"type":"page","userId":"u","messageId":"`+strings.Repeat("m", 101)+`"}`, "message_id_too_long"), true, "", "", "message_id_too_long"},
		"without_a_source_of_its_own":                {collectorLetter("web", "m", `{"type":"page","userId":"u"}`, "no_write_key"), true, "", "", "no_write_key"},
		"of_a_source_that_nobody_knows":              {collectorLetter("web", "m", `{"type":"page","userId":"u"}`, "unknown_write_key"), true, "", "", "unknown_write_key"},
		"too_large_for_the_topic_before":             {collectorLetter("web", "m", `{"type":"page","userId":"u"}`, "too_large"), true, "", "", ""},
		"no_object":                                  {collectorLetter("web", "m", `"text"`, "not_a_json_object"), true, "", "", "not_a_json_object"},
		"no_json_still":                              {appenderLetter(`nonsense`, "not_a_json_object", "sealift-source", "web", "sealift-received", ms), true, "", "", "not_a_json_object"},
		"invalid_source_still":                       {appenderLetter(`{"a":1}`, "invalid_source", "sealift-received", ms), true, "", "", "invalid_source"},
		"source_is_the_key_now":                      {appenderLetter(`{"a":1}`, "invalid_source", "sealift-received", ms), true, "key", "", ""},
		"received_is_the_records_now":                {appenderLetter(`{"a":1}`, "invalid_received", "sealift-source", "web"), true, "", "record", ""},
		"a_vouched_value_of_two_lines":               {appenderLetter("{\"a\":\n1}", "unfit_line", "sealift-source", "web", "sealift-received", ms, "sealift-line", "1"), true, "", "", ""},
		"a_vouched_value_is_no_json":                 {appenderLetter("{\"a\n}", "unfit_line", "sealift-source", "web", "sealift-received", ms, "sealift-line", "1"), true, "", "", "not_a_json_object"},
		"users_are_of_no_concern_to_other_producers": {appenderLetter(`{"a":1}`, "invalid_source", "sealift-received", ms), false, "key", "", ""},
		"cut": {appenderLetter(`{"a":1}`, "invalid_source", "sealift-source", "web", "sealift-received", ms, HeaderCut, "1000000"), true, "", "", LeftCut},
	} {
		t.Run(hazard, func(t *testing.T) {
			m := memory{}
			require.NoError(t, (&producer{m: m, topic: topic}).Produce(t.Context(), c.letter))
			source, from := c.source, c.received
			if source == "" {
				source = "header"
			}
			if from == "" {
				from = "header"
			}
			run := newResender(t, m, !c.lenient, source, from)
			tally, err := run.Run(t.Context(), Window{})
			require.NoError(t, err)
			require.EqualValues(t, 1, tally.Found)
			if c.left != "" {
				require.Equal(t, map[string]int64{c.left: 1}, tally.Left)
				require.Empty(t, m.events())
				return
			}
			require.Empty(t, tally.Left)
			sent := m.events()
			require.Len(t, sent, 1)
			require.Equal(t, c.letter.Value, sent[0].Value)
			require.Equal(t, c.letter.Key, sent[0].Key, "the same partition, where copies are known")
			to, reason := run.Router.Route(&sent[0])
			require.Empty(t, reason)
			require.Equal(t, "web", to.Source)
			require.Equal(t, received.UnixMilli(), to.Received, "the day of its receipt")
			for _, h := range sent[0].Headers {
				require.False(t, IsReservedHeader(h.Key), h.Key)
			}
			before, _ := c.letter.Header("sealift-message")
			after, _ := sent[0].Header("sealift-message")
			require.Equal(t, before, after)
		})
	}
}

// letters fills a topic with n letters of two sources that would be accepted.
func letters(t *testing.T, n int) memory {
	t.Helper()
	m := memory{}
	p := &producer{m: m, topic: topic}
	for i := range n {
		source := []string{"web", "server"}[i%2]
		require.NoError(t, p.Produce(t.Context(), collectorLetter(source, fmt.Sprint("m-", i), `{"type":"page","n":`+strconv.Itoa(i)+`}`, "no_user")))
	}
	return m
}

func TestLetterIsResentOnce(t *testing.T) {
	m := letters(t, 20)
	run := newResender(t, m, false, "header", "header")
	run.Events, run.Select = nil, func(l *Letter) bool { return l.Source == "web" }
	tally, err := run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.Equal(t, Tally{Found: 10, Sent: 10, Left: map[string]int64{}}, tally, "a dry run")
	require.Empty(t, m.events())

	run.Events = &producer{m: m, topic: "events"}
	tally, err = run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.Equal(t, Tally{Found: 10, Sent: 10, Left: map[string]int64{}}, tally)
	run.Select = func(*Letter) bool { return true }
	tally, err = run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.Equal(t, Tally{Found: 10, Sent: 10, Already: 10, Left: map[string]int64{}}, tally)
	tally, err = run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.Equal(t, Tally{Already: 20, Left: map[string]int64{}}, tally)

	ids := map[string]int{}
	for _, e := range m.events() {
		id, _ := e.Header("sealift-message")
		ids[string(id)]++
	}
	require.Len(t, ids, 20)
	require.Len(t, m.events(), 20)
}

// Kafka deletes the records of a partition in their order. In another partition a note might be deleted before its letter,
// which would then be sent a second time.
func TestNotesAreInThePartitionOfTheirLetters(t *testing.T) {
	m := letters(t, 20)
	_, err := newResender(t, m, false, "header", "header").Run(t.Context(), Window{})
	require.NoError(t, err)
	for partition, records := range m[topic] {
		for i := range records {
			if sent := map[position]bool{}; isNote(&records[i]) {
				readNote(records[i].Value, sent)
				require.NotEmpty(t, sent)
				for letter := range sent {
					require.Equal(t, partition, letter.partition)
				}
			}
		}
	}
}

// TestInterruptedRunIsContinued: if a run dies before events are acknowledged, they are sent
// later; if it dies before the note, one fetch is sent twice, and no more.
func TestInterruptedRunIsContinued(t *testing.T) {
	away := errors.New("no broker answers")
	for hazard, c := range map[string]struct {
		events, notes error
		twice         int
	}{
		"before_the_events": {away, nil, 0},
		"before_the_note":   {nil, away, perFetch},
	} {
		t.Run(hazard, func(t *testing.T) {
			m := letters(t, 20)
			run := newResender(t, m, false, "header", "header")
			run.Events.(*producer).fail, run.Letters.(*producer).fail = c.events, c.notes
			_, err := run.Run(t.Context(), Window{})
			require.ErrorIs(t, err, away)
			require.Equal(t, c.notes != nil, strings.Contains(err.Error(), "another run sends them again, and they are left out"))
			run.Events.(*producer).fail, run.Letters.(*producer).fail = nil, nil
			tally, err := run.Run(t.Context(), Window{})
			require.NoError(t, err)
			require.EqualValues(t, 20, tally.Sent)
			require.Len(t, m.events(), 20+c.twice)
		})
	}
}

// TestInterruptedRunNotesWhatItSent: a run that is told to end while events are in flight still
// notes those that are written.
func TestInterruptedRunNotesWhatItSent(t *testing.T) {
	m := letters(t, 20)
	run := newResender(t, m, false, "header", "header")
	ctx, interrupt := context.WithCancel(t.Context())
	run.Events.(*producer).before = interrupt
	tally, err := run.Run(ctx, Window{})
	require.ErrorIs(t, err, context.Canceled)
	require.EqualValues(t, perFetch, tally.Sent)
	tally, err = run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.EqualValues(t, 20-perFetch, tally.Sent)
	require.Len(t, m.events(), 20)
}

// TestSentLettersAreNotedAfterATimeout: even if another event used up the whole time limit.
func TestSentLettersAreNotedAfterATimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := letters(t, 2*perFetch)
		run := newResender(t, m, false, "header", "header")
		run.Events.(*producer).hangs = `"n":2`
		tally, err := run.Run(t.Context(), Window{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.NotContains(t, err.Error(), "not noted")
		require.EqualValues(t, 2*perFetch-1, tally.Sent)
		run.Events.(*producer).hangs = ""
		tally, err = run.Run(t.Context(), Window{})
		require.NoError(t, err)
		require.EqualValues(t, 2*perFetch-1, tally.Already)
		require.Len(t, m.events(), 2*perFetch)
	})
}

// TestTooLargeLetterBlocksNoOther: the events topic may accept less than the topic of the
// dead letters.
func TestTooLargeLetterBlocksNoOther(t *testing.T) {
	m := letters(t, 6)
	require.NoError(t, (&producer{m: m, topic: topic}).Produce(t.Context(), collectorLetter("web", "large", `{"type":"page","a":"`+strings.Repeat("x", 1000)+`"}`, "no_user")))
	for offset := range 5 {
		require.NoError(t, (&producer{m: m, topic: topic}).Produce(t.Context(), collectorLetter("web", fmt.Sprint("later-", offset), `{"type":"page"}`, "no_user")))
	}
	run := newResender(t, m, false, "header", "header")
	run.Events.(*producer).largest = 500
	for _, want := range []int64{11, 0} {
		tally, err := run.Run(t.Context(), Window{})
		require.NoError(t, err)
		require.Equal(t, want, tally.Sent)
		require.Equal(t, map[string]int64{LeftTooLarge: 1}, tally.Left)
	}
	require.Len(t, m.events(), 11)
}

func TestWindows(t *testing.T) {
	m := memory{}
	p := &producer{m: m, topic: topic}
	for i := range 10 {
		r := collectorLetter("web", "m", `{}`, "no_user")
		r.Time = received.Add(time.Duration(i) * time.Hour)
		require.NoError(t, p.Produce(t.Context(), r))
	}
	at := func(hour int) time.Time { return received.Add(time.Duration(hour) * time.Hour) }
	for name, c := range map[string]struct {
		w    Window
		want int
	}{
		"all": {Window{}, 10}, "since": {Window{Since: at(7)}, 3}, "until": {Window{Until: at(7)}, 7},
		"both": {Window{Since: at(3), Until: at(5)}, 2}, "none": {Window{Since: at(10)}, 0},
	} {
		got := 0
		require.NoError(t, Read(t.Context(), m.kafka(), topic, c.w, func(*Letter) error { got++; return nil }, func() error { return nil }))
		require.Equal(t, c.want, got, name)
	}
	require.NoError(t, Read(t.Context(), m.kafka(), "other", Window{}, nil, nil), "a missing topic has no letters")
}

// TestLogTruncatedByElection: Read does not wait for records that an unclean election cut off after
// the log's end was determined.
func TestLogTruncatedByElection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for left := int64(1); left <= 5; left++ { // of five records in each of two partitions
			m, got := letters(t, 10), int64(0)
			kafka := m.kafka()
			bounds, err := kafka.BoundsSince(t.Context(), topic, time.Time{})
			require.NoError(t, err)
			err = Walk(t.Context(), kafka, topic, bounds, func(*stream.Record) error {
				for p, records := range m[topic] {
					m[topic][p] = records[:min(int64(len(records)), left)]
				}
				got++
				return nil
			})
			require.NoError(t, err, left)
			require.Equal(t, max(perFetch, left)+left, got, left)
		}
	})
}

// TestNewLeaderWithStaleEnd: it is asked again.
func TestNewLeaderWithStaleEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, got := letters(t, 10), 0
		kafka := m.kafka()
		bounds, err := kafka.BoundsSince(t.Context(), topic, time.Time{})
		require.NoError(t, err)
		all, calls, boundsSince := m[topic][0], 0, kafka.BoundsSince
		kafka.BoundsSince = func(ctx context.Context, topic string, at time.Time) (map[int]stream.Bounds, error) {
			if calls++; calls == 2 {
				m[topic][0] = all
			}
			return boundsSince(ctx, topic, at)
		}
		err = Walk(t.Context(), kafka, topic, bounds, func(*stream.Record) error {
			if got++; got == 1 {
				m[topic][0] = all[:perFetch]
			}
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 10, got)
	})
}

// TestLetterWithNoteHeaderIsNotANote: a producer of the events topic cannot make letters count as
// sent again.
func TestLetterWithNoteHeaderIsNotANote(t *testing.T) {
	m := letters(t, 4)
	var all []position
	for offset := range int64(5) {
		all = append(all, position{0, offset}, position{1, offset})
	}
	forged := newNote(all, nil)
	forged.Headers = append(forged.Headers, stream.Header{Key: HeaderReason, Value: []byte("invalid_source")})
	p := &producer{m: m, topic: topic}
	require.NoError(t, p.Produce(t.Context(), forged))
	run := newResender(t, m, false, "header", "header")
	run.Select = func(l *Letter) bool { return l.Source != "" }
	tally, err := run.Run(t.Context(), Window{})
	require.NoError(t, err)
	require.EqualValues(t, 4, tally.Sent)
	require.Zero(t, tally.Already)
}

func TestForeignRecordsAreLettersWithoutASource(t *testing.T) {
	m := memory{}
	p := &producer{m: m, topic: topic}
	require.NoError(t, p.Produce(t.Context(),
		stream.Record{Value: []byte("x")},
		appenderLetter("x", "invalid_source", "sealift-source", "a/b"),
		stream.Record{Value: []byte("no note"), Headers: []stream.Header{{Key: HeaderSent}}}))
	var got []string
	require.NoError(t, Read(t.Context(), m.kafka(), topic, Window{}, func(l *Letter) error {
		got = append(got, fmt.Sprintf("%q %q %v", l.Source, l.Reason, l.RefusedByCollector()))
		return nil
	}, func() error { return nil }))
	require.ElementsMatch(t, []string{`"" "" true`, `"" "invalid_source" false`}, got)
}

// TestResentRecordKeepsItsEventsTime: a letter that waited, for instance in a spool, reached the
// topic later.
func TestResentRecordKeepsItsEventsTime(t *testing.T) {
	m := memory{}
	letters := &producer{m: m, topic: topic}
	require.NoError(t, letters.Produce(t.Context(), writtenLater(collectorLetter("web", "1", `{"type":"page"}`, "no_user"))))
	require.NoError(t, letters.Produce(t.Context(), appenderLetter(`nonsense`, "not_a_json_object", route.HeaderReceived, "7")))
	require.NoError(t, letters.Produce(t.Context(), stream.Record{Time: received, Headers: []stream.Header{{Key: route.HeaderReceived, Value: []byte("soon")}}}))
	var at []time.Time
	require.NoError(t, Read(t.Context(), m.kafka(), topic, Window{}, func(l *Letter) error {
		at = append(at, l.At.UTC())
		return nil
	}, func() error { return nil }))
	require.ElementsMatch(t, []time.Time{received, received.Add(time.Second), received}, at)

	run := newResender(t, m, false, "header", "record")
	_, err := run.Run(t.Context(), Window{})
	require.NoError(t, err)
	sent := m.events()
	require.Len(t, sent, 1)
	require.Equal(t, received.UnixMilli(), sent[0].Time.UnixMilli(), "the record's time is not its event's")
}

// Where a record's time is its event's time of receipt, Kafka may delete it before an appender has
// read it.
func TestLettersOlderThanRetentionAreLeft(t *testing.T) {
	const day = 24 * time.Hour
	for hazard, c := range map[string]struct {
		letter    stream.Record
		from      string
		retention time.Duration
		left      map[string]int64
	}{
		"older":                  {appenderLetter(`{"a":1}`, "invalid_received", "sealift-source", "web"), "record", 7 * day, map[string]int64{LeftTooOld: 1}},
		"about_as_old":           {appenderLetter(`{"a":1}`, "invalid_received", "sealift-source", "web"), "record", 31 * day, map[string]int64{LeftTooOld: 1}},
		"younger":                {appenderLetter(`{"a":1}`, "invalid_received", "sealift-source", "web"), "record", 60 * day, nil},
		"kept_for_ever":          {appenderLetter(`{"a":1}`, "invalid_received", "sealift-source", "web"), "record", 0, nil},
		"not_taken_anyway":       {appenderLetter(`{"a":1}`, "invalid_source"), "record", day, map[string]int64{"invalid_source": 1}},
		"refused":                {collectorLetter("web", "m", `{"type":"page"}`, "no_user"), "record", 7 * day, map[string]int64{LeftTooOld: 1}},
		"refused_written_lately": {writtenLater(collectorLetter("web", "m", `{"type":"page"}`, "no_user")), "record", 7 * day, map[string]int64{LeftTooOld: 1}},
		"refused_of_its_hour":    {writtenLater(collectorLetter("web", "m", `{"type":"page"}`, "no_user")), "record", 0, nil},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				time.Sleep(time.Until(received.Add(30 * day)))
				m := memory{}
				require.NoError(t, (&producer{m: m, topic: topic}).Produce(t.Context(), c.letter))
				run := newResender(t, m, false, "header", c.from)
				run.Retention = c.retention
				tally, err := run.Run(t.Context(), Window{})
				require.NoError(t, err)
				sent := m.events()
				if c.left != nil {
					require.Equal(t, c.left, tally.Left)
					require.Empty(t, sent)
					return
				}
				require.Empty(t, tally.Left)
				require.Equal(t, received.UnixMilli(), sent[0].Time.UnixMilli(), "the record's time is not its event's")
			})
		})
	}
}

// writtenLater returns a letter that reached the topic long after its event.
func writtenLater(r stream.Record) stream.Record {
	r.Time = r.Time.AddDate(0, 0, 29)
	return r
}

func TestEveryReasonIsDescribed(t *testing.T) {
	require.Contains(t, Reasons(), LeftTooLarge, "the collector writes such letters")
	require.NotContains(t, Reasons(), LeftTooOld)
	for reason, text := range descriptions {
		require.Equal(t, text, Describe(reason))
	}
	require.Contains(t, Describe("nonsense"), "does not know")
}
