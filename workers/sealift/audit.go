package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/auditor"
)

func newAuditCommand(a *app) *cobra.Command {
	var (
		cfg    auditor.Config
		asJSON bool
	)
	c := &cobra.Command{
		Use:     "audit",
		GroupID: groupOperate,
		Short:   "Compare what is owed with what was delivered, now",
		Long: `Compare the ledger with the receipts once, as the auditor does every hour. Enqueue a copy job for every owed
file that has neither a receipt nor a job, and for parked files whose destination was disabled, not in the
catalog or refused by it, and is back. Delete staged files whose retention has passed. Counts cover the files
written since the last audit and those that were open then; --full counts everything.

"sealift destinations status" shows as PENDING what is MISSING or QUEUED here, or too new to judge.`,
		Example: "  sealift audit\n  sealift audit --full --dry-run --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withServices(a, true, func(s *services) error {
				if !cfg.DryRun { // jobs are to be enqueued
					if err := (&catalogTopic{s}).prepare(c.Context(), false); err != nil {
						return err
					}
				}
				cfg.Topic = s.cfg.Kafka.EventsTopic
				cfg.Every, cfg.Minute, cfg.Grace, cfg.Retain = s.cfg.Auditor.Every, s.cfg.Auditor.Minute, s.cfg.Auditor.Grace, s.cfg.Staging.Retain
				aud, err := auditor.New(cfg, auditor.Deps{
					Staging: s.staging, Jobs: s.topicProducer(s.cfg.Kafka.JobsTopic, 0), Leases: s.redis, Catalog: tryReadCatalog(c.Context(), s), Log: s.log,
				})
				if err != nil {
					return err
				}
				r, err := aud.Audit(c.Context())
				if err != nil && r.Chains == 0 {
					return err // an empty report would say that nothing is owed
				}
				err = asPartial(err)
				if asJSON {
					r.Destinations = append([]auditor.Destination{}, r.Destinations...) // [], not null
					return errors.Join(a.printJSON(r), err)
				}
				return errors.Join(printAudit(a.stdout, r, cfg), err)
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&cfg.Full, "full", false, "audit the ledger from its first entry, and look for garbage")
	f.BoolVar(&cfg.Force, "force", false, "also enqueue what a retry tier may still hold, what was sealed just now (auditor.grace), and what another auditor is working on")
	f.BoolVar(&cfg.DryRun, "dry-run", false, "enqueue and delete nothing")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// withServices is withConnections for commands that use the staging bucket. Reads of it are retried.
func withServices(a *app, withRedis bool, fn func(*services) error) error {
	if err := checkBucketNamed(a.cfg, nil); err != nil {
		return err
	}
	return withConnections(a, withRedis, func(s *services) error {
		s.staging = objstore.WithReadRetries(s.staging)
		return fn(s)
	})
}

// tryReadCatalog reads the stored catalog. If that fails, it returns nil: the caller continues
// without, and cannot say, for example, which destinations are disabled.
func tryReadCatalog(ctx context.Context, s *services) *catalog.Live {
	snapshot, err := (&catalogTopic{s}).read(ctx)
	if err != nil {
		if ctx.Err() == nil { // otherwise nothing continues
			s.log.WarnContext(ctx, "continuing without the catalog", "err", err)
		}
		return nil
	}
	s.catalog.Set(snapshot)
	return s.catalog
}

// printAudit prints the report of an audit.
func printAudit(out io.Writer, r auditor.Report, cfg auditor.Config) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Destinations) > 0 {
		fmt.Fprintln(w, "DESTINATION\tSTATE\tOWED\tDELIVERED\tMISSING\tQUEUED\tPARKED\tOLDEST OWED")
	}
	for _, d := range r.Destinations {
		oldest := "-"
		if d.Undelivered() > 0 {
			oldest = formatAge(d.OldestUndeliveredSeconds)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", d.ID, d.State, progress.Count(d.Owed), progress.Count(d.Delivered),
			progress.Count(d.Missing), progress.Count(d.Queued), progress.Count(d.Parked), oldest)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s of %s audited: %s owed, %s delivered, %s enqueued, %s queued, %s parked, %s too new to judge\n",
		progress.Plural(r.Entries, "entry"), progress.Plural(int64(r.Chains), "partition"), progress.Plural(r.Owed, "file"), progress.Count(r.Delivered), progress.Count(r.Enqueued),
		progress.Count(r.Queued), progress.Count(r.Parked), progress.Count(r.TooNew))
	if cfg.Force && r.Enqueued > 0 {
		fmt.Fprintln(out, "a destination that keeps failing gets its files after its next try: sealift destinations status shows when that is")
	}
	if r.GivenUp > 0 {
		fmt.Fprintf(out, "%s given up, never delivered there (sealift redrive --skip)\n", progress.Plural(r.GivenUp, "file"))
	}
	if r.TooNew > 0 {
		fmt.Fprintln(out, "too new: sealed within auditor.grace, so delivery may still be under way; --force enqueues these too")
	}
	would := ""
	if cfg.DryRun {
		would = " would be"
	}
	if r.Collected+r.Orphans > 0 {
		fmt.Fprintf(out, "%s%s deleted after their time, %s that no entry names\n", progress.Plural(r.Collected, "staged file"), would, progress.Count(r.Orphans))
	}
	if r.Redriven > 0 {
		fmt.Fprintf(out, "%s that were parked%s tried again: their destinations are back\n", progress.Plural(r.Redriven, "file"), would)
	}
	if r.Skipped > 0 {
		fmt.Fprintf(out, "%s left to another process that is auditing; --force audits them too\n", progress.Plural(int64(r.Skipped), "partition"))
	}
	if r.Parked > 0 {
		fmt.Fprintln(out, "parked files wait for you: sealift parked says why")
	}
	return nil
}

// formatAge formats an age for people.
func formatAge(seconds float64) string {
	d := time.Duration(seconds * float64(time.Second))
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	case d >= time.Minute:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}
