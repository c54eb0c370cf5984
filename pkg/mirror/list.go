// Package mirror is a customer's side of a destination: it lists the files
// that Sealift delivered to a bucket, by source and day, downloads them and
// reads their lines.
//
// It promises that a downloaded file is whole: it gets its name only after
// its size and, where the object tells it, its sha256 were verified. It only
// reads the bucket (s3:ListBucket, s3:GetObject), and it is wary of it:
// nothing but well-formed keys below segment-logs/ becomes a path on disk.
package mirror

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/objstore"
)

// root is below which files lie, under the destination's prefix.
const root = "segment-logs/"

// Filter picks files. The zero value picks all.
type Filter struct {
	Source string // a source id, or "" for all
	Day    int64  // UTC midnight in unix milliseconds, or 0 for all
}

// File is a delivered file.
type File struct {
	Key      string `json:"key"` // below the destination's prefix
	Source   string `json:"source"`
	Day      int64  `json:"day"` // UTC midnight in unix milliseconds
	Name     string `json:"name"`
	Received int64  `json:"received"` // of its first record, unix milliseconds
	Size     int64  `json:"size"`     // compressed
	ETag     string `json:"etag,omitempty"`
}

// Date is the UTC day of the file, as people write it.
func (f File) Date() string { return Date(f.Day) }

// Date is the UTC day of a time in unix milliseconds, as people write it.
func Date(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.DateOnly) }

// ParseDay reads a day: 2026-11-22, or unix milliseconds as in the keys.
func ParseDay(s string) (int64, error) {
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return t.UnixMilli(), nil
	}
	const day = int64(24 * time.Hour / time.Millisecond)
	if ms, err := strconv.ParseInt(s, 10, 64); err == nil && ms > 0 && ms%day == 0 {
		return ms, nil
	}
	return 0, fmt.Errorf("day %q is neither a date like 2026-11-22 nor a UTC midnight in unix milliseconds like 1795305600000", s)
}

var (
	validSource = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	validName   = regexp.MustCompile(`^([0-9]{1,19})\.[A-Za-z0-9._-]{1,200}\.gz$`)
)

// parse returns the file of an object; ok is false for objects that are not
// Sealift's.
func parse(info objstore.Info) (File, bool) {
	rest, ok := strings.CutPrefix(info.Key, root)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 3 || !validSource.MatchString(parts[0]) {
		return File{}, false
	}
	day, err := strconv.ParseInt(parts[1], 10, 64)
	m := validName.FindStringSubmatch(parts[2])
	if err != nil || m == nil || strconv.FormatInt(day, 10) != parts[1] {
		return File{}, false
	}
	received, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return File{}, false
	}
	return File{Key: info.Key, Source: parts[0], Day: day, Name: parts[2], Received: received, Size: info.Size, ETag: info.ETag}, true
}

// List returns the files of a bucket that the filter picks, in the order of
// their keys: by source, day and time. store is the bucket below the
// destination's prefix. It ends with the first error.
//
// A day of all sources is listed source by source, without passing over the
// other days.
func List(ctx context.Context, store objstore.Store, f Filter) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		switch {
		case f.Source != "" && f.Day != 0:
			list(ctx, store, fmt.Sprintf("%s%s/%d/", root, f.Source, f.Day), yield)
		case f.Source != "":
			list(ctx, store, root+f.Source+"/", yield)
		case f.Day == 0:
			list(ctx, store, root, yield)
		default:
			for source, err := range sources(ctx, store) {
				if err != nil {
					yield(File{}, err)
					return
				}
				if !list(ctx, store, fmt.Sprintf("%s%s/%d/", root, source, f.Day), yield) {
					return
				}
			}
		}
	}
}

// list yields the files below prefix; it returns false when yield wants no
// more or an error was yielded.
func list(ctx context.Context, store objstore.Store, prefix string, yield func(File, error) bool) bool {
	for info, err := range objstore.All(ctx, store, prefix) {
		if err != nil {
			yield(File{}, fmt.Errorf("list %q: %w", prefix, err))
			return false
		}
		if f, ok := parse(info); ok && !yield(f, nil) {
			return false
		}
	}
	return true
}

// sources yields the source ids that have files, with one request each.
func sources(ctx context.Context, store objstore.Store) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		after := ""
		for {
			infos, err := store.List(ctx, root, after, 1)
			if err != nil {
				yield("", fmt.Errorf("list %q: %w", root, err))
				return
			}
			if len(infos) == 0 {
				return
			}
			name, _, isDir := strings.Cut(strings.TrimPrefix(infos[0].Key, root), "/")
			if !isDir {
				after = infos[0].Key
				continue
			}
			if validSource.MatchString(name) && !yield(name, nil) {
				return
			}
			after = root + name + "0" // '0' follows '/': past every key below it
		}
	}
}
