package mirror

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Place is where files are looked for: s3://bucket, and as much as is given of
// /prefix/segment-logs/source/day/file.
type Place struct {
	Bucket string
	Prefix string // the destination's, with its trailing slash, or ""
	Source string // "": all
	Day    int64  // UTC midnight in unix milliseconds, or 0 for all
	Name   string // of one file of that day, or "" for all

	// levels is how many of segment-logs, source and day were named: what
	// follows them is a file's path on disk.
	levels int
}

// ParsePlace reads a place as people paste it from the AWS CLI. The day may be
// a date as well.
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
	// The last one: a destination's prefix may hold another, as segment-logs/sealift-check
	// does, where a role is tried.
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

// descend reads what follows segment-logs.
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

// String is the place as the AWS CLI knows it.
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

// path is where `aws s3 sync` of the place puts the file below its target.
func (p Place) path(f File) string {
	return filepath.Join([]string{strings.TrimSuffix(root, "/"), f.Source, strconv.FormatInt(f.Day, 10), f.Name}[p.levels:]...)
}

// Filter picks files by their UTC hour of receipt, [Since, Until). Zero times
// are open ends.
type Filter struct {
	Since, Until time.Time
}

// OfDay picks a UTC day.
func OfDay(ms int64) Filter {
	return Filter{Since: time.UnixMilli(ms), Until: time.UnixMilli(ms + dayMillis)}
}

// picks tells whether some of the file's hour is wanted. Sealift's files hold
// the records of one hour, and are named for the first; of files whose names
// tell another day than they lie in, as Segment's own do, only the day counts.
func (f Filter) picks(file File) bool {
	begin, end := file.Day, file.Day+dayMillis
	if file.Received >= begin && file.Received < end {
		begin = file.Received - file.Received%time.Hour.Milliseconds()
		end = begin + time.Hour.Milliseconds()
	}
	return (f.Since.IsZero() || end > f.Since.UnixMilli()) && (f.Until.IsZero() || begin < f.Until.UnixMilli())
}

// days are the folders that files may lie in: from first to before end, 0 for
// open ends.
func (f Filter) days() (first, end int64) {
	if !f.Since.IsZero() {
		first = f.Since.UnixMilli() / dayMillis * dayMillis
	}
	if !f.Until.IsZero() {
		end = (f.Until.UnixMilli() + dayMillis - 1) / dayMillis * dayMillis
	}
	return first, end
}
