package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/pkg/sleep"
)

// replayScreen shows the progress of a replay on a terminal.
type replayScreen struct {
	out   io.Writer  // nil: not a terminal
	mu    sync.Mutex // guards tally
	tally replay.Tally
	width int
}

func newReplayScreen(out io.Writer) *replayScreen {
	s := &replayScreen{}
	if progress.CanDraw(out) {
		s.out = out
	}
	return s
}

func (s *replayScreen) show(format string, args ...any) {
	if s.out == nil {
		return
	}
	line := fmt.Sprintf(format, args...)
	fmt.Fprintf(s.out, "\r%-*s", s.width, line)
	s.width = len(line)
}

func (s *replayScreen) showCount(t replay.Tally) {
	s.show("counting: %s, %s", progress.Plural(t.Files, "file"), progress.Bytes(t.Bytes))
}

func (s *replayScreen) setTally(t replay.Tally) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tally = t
}

func (s *replayScreen) clearLine() {
	s.show("")
	if s.out != nil {
		fmt.Fprint(s.out, "\r")
	}
}

// watch shows the state of the order until ctx ends or, with untilOver, the order is over.
func (s *replayScreen) watch(ctx context.Context, staging objstore.Store, id string, untilOver bool) error {
	if !untilOver && s.out == nil {
		return nil
	}
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		start := time.Now()
		status, err := replay.ReadStatus(ctx, staging, id)
		switch {
		case err != nil && (untilOver || ctx.Err() != nil):
			return err
		case err == nil && untilOver && status.Plan == nil: // there was one when all jobs were enqueued
			return replay.ErrOrderExpired
		case err == nil && untilOver && status.Over():
			return nil
		case err == nil:
			s.mu.Lock()
			s.show("replay %s: %s enqueued, %s delivered, %s failed", id, progress.Count(s.tally.Enqueued),
				progress.Count(status.Delivered), progress.Count(status.Failed))
			s.mu.Unlock()
		}
		// Counting lists all receipts; it may take up to a tenth of the time.
		if err := sleep.For(ctx, max(wait, 10*time.Since(start))); err != nil {
			return err
		}
	}
}

// replayResult is the JSON form of the state of a replay.
type replayResult struct {
	*delivery.Order
	replay.Status
	*replay.Existing               // nil: receipts were not read
	State            string        `json:"state"`
	Counts           *replay.Tally `json:"counts,omitempty"` // of this run
	DryRun           bool          `json:"dry_run,omitempty"`
	Causes           []*parkedRow  `json:"causes"` // of the copies that were given up
}

// replayReport is what --json prints of a replay. Times are as in the other reports; what is stored
// of a replay has them in unix ms.
type replayReport struct {
	replayResult
	Since     time.Time   `json:"since,omitzero"`
	Until     time.Time   `json:"until,omitzero"`
	CreatedAt time.Time   `json:"created_at"`
	Plan      *planReport `json:"plan"`
}

type planReport struct {
	*delivery.Plan
	At time.Time `json:"at"`
}

// forJSON is no MarshalJSON, because that would escape <, > and & in causes.
func (r replayResult) forJSON() replayReport {
	report := replayReport{replayResult: r, CreatedAt: fromMillis(r.CreatedAt)}
	if r.Since != 0 {
		report.Since = fromMillis(r.Since)
	}
	if r.Until != 0 {
		report.Until = fromMillis(r.Until)
	}
	if r.Plan != nil {
		report.Plan = &planReport{r.Plan, fromMillis(r.Plan.At)}
	}
	return report
}

// replayState names the state of a replay.
func replayState(s replay.Status) string {
	switch {
	case s.Plan == nil:
		return "not all enqueued"
	case !s.Over():
		return "running"
	case s.Failed > 0:
		return "over, in part"
	}
	return "done"
}

// maxNotesRead limits how many failure notes are read to sum up why copies failed.
const maxNotesRead = 10_000

func readReplay(ctx context.Context, staging objstore.Store, o *delivery.Order) (replayResult, error) {
	s, err := replay.ReadStatus(ctx, staging, o.ID)
	if err != nil {
		return replayResult{}, err
	}
	table, read := parkedTable{}, 0
	err = replay.EachFailure(ctx, staging, o.ID, func(p delivery.Parked) bool {
		table.add(p)
		read++
		return read < maxNotesRead
	})
	r := replayResult{Order: o, Status: s, State: replayState(s), Causes: table.rows()}
	if err == nil && !o.Force { // with Force, objects are overwritten, and no receipt says that one existed
		var existing replay.Existing
		existing, err = replay.ReadExisting(ctx, staging, o.ID, maxReceiptsRead)
		r.Existing = &existing
	}
	return r, err
}

// maxReceiptsRead limits how many receipts are read to tell how many objects existed already; that
// takes some seconds.
const maxReceiptsRead = 1000

// report prints what became of the order. It returns an error if some copies could not be made.
func (v *replayCommand) report(ctx context.Context, o *delivery.Order, tally *replay.Tally) error {
	r, err := readReplay(ctx, v.staging, o)
	r.Counts = tally
	err = v.app.showReplay(r, v.asJSON, err)
	if !v.asJSON {
		err = errors.Join(err, printRefused(v.app.stdout, tally.Refused))
	}
	if err == nil && r.Failed > 0 {
		err = partialError(fmt.Sprintf("replay %s: %s of %s could not be made", o.ID, progress.Count(r.Failed), progress.Plural(r.Plan.Copies, "copy")))
	}
	return err
}

// showReplay prints what readReplay returned. If that came with an error, for instance because an
// object is not a note, it prints what is known and returns the error.
func (a *app) showReplay(r replayResult, asJSON bool, err error) error {
	if r.Order == nil {
		return err
	}
	err = asPartial(err)
	if asJSON {
		return errors.Join(a.printJSON(r.forJSON()), err)
	}
	return errors.Join(printReplay(a.stdout, r), err)
}

func printReplay(out io.Writer, r replayResult) error {
	copies := "? copies"
	if r.Plan != nil {
		copies = progress.Plural(r.Plan.Copies, "copy")
	}
	existingText := ""
	if r.Existing != nil && r.Existed > 0 {
		existingText = " (there already: " + progress.Count(r.Existed)
		if r.ReceiptsRead < r.Delivered {
			existingText += " of the " + progress.Count(r.ReceiptsRead) + " looked at"
		}
		existingText += ")"
	}
	_, err := fmt.Fprintf(out, "replay %s: %s; %s of %s delivered%s, %s failed\n", r.ID, r.State, progress.Count(r.Delivered), copies, existingText, progress.Count(r.Failed))
	return errors.Join(err, printCauses(out, r.Causes))
}

// printDryRun prints what a dry run counted.
func (v *replayCommand) printDryRun(o *delivery.Order, t replay.Tally) error {
	if v.asJSON {
		if t.Rows == nil {
			t.Rows = []replay.Row{} // [], not null
		}
		return v.app.printJSON(replayResult{Order: o, State: "not ordered", Counts: &t, DryRun: true, Causes: []*parkedRow{}}.forJSON())
	}
	w := tabwriter.NewWriter(v.app.stdout, 0, 0, 2, ' ', 0)
	if len(t.Rows) > 0 {
		fmt.Fprintln(w, "SOURCE\tDESTINATION\tFILES\tRECORDS\tSIZE\tNOT STAGED\tLOST")
	}
	for _, r := range t.Rows {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Source, r.Destination, progress.Count(r.Files), progress.Count(r.Records),
			progress.Bytes(r.Bytes), progress.Count(r.Missing), progress.Count(r.Lost))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(v.app.stdout, "%s of %s would be made: %s, %s\n",
		progress.Plural(t.Copies, "copy"), progress.Plural(t.Files, "file"), progress.Plural(t.Records, "record"), progress.Bytes(t.Bytes))
	if t.Files+t.Unowed == 0 && len(t.Refused) == 0 {
		fmt.Fprintln(v.app.stdout, noneSelectedText)
	}
	if err := printRefused(v.app.stdout, t.Refused); err != nil {
		return err
	}
	if t.Missing > 0 {
		fmt.Fprintf(v.app.stdout, "%s to rebuild from Kafka; %s lost: neither staging nor Kafka has them, or --from excludes the one that has\n",
			progress.Plural(t.Missing-t.Lost, "file"), progress.Count(t.Lost))
	}
	return nil
}

// maxPrintedRefusals limits how many refusals are printed: all sources of a workspace may have
// moved to another one.
const maxPrintedRefusals = 10

// printRefused prints the copies that were not ordered although the catalog sends the source to the
// destination.
func printRefused(out io.Writer, refused []replay.Refusal) error {
	var errs []error
	for _, r := range refused[:min(len(refused), maxPrintedRefusals)] {
		_, err := fmt.Fprintf(out, "left out: %s\n", refusalText(r))
		errs = append(errs, err)
	}
	if more := refused[min(len(refused), maxPrintedRefusals):]; len(more) > 0 {
		copies := int64(0)
		for _, r := range more {
			copies += r.Copies
		}
		_, err := fmt.Fprintf(out, "left out: %s more, for the same reason; --json lists their sources\n", progress.Plural(copies, "copy"))
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func refusalText(r replay.Refusal) string {
	return fmt.Sprintf("%s of source %s to %s: the files are owed to %s, and no file goes to another workspace than that it is owed to",
		progress.Plural(r.Copies, "copy"), r.Source, r.Destination, r.Owed)
}

// noCopiesError says why an order has no copies.
func noCopiesError(t replay.Tally) error {
	switch {
	case len(t.Refused) > 0:
		return fmt.Errorf("nothing may be delivered: %s", refusalText(t.Refused[0]))
	case t.Unowed > 0:
		return errors.New("all files that are selected are owed to nobody; --destination WORKSPACE/NAME says where they go")
	}
	return errors.New(noneSelectedText)
}

func newReplayListCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "list",
		Short:   "List replays, the oldest first",
		Long:    "List the replays that were ordered, and their state. They expire after staging.retain.",
		Example: "  sealift replay list --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withServices(a, false, func(s *services) error {
				results, err := listReplays(c.Context(), s.staging)
				if err != nil && len(results) == 0 {
					return err // instead of saying that no replay was ordered
				}
				err = asPartial(err)
				if asJSON {
					reports := []replayReport{} // [], not null
					for _, r := range results {
						reports = append(reports, r.forJSON())
					}
					return errors.Join(a.printJSON(reports), err)
				}
				return errors.Join(printReplays(a.stdout, results), err)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the list as JSON")
	return c
}

// listReplays returns the replays, the oldest first. The error joins those of replays that cannot be read; the others are
// returned all the same.
func listReplays(ctx context.Context, staging objstore.Store) ([]replayResult, error) {
	ids, err := replay.ListIDs(ctx, staging)
	if err != nil {
		return nil, err
	}
	results := []replayResult{}
	var errs []error
	for _, id := range ids {
		o, err := replay.ReadOrder(ctx, staging, id)
		if errors.Is(err, objstore.ErrNotFound) {
			continue // an expired replay of which some objects are left
		}
		var status replay.Status
		if err == nil {
			status, err = replay.ReadStatus(ctx, staging, id)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		results = append(results, replayResult{Order: o, Status: status, State: replayState(status), Causes: []*parkedRow{}})
	}
	slices.SortStableFunc(results, func(a, b replayResult) int { return cmp.Compare(a.CreatedAt, b.CreatedAt) }) // ids are exact only to the second
	return results, errors.Join(errs...)
}

// describeOrder says briefly what was asked for. It names the first item of each list.
func describeOrder(o *delivery.Order) string {
	var parts []string
	add := func(what string, list ...string) {
		if len(list) == 0 || list[0] == "" {
			return
		}
		part := what + " " + list[0]
		if len(list) > 1 {
			part += fmt.Sprintf(" +%d", len(list)-1)
		}
		parts = append(parts, part)
	}
	hour := func(ms int64) string {
		if ms == 0 {
			return ""
		}
		return time.UnixMilli(ms).UTC().Format("2006-01-02T15")
	}
	add("source", o.Sources...)
	add("to", o.Destinations...)
	add("since", hour(o.Since))
	add("until", hour(o.Until))
	var ranges []string
	for _, r := range o.Offsets {
		ranges = append(ranges, r.String())
	}
	add("offsets", ranges...)
	if len(parts) == 0 {
		parts = []string{"all"}
	}
	add("view", o.View)
	if o.From != delivery.FromAuto {
		add("from", string(o.From))
	}
	if o.Force {
		parts = append(parts, "force")
	}
	return strings.Join(parts, ", ")
}

func printReplays(out io.Writer, all []replayResult) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(all) == 0 {
		fmt.Fprintln(w, "no replay was ordered")
	} else {
		fmt.Fprintln(w, "REPLAY\tORDERED\tWHAT\tSTATE\tDELIVERED\tFAILED")
	}
	for _, r := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, formatMillis(r.CreatedAt), quoteControls(describeOrder(r.Order)), r.State, progress.Count(r.Delivered), progress.Count(r.Failed))
	}
	return w.Flush()
}

func newReplayShowCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "show ID",
		Short:   "Show the state of a replay, and why copies failed",
		Example: "  sealift replay show 20261122-141530-a1b2c3",
		Args:    requireArgs("name a replay's ID; `sealift replay list` shows them", 1),
		RunE: func(c *cobra.Command, args []string) error {
			return withServices(a, false, func(s *services) error {
				o, err := readReplayOrder(c.Context(), s.staging, args[0])
				if err != nil {
					return err
				}
				r, err := readReplay(c.Context(), s.staging, o)
				return a.showReplay(r, asJSON, err)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// readReplayOrder returns the order of that id, for a command whose user named it.
func readReplayOrder(ctx context.Context, staging objstore.Store, id string) (*delivery.Order, error) {
	o, err := replay.ReadOrder(ctx, staging, id)
	if errors.Is(err, objstore.ErrNotFound) {
		return nil, fmt.Errorf("there is no replay %q; `sealift replay list` shows all", id)
	}
	return o, err
}
