package event

import (
	"strconv"
	"time"
)

// appendTime appends a time as the API writes it: 2006-01-02T15:04:05.000Z. t is in UTC, in years 1
// to 9999. RFC 3339 is the layout for which package time is fast.
func appendTime(dst []byte, t time.Time) []byte {
	dst = t.AppendFormat(dst, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return append(dst[:len(dst)-1], '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
}

// parseTime reads a client's time from a raw JSON value: ISO 8601 as SDKs and people write it (any
// fraction; any zone, or none for UTC; "2015-2-02"; a space instead of the T; only a date), or unix
// seconds or milliseconds.
func parseTime(raw []byte) (time.Time, bool) {
	if len(raw) > 64 {
		return time.Time{}, false
	}
	text, quoted := unquote(raw)
	if !quoted {
		text = raw
	}
	if t, ok := parseISO(text); ok {
		return t, true
	}
	n, err := strconv.ParseFloat(string(text), 64)
	switch {
	case err != nil || !(n > 0) || n >= 1e13 || quoted && n < 1e8: // "20261122" and "20261122181408" are dates
		return time.Time{}, false
	case n >= 1e11: // in seconds, this would be the year 5138
		return time.UnixMilli(int64(n)).UTC(), true
	}
	return time.UnixMilli(int64(n * 1000)).UTC(), true
}

// timeParser parses a time from the front of b.
type timeParser struct {
	b  []byte
	ok bool
}

// number reads between least and most digits.
func (c *timeParser) number(least, most int) int {
	n, i := 0, 0
	for i < len(c.b) && i < most && c.b[i] >= '0' && c.b[i] <= '9' {
		n = n*10 + int(c.b[i]-'0')
		i++
	}
	c.ok = c.ok && i >= least
	c.b = c.b[i:]
	return n
}

// take reads one byte if it is in set and returns it, or returns 0.
func (c *timeParser) take(set string) byte {
	for i := range len(set) {
		if len(c.b) > 0 && c.b[0] == set[i] {
			c.b = c.b[1:]
			return set[i]
		}
	}
	return 0
}

func parseISO(b []byte) (time.Time, bool) {
	c := timeParser{b: b, ok: true}
	year := c.number(4, 4)
	c.ok = c.ok && c.take("-") != 0
	month := c.number(1, 2)
	c.ok = c.ok && c.take("-") != 0
	day := c.number(1, 2)
	var hour, minute, second, nanos, offset int
	if c.take("Tt ") != 0 {
		hour = c.number(1, 2)
		c.ok = c.ok && c.take(":") != 0
		minute = c.number(1, 2)
		if c.take(":") != 0 {
			second = c.number(1, 2)
			if c.take(".,") != 0 {
				nanos = c.fraction()
			}
		}
		offset = c.zone()
	}
	if !c.ok || len(c.b) > 0 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 24 || minute > 59 || second > 60 {
		return time.Time{}, false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second-offset, nanos, time.UTC)
	// Other years would change the length of appendTime's result, and readers would not take it for
	// a time.
	return t, t.Year() >= 1 && t.Year() <= 9999
}

// fraction reads the digits of a fraction of a second; digits beyond nanoseconds are dropped.
func (c *timeParser) fraction() int {
	before := len(c.b)
	nanos := c.number(1, 9)
	for range 9 - (before - len(c.b)) {
		nanos *= 10
	}
	for len(c.b) > 0 && c.b[0] >= '0' && c.b[0] <= '9' {
		c.b = c.b[1:]
	}
	return nanos
}

// zone reads a time zone and returns its offset in seconds east of UTC.
func (c *timeParser) zone() int {
	switch sign := c.take("Zz+-"); sign {
	case '+', '-':
		hours := c.number(2, 2)
		c.take(":")
		seconds := hours*3600 + c.number(0, 2)*60
		if sign == '-' {
			return -seconds
		}
		return seconds
	}
	return 0
}

// correctSkew returns when an event happened by the API's clock: received minus the time that
// passed on the client's clock between the call and its sending.
// (https://segment.com/docs/connections/spec/common/#timestamps)
func correctSkew(received, sent, original time.Time) time.Time {
	t := received.Add(original.Sub(sent))
	// Sub saturates at 292 years; a clock that is so wrong says nothing.
	if y := t.Year(); y < 1 || y > 9999 || original.Sub(sent).Abs() > 100*365*24*time.Hour {
		return received
	}
	return t
}
