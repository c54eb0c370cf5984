package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/mirror"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/transport"
)

// filesOptions are the flags that `sealift files` commands share.
type filesOptions struct {
	bucket, prefix, source, day, since, until string
	endpoint, region, profile                 string
}

func newFilesCommand(a *app) *cobra.Command {
	o := &filesOptions{}
	cmd := &cobra.Command{
		Use:     "files",
		GroupID: groupData,
		Short:   "List, download and read the files in a bucket",
		Long: `List, download and read the files that Sealift delivered to a bucket. This is the bucket owner's side: it
needs s3:ListBucket and s3:GetObject, takes credentials as AWS's own tools do (environment, profile, role),
and finds the bucket's region.

The place is written as for the AWS CLI, s3://BUCKET/[PREFIX/]segment-logs/SOURCE/DAY/FILE or a leading part
of it, or given with --bucket. DAY is UTC midnight in unix milliseconds, as in the keys, or a date.
segment-logs/sealift-check/ holds Sealift's own tests; it is skipped unless named.`,
		Example: `  sealift files ls s3://acme-logs
  sealift files sync s3://acme-logs/segment-logs/web/ ./web
  sealift files cat s3://acme-logs --source web --day 2026-11-22 | jq .event`,
		Annotations: withoutConfig,
	}
	f := cmd.PersistentFlags()
	f.StringVar(&o.bucket, "bucket", "", "bucket, with an optional prefix: acme-logs/path")
	f.StringVar(&o.prefix, "prefix", "", "the destination's key prefix")
	f.StringVar(&o.source, "source", "", "only this source id")
	f.StringVar(&o.day, "day", "", "only this UTC day: 2026-11-22, or unix milliseconds as in the keys")
	f.StringVar(&o.since, "since", "", "only hours of receipt since: 48h (ago), 2026-11-22 or 2026-11-22T14")
	f.StringVar(&o.until, "until", "", "only hours that begin before")
	f.StringVar(&o.endpoint, "endpoint", "", "URL of an S3-compatible server (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL; default: AWS)")
	f.StringVar(&o.region, "region", "", "region of the bucket (default: found automatically)")
	f.StringVar(&o.profile, "profile", "", "profile of the AWS configuration (AWS_PROFILE)")
	cmd.AddCommand(newFilesListCommand(a, o), newFilesSyncCommand(a, o), newFilesCatCommand(a, o))
	return cmd
}

// selectedFiles is an open bucket, and which of its files are wanted.
type selectedFiles struct {
	reader       objstore.Reader
	place        mirror.Place
	filter       mirror.Filter
	listRequests *listCounter
}

// open evaluates flags and arguments, and opens the bucket. If the first argument is the place, the
// others are returned.
func (o *filesOptions) open(ctx context.Context, args []string) (*selectedFiles, []string, error) {
	bundle, err := certs.Bundle()
	if err != nil {
		return nil, nil, err
	}
	web := certs.ExplainingTransport(objstore.NewHTTPClient(bundle).Transport, certs.Keys{CA: certs.BundleEnv, Address: "--endpoint", Enable: "https in --endpoint"})
	r := &selectedFiles{listRequests: &listCounter{next: transport.GiveUpSilent(web)}}
	if r.place, args, err = o.parsePlace(args); err != nil {
		return nil, nil, err
	}
	if r.filter, err = o.timeFilter(time.Now()); err != nil {
		return nil, nil, err
	}
	endpoint := cmp.Or(o.endpoint, os.Getenv("AWS_ENDPOINT_URL_S3"), os.Getenv("AWS_ENDPOINT_URL"))
	if u, err := url.Parse(endpoint); endpoint != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
		return nil, nil, usageError(fmt.Sprintf("--endpoint %q: want a URL such as https://s3.example.com", endpoint))
	}
	cfg := objstore.S3Config{
		Bucket: r.place.Bucket, Region: cmp.Or(o.region, objstore.ProfileRegion(ctx, o.profile)),
		Endpoint: endpoint, PathStyle: endpoint != "" && pathStyle(endpoint),
		Credentials: objstore.ProfileCredentials(o.profile), HTTPClient: &http.Client{Transport: r.listRequests},
	}
	if _, err := cfg.Credentials(ctx); err != nil { // asked now, because later a failure would look like an outage
		return nil, nil, err
	}
	r.reader = objstore.OpenReader(cfg)
	return r, args, nil
}

// openAlone is open for a command that takes no argument besides the place.
func (o *filesOptions) openAlone(ctx context.Context, args []string) (*selectedFiles, error) {
	r, rest, err := o.open(ctx, args)
	if err == nil && len(rest) > 0 {
		err = usageError(fmt.Sprintf("%q is not an S3 location; write s3://BUCKET/…", rest[0]))
	}
	return r, err
}

// parsePlace returns the place that the arguments or flags name, and the other arguments.
func (o *filesOptions) parsePlace(args []string) (mirror.Place, []string, error) {
	uri := "s3://" + strings.TrimPrefix(o.bucket, "s3://")
	switch {
	case len(args) > 0 && strings.HasPrefix(args[0], "s3://"):
		if o.bucket != "" || o.prefix != "" {
			return mirror.Place{}, nil, usageError("name the place once: as s3://… or with --bucket and --prefix")
		}
		uri, args = args[0], args[1:]
	case o.bucket == "":
		return mirror.Place{}, nil, usageError("which bucket? Write s3://BUCKET as the first argument, or name it with --bucket")
	case o.prefix != "":
		uri = strings.TrimRight(uri, "/") + "/" + strings.Trim(o.prefix, "/")
	}
	p, err := mirror.ParsePlace(uri)
	if err != nil {
		return p, nil, usageError(err.Error())
	}
	if o.source != "" {
		if !route.ValidSource(o.source) {
			return p, nil, usageError(fmt.Sprintf("--source %q: want the id of one source, of A-Z a-z 0-9 _ -", o.source))
		}
		if p.Source != "" && p.Source != o.source {
			return p, nil, usageError(fmt.Sprintf("%s is of source %q, and not --source %s", uri, p.Source, o.source))
		}
		p.Source = o.source
	}
	return p, args, nil
}

// timeFilter returns the filter for the time that the flags name.
func (o *filesOptions) timeFilter(now time.Time) (f mirror.Filter, err error) {
	if o.day != "" {
		if o.since != "" || o.until != "" {
			return f, usageError("--day is a day of its own: leave out --since and --until")
		}
		day, err := mirror.ParseDay(o.day)
		if err != nil {
			return f, usageError("--day: " + err.Error())
		}
		return mirror.DayFilter(day), nil
	}
	if f.Since, err = parseHour(o.since, now); err != nil {
		return f, usageError("--since: " + err.Error())
	}
	if f.Until, err = parseHour(o.until, now); err != nil {
		return f, usageError("--until: " + err.Error())
	}
	return f, checkWindow(f.Since, f.Until)
}

// list lists the wanted files. If there are none, it says so on stderr: that is not an error, but
// no output at all would say too little.
func (r *selectedFiles) list(ctx context.Context, a *app) iter.Seq2[mirror.File, error] {
	return func(yield func(mirror.File, error) bool) {
		found := false
		for f, err := range mirror.List(ctx, r.reader, r.place, r.filter) {
			found = true
			if !yield(f, err) {
				return
			}
		}
		if !found {
			during, check := "", "bucket, prefix and source"
			if r.filter != (mirror.Filter{}) {
				during, check = " for these days", "bucket, prefix, source and days"
			}
			fmt.Fprintf(a.stderr, "sealift: no files in %s%s; check %s%s\n", r.place, during, check, r.placeHint())
		}
	}
}

// placeHint says how to find out whether a source or a prefix was misspelt. A source's id is easily
// written where a prefix belongs.
func (r *selectedFiles) placeHint() string {
	switch {
	case r.place.Source != "":
		return "; `sealift files ls` without the source lists all sources"
	case r.place.Prefix != "":
		return fmt.Sprintf("; a prefix is what comes before segment-logs/, and a source after it: s3://%s/segment-logs/SOURCE/", r.place.Bucket)
	}
	return ""
}

// withFix adds the fix to an error of reading, if it knows one.
func (r *selectedFiles) withFix(err error) error {
	if fix := mirror.Fix(err, r.place); err != nil && fix != "" {
		return fmt.Errorf("%w\n  fix: %s", err, fix)
	}
	return err
}

// listCounter is a transport that counts LIST requests.
type listCounter struct {
	next http.RoundTripper
	n    atomic.Int64
}

// RoundTrip implements http.RoundTripper.
func (l *listCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Query().Has("list-type") {
		l.n.Add(1)
	}
	return l.next.RoundTrip(r)
}

// withPipe calls run, which writes to stdout. If the reader of a pipe goes away, as after `| head`,
// that is not an error, and SIGPIPE does not kill the process.
func (a *app) withPipe(run func() error) error {
	signal.Ignore(syscall.SIGPIPE)
	out := &pipeWriter{Writer: a.stdout}
	a.stdout = out
	if err := run(); err != nil && !out.broken {
		return err
	}
	return nil
}

// pipeWriter notes that its reader is gone.
type pipeWriter struct {
	io.Writer
	broken bool
}

// Write implements io.Writer.
func (p *pipeWriter) Write(b []byte) (int, error) {
	n, err := p.Writer.Write(b)
	p.broken = p.broken || errors.Is(err, syscall.EPIPE)
	return n, err
}
