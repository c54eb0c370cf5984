package mirror

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"

	"github.com/sealift/sealift/pkg/objstore"
)

// parallelSources is how many sources are listed concurrently.
const parallelSources = 8

// List returns the files of a place that the filter selects, in the order of their keys: by source,
// day and time. It ends with the first error. Test files below segment-logs/sealift-check are
// listed only if the place names that folder.
//
// It takes one request per 1,000 files in the selected days and, for selected days of all sources,
// one more per 1,000 sources. Other days are not listed, except before the first selected day if
// the filter has no Since. A single file is not listed, so that s3:GetObject is enough to read it.
func List(ctx context.Context, r objstore.Reader, p Place, f Filter) iter.Seq2[File, error] {
	if p.Day != 0 {
		day := DayFilter(p.Day)
		if f.Since.Before(day.Since) {
			f.Since = day.Since
		}
		if f.Until.IsZero() || f.Until.After(day.Until) {
			f.Until = day.Until
		}
	}
	switch {
	case p.Name != "":
		return listNamed(ctx, r, p)
	case p.Source != "":
		return listSource(ctx, r, p, f, p.Source)
	case f == Filter{}:
		return listPrefix(ctx, r, p, p.root(), "", 0)
	}
	return readAhead(ctx, parallelSources, 1000, sourcesWithFiles(ctx, r, p), func(ctx context.Context, source string) iter.Seq2[File, error] {
		return listSource(ctx, r, p, f, source)
	})
}

// listNamed yields the file that p names.
func listNamed(ctx context.Context, r objstore.Reader, p Place) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		key := fmt.Sprintf("%s%s/%d/%s", p.root(), p.Source, p.Day, p.Name)
		info, err := r.Head(ctx, key)
		if err != nil {
			yield(File{}, err)
			return
		}
		if f, ok := parse(p.Prefix, info); ok {
			yield(f, nil)
		}
	}
}

func listSource(ctx context.Context, r objstore.Reader, p Place, f Filter, source string) iter.Seq2[File, error] {
	prefix, after := p.root()+source+"/", ""
	first, end := f.days()
	switch {
	case end != 0 && end <= first:
		return func(func(File, error) bool) {}
	case first != 0 && end == first+dayMillis:
		prefix += strconv.FormatInt(first, 10) + "/"
	case first >= leastDay: // from there on, days as numbers and as keys have the same order
		after = prefix + strconv.FormatInt(first, 10)
	}
	return func(yield func(File, error) bool) {
		for file, err := range listPrefix(ctx, r, p, prefix, after, end) {
			if (err != nil || f.matches(file)) && !yield(file, err) {
				return
			}
		}
	}
}

// listPrefix yields the files below a prefix, after a key, and of days before end if that is not 0;
// then the prefix must be within one source.
func listPrefix(ctx context.Context, r objstore.Reader, p Place, prefix, after string, end int64) iter.Seq2[File, error] {
	return func(yield func(File, error) bool) {
		for info, err := range objstore.AllAfter(ctx, r, prefix, after) {
			if err != nil {
				yield(File{}, err)
				return
			}
			f, ok := parse(p.Prefix, info)
			ok = ok && (f.Source != trialSource || p.Source == trialSource)
			if ok && (end != 0 && f.Day >= end || !yield(f, nil)) {
				return
			}
		}
	}
}

// sourcesWithFiles yields the ids of sources that have files.
func sourcesWithFiles(ctx context.Context, r objstore.Reader, p Place) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if p.Source != "" {
			yield(p.Source, nil)
			return
		}
		names, err := r.Folders(ctx, p.root())
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if validSource.MatchString(name) && name != trialSource && !yield(name, nil) {
				return
			}
		}
	}
}

// Days returns the days of a place that have a folder, each once, oldest first. It takes one
// request per source and 1,000 days, and one per 1,000 sources.
func Days(ctx context.Context, r objstore.Reader, p Place) ([]int64, error) {
	if p.Day != 0 {
		return []int64{p.Day}, nil
	}
	var days []int64
	for day, err := range readAhead(ctx, parallelSources, 1000, sourcesWithFiles(ctx, r, p), func(ctx context.Context, source string) iter.Seq2[int64, error] {
		return daysOf(ctx, r, p.root()+source+"/")
	}) {
		if err != nil {
			return nil, err
		}
		days = append(days, day)
	}
	slices.Sort(days)
	return slices.Compact(days), nil
}

func daysOf(ctx context.Context, r objstore.Reader, prefix string) iter.Seq2[int64, error] {
	return func(yield func(int64, error) bool) {
		names, err := r.Folders(ctx, prefix)
		if err != nil {
			yield(0, err)
			return
		}
		for _, name := range names {
			if day, ok := parseFolder(name); ok && !yield(day, nil) {
				return
			}
		}
	}
}
