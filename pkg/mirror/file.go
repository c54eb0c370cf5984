// Package mirror is the customer's side of a destination: it lists the files that Sealift delivered
// to a bucket, by source and day, downloads them and reads their lines.
//
// It promises that a downloaded file is whole: it gets its name only after its size and its sha256,
// or gzip's own checksum if the object has none, were verified; and that existing files are kept as
// they are. It only reads the bucket (s3:ListBucket, s3:GetObject) and does not trust it: nothing
// but well-formed keys below segment-logs/ becomes a path on disk.
package mirror

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// root is the folder of files below the destination's prefix.
const root = "segment-logs/"

// trialSource is the folder of the test files of `sealift destinations check --write` and `migrate`
// (catalog.ReservedSourceID). It belongs to no source, and is read only if it is named.
const trialSource = "sealift-check"

const dayMillis = int64(24 * time.Hour / time.Millisecond)

// File is a delivered file.
type File struct {
	Key      string `json:"key"` // in the bucket
	Source   string `json:"source"`
	Day      int64  `json:"day"` // UTC midnight in unix milliseconds
	Name     string `json:"name"`
	Received int64  `json:"received"` // time of receipt of its first record, unix milliseconds
	Size     int64  `json:"size"`     // compressed
	ETag     string `json:"etag,omitempty"`
	Modified int64  `json:"modified"` // when it was put, unix milliseconds
}

func (f File) modified() time.Time { return time.UnixMilli(f.Modified) }

// Date formats the UTC day of a time in unix milliseconds for people.
func Date(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

// ParseDay parses a day: 2026-11-22, or unix milliseconds as in keys.
func ParseDay(s string) (int64, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.UnixMilli(), nil
	}
	if ms, ok := parseFolder(s); ok {
		return ms, nil
	}
	return 0, fmt.Errorf("day %q is neither a date like 2026-11-22 nor a UTC midnight in unix milliseconds like 1795305600000", s)
}

// leastDay is the smallest number with 13 digits.
const leastDay = 1_000_000_000_000

// parseFolder parses a day's folder. Days from 2001 to 2286 have 13 digits, so that the order of
// keys is that of days.
func parseFolder(s string) (int64, bool) {
	ms, err := strconv.ParseInt(s, 10, 64)
	return ms, err == nil && len(s) == 13 && ms > 0 && ms%dayMillis == 0
}

var (
	validSource = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validName   = regexp.MustCompile(`^([0-9]{1,19})\.[A-Za-z0-9._-]{1,200}\.gz$`)
)

// parse returns the file that an object below a destination's prefix is; ok is false for objects
// that are not Sealift's.
func parse(prefix string, info objstore.Info) (File, bool) {
	rest, ok := strings.CutPrefix(info.Key, prefix+root)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !validSource.MatchString(parts[0]) {
		return File{}, false
	}
	day, isDay := parseFolder(parts[1])
	m := validName.FindStringSubmatch(parts[2])
	if !isDay || m == nil {
		return File{}, false
	}
	received, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return File{}, false
	}
	f := File{
		Key: info.Key, Source: parts[0], Day: day, Name: parts[2], Received: received,
		Size: info.Size, ETag: info.ETag,
	}
	if !info.LastModified.IsZero() {
		f.Modified = info.LastModified.UnixMilli()
	}
	return f, true
}
