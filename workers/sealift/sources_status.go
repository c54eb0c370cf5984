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

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/pkg/verify"
)

func newSourcesStatusCommand(a *app) *cobra.Command {
	var since string
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [SOURCE…]",
		Short: "Show what each source sent: stored, dead letters by reason, last seen",
		Long: `Show, for each source, the records that are in files, the dead letters by reason, when it was last seen, and
its newest dead letter. No content of events is shown.

Records are counted in the ledger, by hour of receipt since --since; newer ones are not in a file yet. Dead
letters are those since --since that Kafka still holds. Neither needs metrics or a running process. Events
that the collector refused with another status than 200 are in neither: their sender was told. Last seen is
exact for sources among the last 1,000 records of their partition. Others may have sent more since: "<20m ago" is
at most 20 minutes ago, when their newest dead letter or the first record of their newest file was received.`,
		Example: "  sealift sources status\n  sealift sources status qv5iYYMxd94DahFpRzm58y --since 168h --json",
		RunE: func(c *cobra.Command, args []string) error {
			var w deadletter.Window
			var err error
			if w.Since, w.Until, err = parseWindow(since, ""); err != nil {
				return err
			}
			return withServices(a, false, func(s *services) error {
				status, err := readSources(c.Context(), s, args, w)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(status)
				}
				return status.print(a.stdout)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&since, "since", "24h", "what was received since: 24h (ago), 2026-11-22 or 2026-11-22T14; empty: all")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// sourcesStatus is the JSON form of the report.
type sourcesStatus struct {
	At      time.Time   `json:"at"`
	Since   time.Time   `json:"since,omitzero"`
	Sources []sourceRow `json:"sources"`

	catalogKnown bool // otherwise it is empty or cannot be read, and says nothing about a source
}

type sourceRow struct {
	ID          string             `json:"id"` // "" for records without a valid source
	Name        string             `json:"name,omitempty"`
	Workspace   string             `json:"workspace,omitempty"` // "" if the catalog does not have the source
	Spread      int                `json:"spread,omitempty"`    // number of partitions; 0 or 1: not spread
	Files       int64              `json:"files"`
	Records     int64              `json:"records"` // in files
	DeadLetters int64              `json:"dead_letters"`
	SentAgain   int64              `json:"sent_again"` // former dead letters, redriven
	Reasons     []deadLetterReason `json:"reasons"`
	LastSeen    time.Time          `json:"last_seen,omitzero"`
	SeenExactly bool               `json:"last_seen_exact"` // otherwise it may have been seen later, too
}

// deadLetterReason sums up the dead letters of one reason.
type deadLetterReason struct {
	Reason  string    `json:"reason"`
	Means   string    `json:"means"`
	By      string    `json:"by"` // who found it: collector or appender
	Letters int64     `json:"letters"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// readSources reads the status of the sources with these ids, or of all if there are none.
func readSources(ctx context.Context, s *services, ids []string, w deadletter.Window) (*sourcesStatus, error) {
	rows := map[string]*sourceRow{}
	row := func(id string) *sourceRow {
		if rows[id] == nil {
			rows[id] = &sourceRow{ID: id, Reasons: []deadLetterReason{}}
		}
		return rows[id]
	}
	known := readKnownSources(ctx, s)
	for id, ref := range known {
		r := row(id)
		r.Name, r.Workspace, r.Spread = ref.Name, ref.Workspace, ref.Spread
	}
	if err := addStored(ctx, s, w.Since, row); err != nil {
		return nil, err
	}
	if err := addLetters(ctx, s, w, row); err != nil {
		return nil, err
	}
	if err := addLastSeen(ctx, s, rows, row); err != nil {
		return nil, err
	}
	out := &sourcesStatus{At: time.Now().UTC(), Since: w.Since.UTC(), Sources: []sourceRow{}, catalogKnown: len(known) > 0}
	for _, id := range ids {
		if rows[id] == nil {
			return nil, unknownSourceError(id, known)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		if len(ids) == 0 || slices.Contains(ids, id) {
			r := rows[id]
			slices.SortFunc(r.Reasons, func(x, y deadLetterReason) int {
				return cmp.Or(strings.Compare(x.Reason, y.Reason), strings.Compare(x.By, y.By))
			})
			out.Sources = append(out.Sources, *r)
		}
	}
	return out, nil
}

// addStored adds what is in files, according to the ledger.
func addStored(ctx context.Context, s *services, since time.Time, row func(string) *sourceRow) error {
	cfg := verify.Config{Topic: s.cfg.Kafka.EventsTopic, Incarnation: s.cfg.Kafka.Incarnation, Since: since}
	stored, err := verify.ReadCompleteness(ctx, cfg, verify.Deps{Staging: s.staging}, nil)
	if errors.Is(err, verify.ErrNoLedger) {
		return nil // nothing was sealed yet
	}
	if err != nil {
		return err
	}
	for _, h := range stored.Hours {
		r := row(h.Source)
		r.Files, r.Records = r.Files+h.Files, r.Records+h.Records
		r.updateLastSeen(h.Newest)
	}
	return nil
}

func (r *sourceRow) updateLastSeen(at time.Time) {
	if at.After(r.LastSeen) {
		r.LastSeen = at.UTC()
	}
}

// addLetters adds the dead letters, and those that were redriven.
func addLetters(ctx context.Context, s *services, w deadletter.Window, row func(string) *sourceRow) error {
	return deadletter.Read(ctx, s.deadLetters(), s.cfg.Kafka.DeadLettersTopic, w, func(l *deadletter.Letter) error {
		r := row(l.Source)
		r.updateLastSeen(l.At)
		if l.SentAgain {
			r.SentAgain++
			return nil
		}
		r.DeadLetters++
		by := appenderRole
		if l.RefusedByCollector() {
			by = collectorRole
		}
		i := slices.IndexFunc(r.Reasons, func(x deadLetterReason) bool { return x.Reason == l.Reason && x.By == by })
		if i < 0 {
			i = len(r.Reasons)
			r.Reasons = append(r.Reasons, deadLetterReason{Reason: l.Reason, Means: deadletter.Describe(l.Reason), By: by, First: l.At.UTC()})
		}
		reason := &r.Reasons[i]
		reason.Letters++
		if l.At.Before(reason.First) {
			reason.First = l.At.UTC()
		}
		if l.At.After(reason.Last) {
			reason.Last = l.At.UTC()
		}
		return nil
	}, func() error { return nil })
}

const lastSeenRecords = 1000 // last records of each partition of the events topic

// addLastSeen looks for sources among the last records of the topic, and notes for which rows that
// makes LastSeen exact. A source that is not among them may have been seen later.
func addLastSeen(ctx context.Context, s *services, rows map[string]*sourceRow, row func(string) *sourceRow) error {
	topic := s.cfg.Kafka.EventsTopic
	router, err := route.New(s.cfg.Kafka.SourceFrom, s.cfg.Kafka.ReceivedFrom)
	if err != nil {
		return err
	}
	bounds, err := s.kafka.Bounds(ctx, topic)
	if errors.Is(err, stream.ErrNoTopic) {
		return nil
	}
	if err != nil {
		return err
	}
	whole := true
	for p, b := range bounds {
		first := max(b.First, b.End-lastSeenRecords)
		bounds[p] = stream.Bounds{First: first, End: b.End}
		whole = whole && first == 0
	}
	exact := map[string]bool{}
	err = deadletter.Walk(ctx, s.deadLetters(), topic, bounds, func(r *stream.Record) error {
		if to, reason := router.Route(r); reason == "" {
			row(to.Source).updateLastSeen(time.UnixMilli(to.Received))
			exact[to.Source] = true
		}
		return nil
	})
	for id, r := range rows {
		r.SeenExactly = whole || exact[id] && r.Spread <= 1 // a spread source may be newer in another partition
	}
	return err
}

func (s *sourcesStatus) print(out io.Writer) error {
	if len(s.Sources) == 0 {
		_, err := fmt.Fprintln(out, "no source")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SOURCE\tNAME\tSPREAD\tFILES\tRECORDS\tDEAD LETTERS\tSENT AGAIN\tLAST SEEN")
	letters := int64(0)
	for _, r := range s.Sources {
		seen := "-"
		if !r.LastSeen.IsZero() {
			if seen = formatAge(max(0, s.At.Sub(r.LastSeen).Seconds())) + " ago"; !r.SeenExactly {
				seen = "<" + seen
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\n", cmp.Or(r.ID, "(none)"), cmp.Or(r.Name, "-"), max(1, r.Spread), progress.Count(r.Files), progress.Count(r.Records),
			progress.Count(r.DeadLetters), progress.Count(r.SentAgain), seen)
		letters += r.DeadLetters
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := s.printUncatalogued(out); err != nil || letters == 0 {
		return err
	}
	fmt.Fprintln(w, "\nSOURCE\tREASON\tBY\tDEAD LETTERS\tFIRST\tLAST\tMEANING")
	for _, r := range s.Sources {
		for _, d := range r.Reasons {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s ago\t%s\n", cmp.Or(r.ID, "(none)"), d.Reason, d.By, progress.Count(d.Letters), d.First.Format(time.RFC3339),
				formatAge(max(0, s.At.Sub(d.Last).Seconds())), d.Means)
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintln(out, "\nafter the fix: sealift sources redrive")
	return err
}

// maxPrintedUncatalogued limits how many sources that the catalog does not have are named.
const maxPrintedUncatalogued = 10

// printUncatalogued names the sources that are not in the catalog, because their files go to nobody.
// A producer's typo looks like this.
func (s *sourcesStatus) printUncatalogued(out io.Writer) error {
	var ids []string
	for _, r := range s.Sources {
		if r.Workspace == "" && r.ID != "" {
			ids = append(ids, r.ID)
		}
	}
	if !s.catalogKnown || len(ids) == 0 {
		return nil
	}
	count := progress.Plural(int64(len(ids)), "source")
	if more := len(ids) - maxPrintedUncatalogued; more > 0 {
		ids = append(ids[:maxPrintedUncatalogued], fmt.Sprintf("… and %d more", more))
	}
	_, err := fmt.Fprintf(out, "\nnot in the catalog: %s (%s); files that are sealed for such a source are owed to nobody\n"+
		"to deliver them: add the source to the catalog, then sealift replay --source SOURCE --destination WORKSPACE/NAME\n",
		count, strings.Join(ids, ", "))
	return err
}
