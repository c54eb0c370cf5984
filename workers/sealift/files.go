package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/mirror"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
)

// filesOptions are the flags that `sealift files` commands share.
type filesOptions struct {
	bucket, prefix, source, day, endpoint, region string
}

func newFilesCommand(a *app) *cobra.Command {
	o := &filesOptions{}
	cmd := &cobra.Command{
		Use:     "files",
		GroupID: groupData,
		Short:   "List, download and read the files in a bucket",
		Long: `List, download and read the files that Sealift delivered to a bucket. This is the
bucket owner's side: it needs s3:ListBucket and s3:GetObject, and takes
credentials as AWS's own tools do (environment, profile, role).`,
		Example: `  sealift files ls --bucket acme-logs
  sealift files sync --bucket acme-logs --day 2026-11-22 ./logs
  sealift files cat --bucket acme-logs --source web --day 2026-11-22 | jq .event`,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&o.bucket, "bucket", "", "bucket, with the prefix if you like: acme-logs/path")
	f.StringVar(&o.prefix, "prefix", "", "the destination's key prefix")
	f.StringVar(&o.source, "source", "", "only this source id")
	f.StringVar(&o.day, "day", "", "only this UTC day: 2026-11-22, or unix milliseconds as in the keys")
	f.StringVar(&o.endpoint, "endpoint", "", "URL of an S3-compatible server (default: AWS)")
	f.StringVar(&o.region, "region", "", "the bucket's region (default: as the AWS SDK finds it)")
	cmd.AddCommand(newFilesListCommand(a, o), newFilesSyncCommand(a, o), newFilesCatCommand(a, o))
	return cmd
}

// open returns the bucket below its prefix and the files that the flags pick.
func (o *filesOptions) open() (objstore.Store, mirror.Filter, error) {
	var f mirror.Filter
	name, inner, _ := strings.Cut(strings.TrimPrefix(o.bucket, "s3://"), "/")
	if name == "" {
		return nil, f, usage("which bucket? Name it with --bucket")
	}
	f.Source = o.source
	if o.day != "" {
		var err error
		if f.Day, err = mirror.ParseDay(o.day); err != nil {
			return nil, f, usage("--day: " + err.Error())
		}
	}
	if o.endpoint != "" {
		if u, err := url.Parse(o.endpoint); err != nil || u.Host == "" {
			return nil, f, usage(fmt.Sprintf("--endpoint %q: want a URL such as https://s3.example.com", o.endpoint))
		}
	}
	store := objstore.NewS3(objstore.S3Config{Bucket: name, Region: o.region, Endpoint: o.endpoint, PathStyle: o.endpoint != "" && pathStyle(o.endpoint)})
	return objstore.WithPrefix(store, strings.Trim(strings.Trim(inner, "/")+"/"+strings.Trim(o.prefix, "/"), "/")), f, nil
}

func newFilesListCommand(a *app, o *filesOptions) *cobra.Command {
	var asJSON, each bool
	cmd := &cobra.Command{
		Use:         "ls",
		Short:       "List sources and days, or the files of a day",
		Example:     "  sealift files ls --bucket acme-logs --source web",
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, f, err := o.open()
			if err != nil {
				return err
			}
			files := a.told(mirror.List(cmd.Context(), store, f))
			if each || f.Source != "" && f.Day != 0 {
				return listFiles(a.stdout, files, asJSON)
			}
			return listDays(a.stdout, files, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a line")
	cmd.Flags().BoolVar(&each, "files", false, "list every file, not days")
	return cmd
}

// told passes files on, and tells a person when there are none: it is no
// error, but an empty screen says too little.
func (a *app) told(files iter.Seq2[mirror.File, error]) iter.Seq2[mirror.File, error] {
	return func(yield func(mirror.File, error) bool) {
		found := false
		for f, err := range files {
			found = true
			if !yield(f, err) {
				return
			}
		}
		if !found {
			fmt.Fprintln(a.stderr, "sealift: no files; they lie below segment-logs/ of the bucket and its prefix: check --bucket, --prefix, --source and --day")
		}
	}
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
		fmt.Fprintf(w, "%s\t%s\t%s\n", time.UnixMilli(f.Received).UTC().Format(time.RFC3339), progress.Bytes(f.Size), f.Key)
	}
	return w.Flush()
}

// day is a source's day in a listing.
type day struct {
	Source string `json:"source"`
	Day    int64  `json:"day"`
	Date   string `json:"date"`
	Files  int64  `json:"files"`
	Bytes  int64  `json:"bytes"`
}

// listDays prints a line for each source and day; the files come in that order.
func listDays(out io.Writer, files iter.Seq2[mirror.File, error], asJSON bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	var d, total day
	print := func() error {
		switch {
		case d.Files == 0:
			return nil
		case asJSON:
			return json.NewEncoder(out).Encode(d)
		case total.Files == 0:
			fmt.Fprintln(w, "SOURCE\tDATE\tDAY\tFILES\tSIZE")
		}
		total.Files, total.Bytes = total.Files+d.Files, total.Bytes+d.Bytes
		_, err := fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", d.Source, d.Date, d.Day, progress.Count(d.Files), progress.Bytes(d.Bytes))
		return err
	}
	for f, err := range files {
		if err != nil {
			return errors.Join(print(), w.Flush(), err)
		}
		if f.Source != d.Source || f.Day != d.Day {
			if err := print(); err != nil {
				return err
			}
			d = day{Source: f.Source, Day: f.Day, Date: f.Date()}
		}
		d.Files, d.Bytes = d.Files+1, d.Bytes+f.Size
	}
	return errors.Join(print(), w.Flush())
}

func newFilesSyncCommand(a *app, o *filesOptions) *cobra.Command {
	var (
		s      mirror.SyncOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "sync [DIR]",
		Short: "Download files into DIR/{source}/{day}/, in parallel; run it again to continue",
		Long:  "Download files into DIR/{source}/{day}/, in parallel; DIR is the current directory if left out. Run it again to\ncontinue: what is there already is not read again.",
		Example: `  sealift files sync --bucket acme-logs --source web ./logs
  sealift files sync --bucket acme-logs --day 2026-11-22 --decompress ./logs`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, args []string) error {
			store, f, err := o.open()
			if err != nil {
				return err
			}
			if s.Dir = "."; len(args) > 0 {
				s.Dir = args[0]
			}
			bar := progress.Start(a.stderr, "download", 0, progress.Bytes)
			s.Found, s.Read = func(f mirror.File) { bar.Grow(f.Size) }, bar.Add
			r, err := mirror.Sync(cmd.Context(), store, mirror.List(cmd.Context(), store, f), s)
			bar.Finish()
			if err != nil {
				return err
			}
			for _, failed := range r.Failed {
				fmt.Fprintln(a.stderr, "sealift:", failed)
			}
			if err := printSync(a.stdout, r, asJSON); err != nil {
				return err
			}
			if len(r.Failed) > 0 {
				return partial(progress.Things(int64(len(r.Failed)), "file") + " failed; run it again to continue")
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&s.Decompress, "decompress", false, "store .ndjson instead of .gz")
	cmd.Flags().IntVar(&s.Parallel, "parallel", 8, "downloads at once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func printSync(out io.Writer, r mirror.SyncResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(struct {
			mirror.SyncResult
			Failed int `json:"failed"`
		}{r, len(r.Failed)})
	}
	_, err := fmt.Fprintf(out, "%s downloaded (%s), %s there already\n", progress.Things(r.Downloaded, "file"), progress.Bytes(r.Bytes), progress.Count(r.Skipped))
	return err
}

func newFilesCatCommand(a *app, o *filesOptions) *cobra.Command {
	var raw bool
	cmd := &cobra.Command{
		Use:         "cat",
		Short:       "Write the events of the files, one JSON object a line",
		Example:     "  sealift files cat --bucket acme-logs --source web --day 2026-11-22 | jq .event",
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, _ []string) error {
			store, f, err := o.open()
			if err != nil {
				return err
			}
			return mirror.Cat(cmd.Context(), store, a.told(mirror.List(cmd.Context(), store, f)), a.stdout, raw, nil)
		},
	}
	cmd.Flags().BoolVar(&raw, "raw", false, "write the gzip bytes as they are stored")
	return cmd
}
