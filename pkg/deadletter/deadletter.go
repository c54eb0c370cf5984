// Package deadletter is the form of dead letters: records that are no line of
// any file, kept in a topic of their own with the reason. It is for those who
// write them, the collector and the appender, and for operators who look at
// them and send them again.
//
// It promises that a letter which was sent again is not sent again another
// time, unless the process died between the two, or two sent at once: a note in
// the topic itself says so. It is not a store: a letter is there for as long as Kafka keeps it.
package deadletter

import (
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// Headers of a dead letter, beside the record's own.
const (
	HeaderReason = "sealift-reason"
	// Where the record was; absent if the collector refused it, so that it was
	// in no topic.
	HeaderTopic     = "sealift-topic"
	HeaderPartition = "sealift-partition"
	HeaderOffset    = "sealift-offset"
	// HeaderTime is when the record was written there, in unix milliseconds.
	HeaderTime = "sealift-time"
	// HeaderCut is only on a letter that was cut: the size of its value.
	HeaderCut = "sealift-cut"
	// HeaderSent makes a record a note of letters that were sent again: its
	// value is a JSON object, partition -> offsets.
	HeaderSent = "sealift-sent-again"
)

// Own says that a header of that name is of the dead letters alone. A record that
// brings one has it from somebody who made it up.
func Own(header string) bool {
	switch header {
	case HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset, HeaderTime, HeaderCut, HeaderSent:
		return true
	}
	return false
}

// Refused is the letter of an event that the collector answered 200 to and did
// not take. value is its line, or what it was if it is no JSON object;
// messageID may be nil.
func Refused(source string, received time.Time, value []byte, isLine bool, messageID []byte, reason string) stream.Record {
	headers := []stream.Header{
		{Key: route.HeaderSource, Value: []byte(source)},
		{Key: route.HeaderReceived, Value: strconv.AppendInt(nil, received.UnixMilli(), 10)},
	}
	if isLine {
		headers = append(headers, stream.Header{Key: route.HeaderLine, Value: []byte("1")})
	}
	if messageID != nil {
		headers = append(headers, stream.Header{Key: route.HeaderMessage, Value: messageID})
	}
	headers = append(headers, stream.Header{Key: HeaderReason, Value: []byte(reason)})
	return stream.Record{Key: []byte(source), Value: value, Headers: headers, Time: received}
}

// Of a letter that its topic does not take as it is.
const (
	keptValue = 64 << 10 // bytes
	keptKey   = 1 << 10
)

// Cut is the letter without what may make it too large for its topic: the rest of its
// value and key, and the record's own headers unless the collector made them.
// HeaderCut says how large the value was; the record itself is where HeaderTopic says
// for as long as that holds it.
func Cut(d stream.Record) stream.Record {
	headers := []stream.Header{{Key: HeaderCut, Value: strconv.AppendInt(nil, int64(len(d.Value)), 10)}}
	_, read := d.Header(HeaderTopic)
	for _, h := range d.Headers {
		if Own(h.Key) || !read {
			headers = append(headers, h)
		}
	}
	d.Key, d.Value, d.Headers = d.Key[:min(len(d.Key), keptKey)], d.Value[:min(len(d.Value), keptValue)], headers
	return d
}
