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

// Resender sends letters again whose events would be accepted today. They keep their own times of
// receipt and messageIds, so they go into the files of the hour in which they were received.
type Resender struct {
	Kafka    Kafka
	Topic    string        // the topic of the dead letters
	Router   *route.Router // configured like that of the appenders
	Validate bool          // configured like that of the collectors
	// Retention is for how long the topic of Events keeps a record, if that is decided by the
	// record's time and that time is its event's time of receipt; 0: no such limit.
	Retention time.Duration
	// Events writes the events, Letters the notes that letters were sent again. If Events is nil,
	// letters are only counted.
	Events, Letters Producer
	// Select reports whether a letter is to be sent again.
	Select func(*Letter) bool
}

// Producer writes records to a topic; *stream.Producer is one.
type Producer interface {
	Produce(ctx context.Context, records ...stream.Record) error
}

// Tally counts what happened to the selected letters.
type Tally struct {
	Found   int64            `json:"found"`   // those that had not been sent again before
	Sent    int64            `json:"sent"`    // if Events is nil: those that would be sent
	Left    map[string]int64 `json:"left"`    // reason why they would not be accepted -> letters
	Already int64            `json:"already"` // had been sent again before
}

// Reasons why a letter is left, besides the reasons of letters.
const (
	// LeftCut: the value is not complete.
	LeftCut = "cut"
	// LeftTooLarge: the events topic does not accept it, which shows only when it is sent.
	LeftTooLarge = "too_large"
	// LeftTooOld: the events topic would delete it before it is filed.
	LeftTooOld = "too_old"
)

// These limit what is still finished after the run was told to end: sending events, and writing the
// note of those that were sent. The note has a limit of its own, so that events that hang do not
// use up its time.
const (
	sendTimeout = 2 * time.Minute
	noteTimeout = 30 * time.Second
)

// Run sends the letters of a window again. If it returns an error, the tally counts what was done
// until then. Only one Run may be active at a time, since another would not know of its notes.
//
// Running it again sends what is left. A letter is noted when its event was acknowledged, so only
// events that were in flight when a run was cut off are sent twice. Like any message that comes
// twice, they are left out of the files if their messageId is still remembered.
func (a *Resender) Run(ctx context.Context, w Window) (Tally, error) {
	tally := Tally{Left: map[string]int64{}}
	var events []stream.Record
	var letters []position
	err := Read(ctx, a.Kafka, a.Topic, w, func(l *Letter) error {
		switch {
		case !a.Select(l):
			return nil
		case l.SentAgain:
			tally.Already++
			return nil
		}
		tally.Found++
		record, left := a.rebuild(l)
		switch {
		case left != "":
			tally.Left[left]++
		case a.Events == nil:
			tally.Sent++
		default:
			events, letters = append(events, record.Clone()), append(letters, position{l.Partition, l.Offset})
		}
		return nil
	}, func() error {
		if len(events) == 0 {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// What was begun is finished; otherwise events would be sent without a note.
		err := a.send(context.WithoutCancel(ctx), events, letters, &tally)
		events, letters = nil, letters[:0] // a producer may still be reading the events
		return err
	})
	return tally, err
}

// send writes events, and notes the letters of those that were written. Each event is produced
// separately (the producer batches them), so that one that is too large for the topic is left, and
// none of the others is sent twice because of it.
func (a *Resender) send(ctx context.Context, events []stream.Record, letters []position, tally *Tally) error {
	outcomes := make([]error, len(events))
	sending, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	var group sync.WaitGroup
	for i := range events {
		group.Go(func() { outcomes[i] = a.Events.Produce(sending, events[i]) })
	}
	group.Wait()
	var sent []position
	var failed error
	var key []byte // of one of the letters: the note is to be in their partition
	for i, err := range outcomes {
		switch {
		case err == nil:
			sent = append(sent, letters[i])
			if k := events[i].Key; len(key) == 0 || len(k) > 0 && len(k) < len(key) {
				key = k
			}
		case errors.Is(err, stream.ErrRecordTooLarge):
			tally.Left[LeftTooLarge]++
		case failed == nil:
			failed = fmt.Errorf("send dead letters again, the first of them at partition %d, offset %d: %w", letters[i].partition, letters[i].offset, err)
		}
	}
	if len(sent) == 0 {
		return failed
	}
	// Only now: what is noted has been sent.
	tally.Sent += int64(len(sent))
	noting, cancel := context.WithTimeout(ctx, noteTimeout)
	defer cancel()
	if err := a.Letters.Produce(noting, newNote(sent, key)); err != nil {
		return errors.Join(failed, fmt.Errorf("those of the last fetch that were sent are not noted: another run sends them again, and they are left out by their messageId, if that is still remembered: %w", err))
	}
	return failed
}

// rebuild returns the record of a letter's event, or why it would not be accepted.
func (a *Resender) rebuild(l *Letter) (r stream.Record, left string) {
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
		// If a value fitted no file, its producer's claim that it is a valid line is not believed
		// again.
		if !IsReservedHeader(h.Key) && (h.Key != route.HeaderLine || l.RefusedByCollector()) {
			r.Headers = append(r.Headers, h)
		}
	}
	to, left := a.Router.Route(&r)
	if left == "" && l.RefusedByCollector() {
		left = a.judge(to.Line, l.Reason)
	}
	// A tenth of the retention is reserved for the appender to read and file the record.
	if left == "" && a.Retention > 0 && time.Since(r.Time) > a.Retention-a.Retention/10 {
		left = LeftTooOld
	}
	return r, left
}

// judge judges an event that the collector refused by the rules of today. Its line is longer than
// the event was, because the API adds fields. So its size counts only if that was the reason.
func (a *Resender) judge(line []byte, reason string) (left string) {
	if r := event.Reason(reason); r == event.ErrNoKey || r == event.ErrUnknownKey {
		return reason // it was filed under its sender's source; the source of the event itself is unknown
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
	if lacks := request.MissingField(0); lacks != nil {
		return string(lacks.Reason)
	}
	return ""
}

// Describe explains a reason, without quoting any event.
func Describe(reason string) string {
	if text, ok := descriptions[reason]; ok {
		return text
	}
	return "a reason that this release does not know"
}

// Reasons returns the reasons that a dead letter may have, sorted.
func Reasons() []string {
	left := []string{LeftTooOld, LeftCut} // only of letters that could not be sent again; the collector writes LeftTooLarge, too
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
