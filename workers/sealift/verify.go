package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/config"
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
			case c.Flags().Changed("partition") && o.cfg.Partition < 0:
				return usageError("--partition: want 0 or more")
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
	o.cfg.Overdue = overdueAfter(s.cfg)
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

// overdueAfter is until when a job may be in the retry tiers with nothing wrong: it is parked when
// it fails after copier.park_after, and may have to wait in the slowest tier once more before that.
func overdueAfter(cfg config.Config) time.Duration {
	return cfg.Copier.ParkAfter + slices.Max(cfg.Copier.RetryTiers) + 2*cfg.Auditor.Every + cfg.Auditor.Grace
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
