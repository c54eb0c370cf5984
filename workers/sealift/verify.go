package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/verify"
)

// verifyOptions are the flags of `sealift verify`.
type verifyOptions struct {
	cfg          verify.Config
	since, until string
	noBuckets    bool
	needBuckets  bool // one that cannot be read is an error
	asJSON       bool
}

func newVerifyCommand(a *app) *cobra.Command {
	var o verifyOptions
	c := &cobra.Command{
		Use:     "verify",
		GroupID: groupOperate,
		Short:   "Check ledger, staging, receipts and buckets against each other",
		Long: `Check the ledger from its first entry: no chain has a gap, every record is in exactly one file, every staged
file exists until it is delivered everywhere, every receipt is true, and, where credentials allow reading
customers' buckets, every delivered object is there unchanged and nothing else is. --deep reads every file as
well. Nothing is written, and it may run at any time. Ledgers of a former kafka.incarnation or
kafka.events_topic are checked with --incarnation and --topic; those that still owe files are named.

A bucket is read with the destination's role or Sealift's principal, if one of them has s3:ListBucket below
segment-logs/ (and s3:GetObject). Most may only put; such buckets are reported as not readable, which is an error
with --require-buckets. A role is not used if others could assume it too.

Exit code 0: everything that was checked is right (buckets that may not be read are not checked); 1: something
could not be checked, e.g. a server was down; 3: problems, e.g. a bucket is gone.`,
		Example: `  sealift verify
  sealift verify --deep --since 24h
  sealift verify --source qv5iYYMxd94DahFpRzm58y --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			switch {
			case strings.Count(o.cfg.Destination, "/") > 1:
				return unknownNameError(o.cfg.Destination)
			case o.cfg.Concurrency < 1 || o.cfg.MaxExamples < 1:
				return usageError("--parallel and --problems: use at least 1")
			case o.noBuckets && o.needBuckets:
				return usageError("--no-buckets or --require-buckets")
			}
			if o.cfg.Since, o.cfg.Until, err = parseWindow(o.since, o.until); err != nil {
				return err
			}
			return withServices(a, false, func(s *services) error {
				if named := o.cfg.Destination; named != "" && !strings.Contains(named, "/") {
					live := tryReadCatalog(c.Context(), s)
					if live == nil {
						return fmt.Errorf("--destination %q: the catalog, which says of which workspace it is, cannot be read; use WORKSPACE/NAME", named)
					}
					if o.cfg.Destination, err = destinationID(live.Snapshot(), named); err != nil {
						return err
					}
				}
				return o.run(c.Context(), a, s)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&o.cfg.Topic, "topic", "", "the events topic (default: kafka.events_topic)")
	f.StringVar(&o.cfg.Incarnation, "incarnation", "", "incarnation of the events topic (default: kafka.incarnation)")
	f.IntVar(&o.cfg.Partition, "partition", -1, "only this partition")
	f.StringVar(&o.cfg.Source, "source", "", "only the files of this source")
	f.StringVar(&o.cfg.Destination, "destination", "", "only the debts, receipts and objects of this one, WORKSPACE/NAME or NAME")
	f.StringVar(&o.since, "since", "", "only entries written since: 24h (ago), 2026-11-22, 2026-11-22T14 or 2026-11-22T14:30:00Z")
	f.StringVar(&o.until, "until", "", "only entries written until")
	f.BoolVar(&o.cfg.Deep, "deep", false, "read every file: checksums, one gzip member, every line JSON")
	f.BoolVar(&o.cfg.AllowGaps, "allow-gaps", false, "accept missing offsets in Kafka: transactional producers, a compacted topic")
	f.IntVar(&o.cfg.Concurrency, "parallel", 32, "requests at once")
	f.IntVar(&o.cfg.MaxExamples, "problems", 100, "print at most this many problems")
	f.BoolVar(&o.noBuckets, "no-buckets", false, "do not read customers' buckets")
	f.BoolVar(&o.needBuckets, "require-buckets", false, "fail if a bucket may not be read")
	a.bindEndpoint(f)
	f.BoolVar(&o.asJSON, "json", false, "print the report as JSON")
	return c
}

func (o verifyOptions) run(ctx context.Context, a *app, s *services) error {
	k := s.cfg.Kafka
	o.cfg.Topic, o.cfg.Incarnation = cmp.Or(o.cfg.Topic, k.EventsTopic), cmp.Or(o.cfg.Incarnation, k.Incarnation)
	if other := (otherLedger{topic: o.cfg.Topic, incarnation: o.cfg.Incarnation}); o.cfg.Topic != k.EventsTopic || o.cfg.Incarnation != k.Incarnation {
		o.cfg.CommandFlags = other.selectFlags(k.EventsTopic)
	}
	o.cfg.Retain = s.cfg.Staging.Retain
	// Until then a job may be in the retry tiers with nothing wrong.
	o.cfg.Overdue = s.cfg.Copier.ParkAfter + 2*s.cfg.Auditor.Every + s.cfg.Auditor.Grace
	bar := progress.Start(a.stderr, "verify", 0, progress.Count)
	deps := verify.Deps{Staging: s.staging, OnFound: bar.Grow, OnDone: bar.Add}
	if !o.noBuckets {
		deps.Bucket = (&bucketReader{services: s, catalog: tryReadCatalog(ctx, s)}).open
	}
	r, err := verify.Verify(ctx, o.cfg, deps)
	bar.Finish()
	if ctx.Err() != nil && r.OK() {
		return context.Cause(ctx) // what could not be read is no news then
	}
	err = errors.Join(err, noteOtherLedgers(ctx, a, s, o.cfg.Topic, o.cfg.Incarnation))
	if err != nil && r.Chains == 0 && r.OK() {
		return err // instead of saying that nothing is wrong
	}
	if err == nil && r.OK() && len(r.Unread) == 0 && o.since == "" && o.until == "" && o.cfg.Partition < 0 {
		if err := o.checkNamesKnown(ctx, s, r); err != nil {
			return err // instead of saying that nothing is wrong
		}
	}
	if o.asJSON {
		err = errors.Join(a.printJSON(r), err)
	} else {
		err = errors.Join(printVerify(a.stdout, r, err == nil && len(r.Unread) == 0), err)
	}
	switch {
	case err != nil:
	case len(r.Unread) > 0:
		err = fmt.Errorf("not all could be verified: %s could not be read", progress.Plural(int64(len(r.Unread)), "thing"))
	case o.needBuckets && r.Unreadable() > 0:
		err = fmt.Errorf("not all could be verified: %s could not be read", bucketsOf(r.Unreadable()))
	}
	if !r.OK() {
		return &exitError{exitPartial, errors.Join(fmt.Errorf("problems found: %s", progress.Count(r.Problems)), err)}
	}
	return err
}

// checkNamesKnown returns an error if nothing was found of the source or destination that was asked
// for, and the catalog does not have it either.
func (o verifyOptions) checkNamesKnown(ctx context.Context, s *services, r *verify.Report) error {
	if o.cfg.Source != "" && r.Files == 0 {
		known := readKnownSources(ctx, s)
		if _, ok := known[o.cfg.Source]; !ok && len(known) > 0 {
			return unknownSourceError(o.cfg.Source, known)
		}
	}
	if len(r.Destinations) == 0 {
		return checkDestinationKnown(ctx, s, o.cfg.Destination)
	}
	return nil
}

// bucketReader opens customers' buckets for reading.
type bucketReader struct {
	*services
	catalog *catalog.Live // nil: it cannot be read
}

func (b *bucketReader) open(ctx context.Context, dest string) (verify.Bucket, error) {
	if b.catalog == nil {
		return verify.Bucket{}, errors.New("the catalog cannot be read")
	}
	t, ok := b.catalog.Snapshot().Destination(dest)
	if !ok {
		return verify.Bucket{}, verify.ErrNoDestination
	}
	out := verify.Bucket{Server: t.Endpoint, Name: t.BucketName, Prefix: t.Prefix}
	var errs []error
	if t.RoleARN != "" {
		creds, err := b.readerCredentials(ctx, t)
		if err == nil {
			if out.Store, err = b.openListable(ctx, t, creds); err == nil {
				return out, nil
			}
		}
		errs = append(errs, fmt.Errorf("as role %s: %w", t.RoleARN, err))
	}
	var err error
	if out.Store, err = b.openListable(ctx, t, nil); err == nil {
		return out, nil
	}
	errs = append(errs, fmt.Errorf("as Sealift's principal: %w", err))
	for _, err := range errs {
		if !errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrNoBucket) {
			return out, errors.New(errors.Join(errs...).Error()) // only the text: one refusal must not make all of it match ErrDenied
		}
	}
	return out, errors.Join(errs...)
}

// readerCredentials returns credentials of t's role that only allow reading what was delivered to
// t, because the role that t names may be another customer's.
func (b *bucketReader) readerCredentials(ctx context.Context, t catalog.Target) (func(context.Context) (objstore.Credentials, error), error) {
	session, err := policy.ReadSession(t)
	if err != nil {
		return nil, err
	}
	request := assumerole.Request{RoleARN: t.RoleARN, ExternalID: t.Workspace, SessionPolicy: session, FIPS: t.FIPS}
	creds := func(ctx context.Context) (objstore.Credentials, error) { return b.roles.Credentials(ctx, request) }
	if _, err := creds(ctx); err != nil {
		return nil, err
	}
	return creds, b.roles.VerifyTrust(ctx, request)
}

// openListable opens the bucket, in whatever region it is, and tries to list what verify looks at.
func (b *bucketReader) openListable(ctx context.Context, t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) (objstore.Store, error) {
	for range 2 {
		store := b.openBucket(t, creds)
		_, err := store.List(ctx, strings.TrimPrefix(t.Prefix+"/segment-logs/", "/"), "", 1)
		var e *objstore.Error
		if errors.Is(err, objstore.ErrWrongRegion) && errors.As(err, &e) && e.Region != "" {
			t.Region = e.Region
			continue
		}
		return store, err
	}
	return nil, fmt.Errorf("bucket %q: its region is not found", t.BucketName)
}

// printVerify prints the report; complete says that everything could be verified.
func printVerify(out io.Writer, r *verify.Report, complete bool) error {
	n, size := progress.Count, progress.Bytes
	fmt.Fprintf(out, "topic %s, incarnation %s: %s, %s, %s of %s, %s\n", r.Topic, r.Incarnation, progress.Plural(int64(r.Chains), "partition"),
		progress.Plural(r.Entries, "entry"), progress.Plural(r.Files, "file"), progress.Plural(r.Records, "record"), size(r.Bytes))
	var offsets []string
	for _, reason := range slices.Sorted(maps.Keys(r.Skipped)) {
		offsets = append(offsets, n(r.Skipped[reason])+" "+reason)
	}
	if len(offsets) > 0 || r.Gaps > 0 {
		fmt.Fprintf(out, "offsets in no file: %s\n", strings.Join(append(offsets, n(r.Gaps)+" unexplained"), ", "))
	}
	fmt.Fprintf(out, "staging: %s there, %s deleted after their time, %s, %s on their way\n",
		progress.Plural(r.Staged.Present, "file"), n(r.Staged.Collected), progress.Plural(r.Staged.Orphans, "orphan"), n(r.Staged.Unsettled))
	if r.Staged.Read > 0 {
		fmt.Fprintf(out, "read completely: %s, %s\n", progress.Plural(r.Staged.Read, "file"), size(r.Staged.ReadBytes))
	}
	fmt.Fprintf(out, "debts: %s owed, %s delivered, %s given up, %s pending, %s parked\n",
		n(r.Owed), n(r.Receipts.Delivered), n(r.Receipts.Skipped), n(r.Pending), n(r.Parked))
	if r.Unowed.Files > 0 {
		fmt.Fprintf(out, "owed to nobody: %s of %s; %s\n", progress.Plural(r.Unowed.Files, "file"), progress.Plural(r.Unowed.Records, "record"), unowedHint)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Destinations) > 0 {
		fmt.Fprintln(w, "DESTINATION\tOWED\tCLOSED\tPENDING\tPARKED\tOLDEST OWED\tBUCKET\tOBJECTS SEEN")
	}
	for _, d := range r.Destinations {
		oldest := "-"
		if d.Pending+d.Parked > 0 {
			oldest = formatAge(d.OldestSeconds)
		}
		seen := n(d.Objects) + " of " + n(d.Delivered)
		if d.Replayed > 0 {
			seen += " + " + n(d.ReplayedObjects) + " of " + n(d.Replayed) + " replayed"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, n(d.Owed), n(d.Closed), n(d.Pending), n(d.Parked), oldest, d.Bucket, seen)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, d := range r.Destinations {
		if d.Why != "" {
			fmt.Fprintf(out, "%s: %s: %s\n", d.ID, d.Bucket, d.Why)
		}
	}
	for _, d := range r.Destinations {
		for _, f := range d.Former {
			fmt.Fprintf(out, "%s: not looked at: %s in its former bucket %s\n", d.ID, progress.Plural(f.Objects, "object"), quoteControls(f.Bucket))
		}
		if d.Past > 0 {
			fmt.Fprintf(out, "%s: %s that only a replay whose order has expired can account for\n", d.ID, progress.Plural(d.Past, "object"))
		}
	}
	for _, what := range r.Unread {
		lines := strings.Split(what, "\n") // one for the role, one for Sealift's principal
		for i := range lines {
			lines[i] = quoteControls(lines[i])
		}
		fmt.Fprintln(out, "not verified:", strings.Join(lines, "\n"))
	}
	for _, p := range r.Examples {
		fmt.Fprintf(out, "\n%s %s  %s\n  %s\n  fix: %s\n", p.Invariant, p.Kind, quoteControls(p.Where), p.What, quoteControls(p.Fix))
	}
	if more := r.Problems - int64(len(r.Examples)); more > 0 {
		fmt.Fprintf(out, "\n… and %s more\n", n(more))
	}
	var err error
	switch took := r.Took().Round(time.Millisecond); {
	case r.OK() && complete && r.Entries == 0:
		_, err = fmt.Fprintln(out, "nothing was verified: no entry of the ledger was written in this window; check --since and --until")
	case r.OK() && complete && r.Unreadable() > 0:
		_, err = fmt.Fprintf(out, "no problems in what could be read, in %s; %s could not be read\n", took, bucketsOf(r.Unreadable()))
	case r.OK() && complete:
		_, err = fmt.Fprintf(out, "no problems, in %s\n", took)
	case !complete:
		_, err = fmt.Fprintf(out, "not all could be verified, in %s\n", took)
	}
	return err
}

func bucketsOf(destinations int64) string {
	text := "the bucket of "
	if destinations > 1 {
		text = "the buckets of "
	}
	return text + progress.Plural(destinations, "destination")
}

// quoteControls quotes a place if it has control characters, which a terminal would obey: customers
// choose the keys in their buckets.
func quoteControls(place string) string {
	if strings.ContainsFunc(place, unicode.IsControl) {
		return strconv.Quote(place)
	}
	return place
}
