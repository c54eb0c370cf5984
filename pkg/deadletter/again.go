package deadletter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// Again sends letters again whose events would be taken today, with their own
// times of receipt and messageIds: they go into the files of the hour in which
// they were received.
type Again struct {
	Kafka    Kafka
	Topic    string        // of the dead letters
	Router   *route.Router // as the appenders have it
	Validate bool          // as the collectors have it
	// Retention is for how long Events' topic keeps a record by its time, where that is
	// its event's time of receipt; 0: it is not, or for ever.
	Retention time.Duration
	// Events takes the events, Letters the notes that they were sent; nil
	// Events: letters are only counted.
	Events, Letters Producer
	// Select tells which letters it is about.
	Select func(*Letter) bool
}

// Producer writes records to a topic; *stream.Producer is one.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Tally is what became of the letters that were selected.
type Tally struct {
	Found   int64            `json:"found"`   // those that were not sent again before
	Sent    int64            `json:"sent"`    // without Events: that would be
	Left    map[string]int64 `json:"left"`    // reason why they would not be taken -> letters
	Already int64            `json:"already"` // sent again before
}

// Reasons for which a letter is left, beside those of letters.
const (
	// LeftCut: the value is not whole.
	LeftCut = "cut"
	// LeftTooLarge: the events topic does not take it, which only sending it shows.
	LeftTooLarge = "too_large"
	// LeftTooOld: the events topic would delete it before it is filed.
	LeftTooOld = "too_old"
)

// These bound what is finished though the run has been told to end: events, and the
// note of those that were taken, which events that were not leave its own time.
const (
	sendWithin = 2 * time.Minute
	noteWithin = 30 * time.Second
)

// Run sends the letters of a window. With an error the tally is of what was
// done. Only one may run at a time: another would not know of this one's notes.
// Running it again sends what is left: a letter is noted when its event
// was acknowledged, so what was sent twice is what was under way when a run was
// cut off. That is left out of the files as any message that comes again, if
// its messageId is still remembered.
func (a *Again) Run(ctx context.Context, w Window) (Tally, error) {
	tally := Tally{Left: map[string]int64{}}
	var events []stream.Record
	var letters []note
	err := Read(ctx, a.Kafka, a.Topic, w, func(l *Letter) error {
		switch {
		case !a.Select(l):
			return nil
		case l.SentAgain:
			tally.Already++
			return nil
		}
		tally.Found++
		record, left := a.revive(l)
		switch {
		case left != "":
			tally.Left[left]++
		case a.Events == nil:
			tally.Sent++
		default:
			events, letters = append(events, record.Clone()), append(letters, note{l.Partition, l.Offset})
		}
		return nil
	}, func() error {
		if len(events) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// What was begun is ended, or events would be sent that no note tells of.
		err := a.send(context.WithoutCancel(ctx), events, letters, &tally)
		events, letters = nil, letters[:0] // a producer may still be reading the events
		return err
	})
	return tally, err
}

// send writes events and notes the letters of those that were taken. Each is
// produced by itself, which the producer makes batches of: so one that the topic
// does not take for its size is left, and none of the others is sent twice for it.
func (a *Again) send(ctx context.Context, events []stream.Record, letters []note, tally *Tally) error {
	outcomes := make([]error, len(events))
	sending, cancel := context.WithTimeout(ctx, sendWithin)
	defer cancel()
	var group sync.WaitGroup
	for i := range events {
		group.Go(func() { outcomes[i] = a.Events.Produce(sending, events[i]) })
	}
	group.Wait()
	var sent []note
	var failed error
	for i, err := range outcomes {
		switch {
		case err == nil:
			sent = append(sent, letters[i])
		case errors.Is(err, stream.ErrRecordTooLarge):
			tally.Left[LeftTooLarge]++
		case failed == nil:
			failed = fmt.Errorf("send dead letters again, the first of them at partition %d, offset %d: %w", letters[i].partition, letters[i].offset, err)
		}
	}
	if len(sent) == 0 {
		return failed
	}
	// Last: what is noted was sent.
	tally.Sent += int64(len(sent))
	noting, cancel := context.WithTimeout(ctx, noteWithin)
	defer cancel()
	if err := a.Letters.Produce(noting, noteOf(sent)); err != nil {
		return errors.Join(failed, fmt.Errorf("those of the last fetch that were sent are not noted: another run sends them again, and they are left out by their messageId, if that is still remembered: %w", err))
	}
	return failed
}

// revive returns the record of a letter's event, or why it would not be taken.
func (a *Again) revive(l *Letter) (r stream.Record, left string) {
	if _, cut := l.Header(HeaderCut); cut {
		return r, LeftCut
	}
	r = stream.Record{Key: l.Key, Value: l.Value, Time: l.At}
	if ms, ok := l.Header(HeaderTime); ok {
		if n, err := strconv.ParseInt(string(ms), 10, 64); err == nil {
			r.Time = time.UnixMilli(n)
		}
	}
	for _, h := range l.Headers {
		// Who vouched for a value that fitted no file is not believed again.
		if !Own(h.Key) && (h.Key != route.HeaderLine || l.Refused()) {
			r.Headers = append(r.Headers, h)
		}
	}
	to, left := a.Router.Route(&r)
	if left == "" && l.Refused() {
		left = a.judge(to.Line, l.Reason)
	}
	// A tenth of the retention is for the appender to read and file it.
	if left == "" && a.Retention > 0 && time.Since(r.Time) > a.Retention-a.Retention/10 {
		left = LeftTooOld
	}
	return r, left
}

// judge looks at an event that the collector refused as it would today. Its
// line is longer than the event was, by what the API adds, so its size counts
// only if that was the reason.
func (a *Again) judge(line []byte, reason string) (left string) {
	if r := event.Reason(reason); r == event.ErrNoKey || r == event.ErrUnknownKey {
		return reason // it lies with its sender's source, and nobody knows whose it is
	}
	var request event.Request
	body := append(append([]byte(`{"batch":[`), line...), `]}`...)
	if err := request.Parse(event.Batch, body); err != nil {
		return reason
	}
	if fault := request.Fault(0); fault != nil && (fault.Reason != event.ErrEventTooLarge || reason == string(fault.Reason)) {
		return string(fault.Reason)
	}
	if !a.Validate {
		return ""
	}
	if lacks := request.Incomplete(0); lacks != nil {
		return string(lacks.Reason)
	}
	return ""
}

// Describe says what a reason means, without a word of any event.
func Describe(reason string) string {
	if text, ok := descriptions[reason]; ok {
		return text
	}
	return "a reason that this release does not know"
}

// Reasons returns the reasons that a dead letter may have, sorted.
func Reasons() []string {
	left := []string{LeftTooOld, LeftTooLarge, LeftCut} // of letters that could not be sent again
	return slices.DeleteFunc(slices.Sorted(maps.Keys(descriptions)), func(reason string) bool { return slices.Contains(left, reason) })
}

var descriptions = map[string]string{
	string(event.ErrNoUser):        "neither userId nor anonymousId",
	string(event.ErrNoKey):         "no write key, in a batch whose events bring their own",
	string(event.ErrUnknownKey):    "a write key of no source, in a batch whose events bring their own",
	string(event.ErrNoName):        "a track call without event",
	string(event.ErrEventTooLarge): fmt.Sprintf("larger than %d KB", event.MaxEvent>>10),
	string(event.ErrMessageID):     fmt.Sprintf("a messageId longer than %d characters", event.MaxMessageID),
	route.ReasonJSON:               "no JSON object",
	route.ReasonSource:             "no valid source id where kafka.source_from says",
	route.ReasonReceived:           "no time of receipt from 2001-09-10 to 2099 where kafka.received_from says",
	"unfit_line":                   "a value that its producer vouched for, and that is no line",
	LeftTooOld:                     "older than the events topic keeps records by their own times (its retention.ms): it would be deleted before it is filed",
	LeftTooLarge:                   "too large for the events topic (its max.message.bytes)",
	LeftCut:                        "too large for the dead letters too: its value was cut",
}
