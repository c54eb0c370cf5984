package event

import (
	"bytes"
	"encoding/json"
)

// field is a name that the API knows at the top level of a body or event.
type field uint8

const (
	fOther field = iota
	fBatch
	fWriteKey
	fType
	fMessageID
	fTimestamp
	fOriginalTimestamp
	fSentAt
	fReceivedAt
	fContext
	fIntegrations
	fChannel
	fVersion
	fProjectID
	// The API uses the fields above to write a line, and of repeated ones the last counts. The
	// fields below are only looked at.
	fUserID
	fAnonymousID
	fEvent
	fieldCount
)

func fieldOf(name []byte) field {
	switch string(name) {
	case "batch":
		return fBatch
	case "writeKey":
		return fWriteKey
	case "type":
		return fType
	case "messageId":
		return fMessageID
	case "timestamp":
		return fTimestamp
	case "originalTimestamp":
		return fOriginalTimestamp
	case "sentAt":
		return fSentAt
	case "receivedAt":
		return fReceivedAt
	case "context":
		return fContext
	case "integrations":
		return fIntegrations
	case "channel":
		return fChannel
	case "version":
		return fVersion
	case "projectId":
		return fProjectID
	case "userId":
		return fUserID
	case "anonymousId":
		return fAnonymousID
	case "event":
		return fEvent
	}
	return fOther
}

// fieldOfName returns the field of a raw name, including quotes: "writeKey" is a write key however
// its letters are escaped.
func fieldOfName(raw []byte) field {
	name, _ := unquote(raw)
	return fieldOf(name)
}

// member is the place of a member of an object in compact JSON: its name with quotes, a colon, its
// value.
type member struct {
	key, value, end int
	field           field
}

// unquote returns the value of a JSON string, and false for any other value. quoted must be valid
// JSON.
func unquote(quoted []byte) ([]byte, bool) {
	if len(quoted) < 2 || quoted[0] != '"' {
		return nil, false
	}
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, true
	}
	var s string
	if json.Unmarshal(quoted, &s) != nil {
		return nil, false
	}
	return []byte(s), true
}

// eachMember calls fn for every member of a compact, valid object, with the raw name (including
// quotes) and the value, until fn returns false. It does nothing for any other value.
func eachMember(object []byte, fn func(key, value []byte) bool) {
	if len(object) < 2 || object[0] != '{' {
		return
	}
	for i := 1; i < len(object)-1; {
		key := i
		i = skipString(object, i)
		value := i + 1
		i = skipValue(object, value)
		if !fn(object[key:value-1], object[value:i]) {
			return
		}
		i++
	}
}

func skipString(b []byte, i int) int {
	end, _ := stringEnd(b, i+1)
	return end
}

// skipValue returns the end of the value at i in compact, valid JSON.
func skipValue(b []byte, i int) int {
	depth := 0
	for i < len(b) {
		switch b[i] {
		case '"':
			i = skipString(b, i)
			if depth == 0 {
				return i
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 {
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',':
			if depth == 0 {
				return i
			}
		}
		i++
	}
	return i
}

func isNull(raw []byte) bool { return len(raw) == 0 || raw[0] == 'n' }
