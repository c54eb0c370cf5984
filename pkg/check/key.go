package check

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

const dayMs = 24 * 60 * 60 * 1000

// dayOf returns the UTC midnight at or before ms, both in unix milliseconds.
func dayOf(ms int64) int64 { return ms - ms%dayMs }

// parsedKey is what an object's key says.
type parsedKey struct {
	source   string
	day      int64 // unix ms of a UTC midnight
	received int64 // unix ms of the first record
	name     string
}

var (
	validSource = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validName   = regexp.MustCompile(`^([0-9]{13})\.[0-9a-f]{12}\.[0-9a-f]{7}\.[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\.gz$`)
)

// parseKey parses {source}/{day}/{name}: a key without prefix and segment-logs/.
func parseKey(rest string) (parsedKey, error) {
	parts := strings.Split(rest, "/")
	if len(parts) != 3 {
		return parsedKey{}, errors.New("key is not segment-logs/{source}/{day}/{file}")
	}
	p := parsedKey{source: parts[0], name: parts[2]}
	if !validSource.MatchString(p.source) {
		return parsedKey{}, fmt.Errorf("source %q is no source id", p.source)
	}
	var err error
	if p.day, err = strconv.ParseInt(parts[1], 10, 64); err != nil || strconv.FormatInt(p.day, 10) != parts[1] || p.day < 0 || p.day%dayMs != 0 {
		return parsedKey{}, fmt.Errorf("day %q is no UTC midnight in unix milliseconds", parts[1])
	}
	m := validName.FindStringSubmatch(p.name)
	if m == nil {
		return parsedKey{}, fmt.Errorf("file name %q is not {received-ms}.{12 hex}.{7 hex}.{uuid}.gz", p.name)
	}
	if p.received, err = strconv.ParseInt(m[1], 10, 64); err != nil || dayOf(p.received) != p.day {
		return parsedKey{}, fmt.Errorf("file name %q begins with a time outside of its day", p.name)
	}
	return p, nil
}
