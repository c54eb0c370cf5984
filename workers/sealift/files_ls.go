package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/mirror"
	"github.com/sealift/sealift/pkg/progress"
)

// filesListOptions are the flags of `sealift files ls`.
type filesListOptions struct {
	json, files bool
	last        int
}

func newFilesListCommand(a *app, o *filesOptions) *cobra.Command {
	var l filesListOptions
	cmd := &cobra.Command{
		Use:   "ls [s3://BUCKET/…]",
		Short: "List recent days of each source, or the files of a day",
		Long: `List the last ten days that have files, newest last, with one line per source: date, the day's folder, source,
files, bytes. A day of one source is listed file by file.

One request lists 1,000 files or folders. A listing of one source takes one request per 1,000 days plus one
per 1,000 files of the days shown; without a source, that for each source, plus one per 1,000 sources. --since
and --day skip the search for days. On a terminal the number of requests is printed.`,
		Example: `  sealift files ls s3://acme-logs/segment-logs/web/
  sealift files ls s3://acme-logs/segment-logs/web/1795305600000/
  sealift files ls --bucket acme-logs --since 2026-11-01 --json`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, args []string) error {
			if l.last < 0 {
				return usageError("--last: want 0, for all, or more")
			}
			r, err := o.openAlone(cmd.Context(), args)
			if err != nil {
				return err
			}
			if !cmd.Flags().Changed("last") && (o.since != "" || o.until != "" || o.day != "") {
				l.last = 0
			}
			return a.withPipe(func() error { return r.withFix(l.list(cmd.Context(), a, r)) })
		},
	}
	cmd.Flags().BoolVar(&l.json, "json", false, "print one JSON object per line")
	cmd.Flags().BoolVar(&l.files, "files", false, "list files instead of days")
	cmd.Flags().IntVar(&l.last, "last", 10, "list only the last N days that have files, unless --since, --until or --day is given; 0: all")
	return cmd
}

func (l filesListOptions) list(ctx context.Context, a *app, r *selectedFiles) error {
	days := 0
	if l.last > 0 {
		var err error
		if days, err = r.narrowToLastDays(ctx, l.last); err != nil {
			return err
		}
	}
	oneDay := r.place.Day != 0 || !r.filter.Since.IsZero() && r.filter == mirror.DayFilter(r.filter.Since.UnixMilli())
	out := bufio.NewWriter(a.stdout)
	var err error
	if l.files || r.place.Source != "" && oneDay {
		err = listFiles(out, r.list(ctx, a), l.json)
	} else {
		bar := progress.Start(a.stderr, "list", 0, progress.Count)
		var rows []dayRow
		rows, err = countByDay(r.list(ctx, a), bar)
		bar.Finish()
		err = errors.Join(err, printDays(out, rows, l.json))
	}
	if err = errors.Join(err, out.Flush()); err != nil {
		return err
	}
	requests := progress.Plural(r.listRequests.n.Load(), "LIST request")
	switch {
	case days > l.last && l.last > 0:
		fmt.Fprintf(a.stderr, "sealift: the last %d of %s, in %s; --last 0 shows all\n", l.last, progress.Plural(int64(days), "day"), requests)
	case progress.IsTerminal(a.stderr):
		fmt.Fprintf(a.stderr, "sealift: %s\n", requests)
	}
	return nil
}

// narrowToLastDays narrows the filter to the last n days that have a folder. It returns how many
// such days there are.
func (r *selectedFiles) narrowToLastDays(ctx context.Context, n int) (int, error) {
	if r.place.Day != 0 {
		return 1, nil
	}
	days, err := mirror.Days(ctx, r.reader, r.place)
	if err != nil {
		return 0, err
	}
	days = slices.DeleteFunc(days, func(day int64) bool {
		f, at := r.filter, time.UnixMilli(day)
		return !f.Since.IsZero() && !at.AddDate(0, 0, 1).After(f.Since) || !f.Until.IsZero() && !at.Before(f.Until)
	})
	if len(days) > n {
		if first := time.UnixMilli(days[len(days)-n]); first.After(r.filter.Since) {
			r.filter.Since = first
		}
	}
	return len(days), nil
}

func listFiles(out io.Writer, files iter.Seq2[mirror.File, error], asJSON bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for f, err := range files {
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
		if asJSON {
			if err := json.NewEncoder(out).Encode(f); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\t%s\t%s\n", formatMillis(f.Received), progress.Bytes(f.Size), f.Key); err != nil {
			return err
		}
	}
	return w.Flush()
}

// dayRow is one source's day in a listing.
type dayRow struct {
	Source string `json:"source"`
	Day    int64  `json:"day"`
	Date   string `json:"date"`
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
}

// countByDay counts files by source and day; they have to come in that order. It returns the newest
// days last. After an error, it returns what was counted until then as well.
func countByDay(files iter.Seq2[mirror.File, error], bar *progress.Bar) ([]dayRow, error) {
	var rows []dayRow
	var failed error
	for f, err := range files {
		if failed = err; err != nil {
			break
		}
		if n := len(rows); n == 0 || rows[n-1].Source != f.Source || rows[n-1].Day != f.Day {
			rows = append(rows, dayRow{Source: f.Source, Day: f.Day, Date: mirror.Date(f.Day)})
		}
		row := &rows[len(rows)-1]
		row.Files, row.Bytes = row.Files+1, row.Bytes+f.Size
		bar.Add(1)
	}
	slices.SortStableFunc(rows, func(a, b dayRow) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Source, b.Source))
	})
	return rows, failed
}

func printDays(out io.Writer, rows []dayRow, asJSON bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, d := range rows {
		if asJSON {
			if err := json.NewEncoder(out).Encode(d); err != nil {
				return err
			}
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", d.Date, d.Day, d.Source, progress.Plural(d.Files, "file"), progress.Bytes(d.Bytes)); err != nil {
			return err
		}
	}
	return w.Flush()
}
