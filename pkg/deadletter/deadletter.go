// Package deadletter defines dead letters: records that are in no file because they are no valid
// line, kept in a topic of their own with the reason. It is for those who write them, the collector
// and the appender, and for operators who look at them and send them again.
//
// It guarantees that a letter that was sent again is not sent again another time, because a note in
// the topic itself says so. The exceptions are a process that dies between sending and noting, and
// two that send at once. It is not a store: Kafka deletes letters after the topic's retention.
package deadletter

import (
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// Headers of a dead letter, besides the record's own.
const (
	HeaderReason = "sealift-reason"
	// Where the record was. Absent if the collector refused it, since it was in no topic then.
	HeaderTopic     = "sealift-topic"
	HeaderPartition = "sealift-partition"
	HeaderOffset    = "sealift-offset"
	// HeaderTime is when the record was written to that topic, in unix milliseconds.
	HeaderTime = "sealift-time"
	// HeaderCut is set only on a letter that was cut: the original size of its value.
	HeaderCut = "sealift-cut"
	// HeaderSent marks a record as a note of letters that were sent again. Its value is a JSON
	// object, partition -> offsets.
	HeaderSent = "sealift-sent-again"
)

// IsReservedHeader reports whether the header is reserved for dead letters. If a record brings one
// itself, its producer made it up.
func IsReservedHeader(header string) bool {
	switch header {
	case HeaderReason, HeaderTopic, HeaderPartition, HeaderOffset, HeaderTime, HeaderCut, HeaderSent:
		return true
	}
	return false
}

// NewRefused returns the letter for an event that the collector refused although it answered 200.
// value is its line or, if it is no JSON object, the original value. messageID may be nil.
func NewRefused(source string, received time.Time, value []byte, isLine bool, messageID []byte, reason string) stream.Record {
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

// What is kept of a letter that is too large for its topic.
const (
	maxCutValue = 64 << 10 // bytes
	maxCutKey   = 1 << 10
)

// cutShort returns the letter without what may make it too large for its topic: the rest of its value
// and key, and the record's own headers unless the collector made them. HeaderCut says how large
// the value was. The record itself is where HeaderTopic says, as long as that topic holds it.
func cutShort(d stream.Record) stream.Record {
	headers := []stream.Header{{Key: HeaderCut, Value: strconv.AppendInt(nil, int64(len(d.Value)), 10)}}
	_, inTopic := d.Header(HeaderTopic)
	for _, h := range d.Headers {
		if IsReservedHeader(h.Key) || !inTopic {
			headers = append(headers, h)
		}
	}
	d.Key, d.Value, d.Headers = d.Key[:min(len(d.Key), maxCutKey)], d.Value[:min(len(d.Value), maxCutValue)], headers
	return d
}
