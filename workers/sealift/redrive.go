package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/copier"
)

// redriveOptions are the flags of `sealift redrive`.
type redriveOptions struct {
	redrive     copier.Redrive
	asJSON, yes bool
}

func newRedriveCommand(a *app) *cobra.Command {
	var o redriveOptions
	r := &o.redrive
	c := &cobra.Command{
		Use:     "redrive",
		GroupID: groupOperate,
		Short:   "Try parked files again, or give them up",
		Long: `A file whose delivery failed for good is parked: it stays owed, and waits until somebody has fixed its
destination. This command enqueues parked files again. With --dry-run it only shows what is parked, why, and
what to do about it.

With --skip it gives up the files of a destination instead: a receipt says so, they are never delivered there,
and they are deleted from staging in their time. This cannot be undone, so on a terminal it asks first. It needs
Redis (redis.url), to keep copiers away from these files meanwhile.`,
		Example: `  sealift redrive --dry-run
  sealift redrive --destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod
  sealift redrive --destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/gone --skip`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if r.Skip && !strings.Contains(r.Destination, "/") {
				return usageError("--skip gives files up for good: name one destination with --destination WORKSPACE/NAME")
			}
			return withServices(a, o.givesUp(), func(s *services) error { return o.run(c.Context(), a, s) })
		},
	}
	f := c.Flags()
	f.StringVar(&r.Destination, "destination", "", "only this one, WORKSPACE/NAME or NAME, or all of a WORKSPACE")
	f.BoolVar(&r.Skip, "skip", false, "give up the files for good instead")
	f.BoolVar(&r.DryRun, "dry-run", false, "only show what is parked and why")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask before files are given up")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return c
}

func (o redriveOptions) givesUp() bool { return o.redrive.Skip && !o.redrive.DryRun }

func (o redriveOptions) run(ctx context.Context, a *app, s *services) error {
	r, found := &o.redrive, parkedTable{}
	r.Staging, r.Worker, r.OnParked = s.staging, workerName("redrive"), func(p delivery.Parked) { found.add(p) }
	if err := o.prepare(ctx, a, s); err != nil {
		return err
	}
	done, err := r.Run(ctx)
	if err != nil && done.Found == 0 {
		return err // instead of saying that nothing is parked
	}
	if err == nil && done.Found == 0 {
		if err := checkDestinationKnown(ctx, s, r.Destination); err != nil {
			return err
		}
	}
	switch {
	case r.DryRun && len(found) > 0:
		err = asPartial(err)
	case err != nil && done.Enqueued+done.Skipped+done.Closed > 0:
		err = asPartial(fmt.Errorf("%s of %s left, run it again: %w", progress.Count(done.Failed), progress.Plural(done.Found, "parked file"), err))
	}
	if o.asJSON {
		return errors.Join(a.printJSON(redriveResult{done, r.DryRun, found.rows()}), err)
	}
	return errors.Join(printRedrive(a.stdout, done, *r, found.rows()), err)
}

// prepare completes what the flags say, and asks before files are given up.
func (o *redriveOptions) prepare(ctx context.Context, a *app, s *services) (err error) {
	r := &o.redrive
	if r.Destination, err = expandStoredName(ctx, s, r.Destination); err != nil {
		return err
	}
	if !r.Skip && !r.DryRun {
		r.Jobs = s.topicProducer(s.cfg.Kafka.JobsTopic, 0)
	}
	if !o.givesUp() {
		return nil
	}
	// Before anything is asked, and once instead of for each file.
	switch err := s.redis.Ping(ctx); {
	case err == nil:
		r.Leases = s.redis
	case !s.cfg.Copier.WithoutRedis:
		return fmt.Errorf("keep copiers away from the files: %w; set redis.url, or start Redis", err)
	}
	if o.yes || !progress.IsTerminal(a.stdin) {
		return nil
	}
	return confirmSkip(ctx, a, r)
}

// confirmSkip asks whether to give up the files that are parked now, and limits r to them: more may
// be parked before the answer.
func confirmSkip(ctx context.Context, a *app, r *copier.Redrive) error {
	shown := map[string]bool{}
	key := func(p delivery.Parked) string { return delivery.ParkedKey(p.Job.File, p.Job.Destination) }
	dryRun := *r
	dryRun.DryRun, dryRun.OnParked = true, func(p delivery.Parked) { shown[key(p)] = true }
	found, err := dryRun.Run(ctx)
	if found.Found == 0 || ctx.Err() != nil {
		return err // the caller says that nothing is parked
	}
	r.Filter = func(p delivery.Parked) bool { return shown[key(p)] }
	return a.confirm(ctx, fmt.Sprintf("Give up %s of %s for good?", progress.Plural(found.Found, "parked file"), r.Destination), "nothing is given up")
}

// checkDestinationKnown returns an error if the catalog can be read and has no such WORKSPACE/NAME
// or WORKSPACE. It is for when nothing was found: a typo must not look like good news.
func checkDestinationKnown(ctx context.Context, s *services, name string) error {
	if name == "" {
		return nil
	}
	live := tryReadCatalog(ctx, s)
	if live == nil {
		return nil
	}
	for _, w := range live.Snapshot().Workspaces() {
		if w.ID == name {
			return nil
		}
	}
	if _, ok := live.Snapshot().Destination(name); ok {
		return nil
	}
	return fmt.Errorf("--destination: nothing is known of %q, and the catalog has no such destination or workspace; `sealift catalog get` lists them", name)
}

// redriveResult is the JSON form of the result.
type redriveResult struct {
	copier.RedriveResult
	DryRun bool         `json:"dry_run"`
	Causes []*parkedRow `json:"causes"`
}

// parkedRow sums up the files that are parked at one destination for one cause.
type parkedRow struct {
	Destination string    `json:"destination"`
	Reason      string    `json:"reason,omitempty"` // a word for the cause; "" if not noted
	Cause       string    `json:"cause"`            // the common one, unless it is exactly the same for all
	Fix         string    `json:"fix"`
	Files       int64     `json:"files"`
	Since       time.Time `json:"since"` // the first failed attempt
}

// parkedTable sums up parked jobs. It holds a row for each destination and cause, not for each
// file.
type parkedTable map[[3]string]*parkedRow

// add counts a job, and returns its row.
func (t parkedTable) add(p delivery.Parked) *parkedRow {
	common := p.CommonCause()
	key := [3]string{p.Job.Destination, p.Reason, common}
	since := fromMillis(p.Since)
	row := t[key]
	if row == nil {
		row = &parkedRow{Destination: p.Job.Destination, Reason: p.Reason, Cause: p.Cause, Fix: p.Fix, Since: since}
		t[key] = row
	}
	row.Files++
	if row.Cause != p.Cause {
		row.Cause = common
	}
	if since.Before(row.Since) {
		row.Since = since
	}
	return row
}

func (t parkedTable) rows() []*parkedRow {
	rows := slices.AppendSeq([]*parkedRow{}, maps.Values(t)) // [], not null
	slices.SortFunc(rows, func(a, b *parkedRow) int {
		return cmp.Or(cmp.Compare(a.Destination, b.Destination), cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Reason, b.Reason))
	})
	return rows
}

func printRedrive(out io.Writer, done copier.RedriveResult, r copier.Redrive, rows []*parkedRow) error {
	err := printCauses(out, rows)
	if err != nil {
		return err
	}
	switch {
	case done.Found == 0 && r.Skip:
		_, err = fmt.Fprintln(out, "nothing is parked, and only what is parked can be given up")
	case done.Found == 0:
		_, err = fmt.Fprintln(out, nothingParkedText)
	case r.DryRun && r.Skip:
		_, err = fmt.Fprintf(out, "%s would be given up: never delivered there\n", progress.Plural(done.Found, "file"))
	case r.DryRun:
		_, err = fmt.Fprintf(out, "%s parked\n", progress.Plural(done.Found, "file"))
	case r.Skip:
		closed := ""
		if done.Closed > 0 {
			closed = fmt.Sprintf("; %s too late, as when it was delivered meanwhile", progress.Count(done.Closed))
		}
		_, err = fmt.Fprintf(out, "%s of %s given up%s\n", progress.Count(done.Skipped), progress.Plural(done.Found, "parked file"), closed)
	default:
		_, err = fmt.Fprintf(out, "%s of %s enqueued again\n", progress.Count(done.Enqueued), progress.Plural(done.Found, "parked file"))
	}
	return err
}

// maxPrintedCauses limits how many causes are printed; nobody reads more.
const maxPrintedCauses = 20

// printCauses prints why files could not be delivered, and what to do. If there are too many
// causes, it prints those with the most files.
func printCauses(out io.Writer, rows []*parkedRow) error {
	var more []*parkedRow
	if len(rows) > maxPrintedCauses {
		rows = slices.SortedStableFunc(slices.Values(rows), func(a, b *parkedRow) int { return cmp.Compare(b.Files, a.Files) })
		rows, more = rows[:maxPrintedCauses], rows[maxPrintedCauses:]
	}
	for _, row := range rows {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\t%s, since %s\n", row.Destination, progress.Plural(row.Files, "file"), row.Since.Format(time.RFC3339))
		fmt.Fprintf(w, "  cause\t%s\n  fix\t%s\n", row.Cause, row.Fix)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	if len(more) == 0 {
		return nil
	}
	files := int64(0)
	for _, row := range more {
		files += row.Files
	}
	_, err := fmt.Fprintf(out, "… and %s more, of %s\n", progress.Count(int64(len(more))), progress.Plural(files, "file"))
	return err
}
