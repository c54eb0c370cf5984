package mirror

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Place is where to look for files: s3://bucket, and any leading part of
// /prefix/segment-logs/source/day/file.
type Place struct {
	Bucket string
	Prefix string // the destination's, with its trailing slash, or ""
	Source string // "": all
	Day    int64  // UTC midnight in unix milliseconds, or 0 for all
	Name   string // of one file of that day; "": all

	// levels is how many of segment-logs, source and day were given: what follows them is a file's
	// path on disk.
	levels int
}

// ParsePlace parses a place as people paste it from the AWS CLI. The day may also be a date.
func ParsePlace(uri string) (Place, error) {
	rest, ok := strings.CutPrefix(uri, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" {
		return Place{}, fmt.Errorf("%q names no bucket; write s3://bucket/segment-logs/source/day/, or less of it", uri)
	}
	p := Place{Bucket: bucket}
	var parts []string
	if key = strings.Trim(key, "/"); key != "" {
		parts = strings.Split(key, "/")
	}
	// Use the last segment-logs: a destination's prefix may contain another one, such as
	// segment-logs/sealift-check, where roles are tested.
	below := len(parts)
	for i, name := range slices.Backward(parts) {
		if name+"/" == root {
			below, p.levels = i, 1
			break
		}
	}
	if below > 0 {
		p.Prefix = strings.Join(parts[:below], "/") + "/"
	}
	return p, p.descend(uri, parts[min(below+1, len(parts)):])
}

// descend parses what follows segment-logs.
func (p *Place) descend(uri string, names []string) error {
	for i, name := range names {
		var fine bool
		switch i {
		case 0:
			p.Source, fine = name, validSource.MatchString(name)
		case 1:
			var err error
			p.Day, err = ParseDay(name)
			fine = err == nil
		case 2:
			p.Name, fine = name, validName.MatchString(name)
		}
		if !fine {
			what := []string{"a source id", "a day: UTC midnight in unix milliseconds, like 1795305600000", "a file", "expected"}[min(i, 3)]
			return fmt.Errorf("%s: %q is not %s; below segment-logs/ come source, day and file, without wildcards", uri, name, what)
		}
		p.levels = min(i+2, 3)
	}
	return nil
}

// String returns the place as the AWS CLI writes it.
func (p Place) String() string {
	s := "s3://" + p.Bucket + "/" + p.root()
	if p.Source != "" {
		s += p.Source + "/"
		if p.Day != 0 {
			s += strconv.FormatInt(p.Day, 10) + "/" + p.Name
		}
	}
	return s
}

func (p Place) root() string { return p.Prefix + root }

// path is where `aws s3 sync` of the place puts the file, relative to its target.
func (p Place) path(f File) string {
	return filepath.Join([]string{strings.TrimSuffix(root, "/"), f.Source, strconv.FormatInt(f.Day, 10), f.Name}[p.levels:]...)
}

// Filter selects files by their UTC hour of receipt, [Since, Until). A zero time means no bound.
type Filter struct {
	Since, Until time.Time
}

// DayFilter selects a UTC day.
func DayFilter(ms int64) Filter {
	return Filter{Since: time.UnixMilli(ms), Until: time.UnixMilli(ms + dayMillis)}
}

// matches tells whether any of the file's hour is selected. Sealift's files contain the records of
// one hour and are named for the first record. For files whose names contain a time outside their
// folder's day, such as Segment's own, only the day counts.
func (f Filter) matches(file File) bool {
	begin, end := file.Day, file.Day+dayMillis
	if file.Received >= begin && file.Received < end {
		begin = file.Received - file.Received%time.Hour.Milliseconds()
		end = begin + time.Hour.Milliseconds()
	}
	return (f.Since.IsZero() || end > f.Since.UnixMilli()) && (f.Until.IsZero() || begin < f.Until.UnixMilli())
}

// days are the folders that files may be in: from first to before end; 0 means no bound.
func (f Filter) days() (first, end int64) {
	if !f.Since.IsZero() {
		first = f.Since.UnixMilli() / dayMillis * dayMillis
	}
	if !f.Until.IsZero() {
		end = (f.Until.UnixMilli() + dayMillis - 1) / dayMillis * dayMillis
	}
	return first, end
}
