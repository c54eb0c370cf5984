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

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/verify"
)

func newCompletenessCommand(a *app) *cobra.Command {
	var (
		source, since, until string
		asJSON               bool
	)
	c := &cobra.Command{
		Use:     "completeness",
		GroupID: groupOperate,
		Short:   "Show, for each source, which hours are complete",
		Long: `Show, for each source and hour of receipt, what the ledger knows: files, records, how much of them is
delivered, and whether more can come. An hour is complete when, in every partition of the events topic, all
records received in it are in files. A record that comes later is still filed and delivered, and is counted
as late.`,
		Example: `  sealift completeness
  sealift completeness --source qv5iYYMxd94DahFpRzm58y --since 2026-11-22T10:00:00Z --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			cfg := verify.Config{Source: source}
			var err error
			if cfg.Since, cfg.Until, err = parseWindow(since, until); err != nil {
				return err
			}
			return withServices(a, false, func(s *services) error {
				cfg.Topic, cfg.Incarnation = s.cfg.Kafka.EventsTopic, s.cfg.Kafka.Incarnation
				r, err := verify.ReadCompleteness(c.Context(), cfg, verify.Deps{Staging: s.staging}, readEnds(c.Context(), s))
				if err := errors.Join(err, noteOtherLedgers(c.Context(), a, s, cfg.Topic, cfg.Incarnation)); err != nil {
					return err
				}
				if source != "" && len(r.Hours) == 0 {
					if err := checkSourceKnown(c.Context(), s, source); err != nil {
						return err
					}
				}
				if asJSON {
					return a.printJSON(r)
				}
				return printCompleteness(a.stdout, r, time.Now(), s.cfg.Appender.Grace)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&source, "source", "", "only this source id")
	f.StringVar(&since, "since", "24h", "only hours since: 24h (ago), 2026-11-22 or 2026-11-22T14; empty: all")
	f.StringVar(&until, "until", "", "only hours that begin before")
	f.BoolVar(&asJSON, "json", false, "print the report as JSON")
	return c
}

// checkSourceKnown returns an error if the catalog can be read and does not have the source.
// Otherwise a misspelt source would look like one without files.
func checkSourceKnown(ctx context.Context, s *services, source string) error {
	live := tryReadCatalog(ctx, s)
	if live == nil {
		return nil
	}
	known := sourcesOf(live.Snapshot())
	if _, ok := known[source]; ok {
		return nil
	}
	return fmt.Errorf("%w (of the ledger, the hours from --since to --until were read)", unknownSourceError(source, known))
}

// readEnds returns the end offset of each partition of the events topic, or nil if Kafka does not
// answer. Without them, the report cannot show partitions that were never read.
func readEnds(ctx context.Context, s *services) map[int]int64 {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	bounds, err := s.kafka.Bounds(ctx, s.cfg.Kafka.EventsTopic)
	if err != nil {
		s.log.WarnContext(ctx, "continuing without Kafka: partitions that were never read are not known of", "err", err)
		return nil
	}
	ends := map[int]int64{}
	for p, b := range bounds {
		ends[p] = b.End
	}
	return ends
}

// printCompleteness prints the report as of now. grace is how long appenders wait for late records.
func printCompleteness(out io.Writer, r *verify.Completeness, now time.Time, grace time.Duration) error {
	if err := printHours(out, r.Hours); err != nil {
		return err
	}
	var unknown []string
	slowest := r.Partitions[0]
	for _, p := range r.Partitions {
		if p.CompleteThrough.IsZero() {
			unknown = append(unknown, fmt.Sprint(p.Partition))
		}
		if p.CompleteThrough.Before(slowest.CompleteThrough) {
			slowest = p
		}
	}
	if len(unknown) > 0 {
		_, err := fmt.Fprintf(out, "complete up to: unknown, no report yet from %s; is an appender running?\n", partitionsText(unknown))
		return err
	}
	idle := ""
	// Without this, an idle partition would look stuck; if its next report is overdue, it is.
	if next := slowest.CompleteThrough.Truncate(time.Hour).Add(time.Hour + grace); slowest.Idle && now.Before(next.Add(time.Minute)) {
		idle = "; it is idle, and reports when the hour is over: next at " + next.Format(time.RFC3339)
	}
	last := "in 1 partition"
	if n := len(r.Partitions); n > 1 {
		last = fmt.Sprintf("in all %d partitions; partition %d is the furthest behind", n, slowest.Partition)
	}
	_, err := fmt.Fprintf(out, "complete up to %s, %s%s\n", r.CompleteThrough.Format(time.RFC3339), last, idle)
	return err
}

// printHours prints a row for each hour of each source.
func printHours(out io.Writer, hours []verify.Hour) error {
	if len(hours) == 0 {
		_, err := fmt.Fprintln(out, "no sealed files in this window: check --source and --since, and `sealift sources status`")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "HOUR\tSOURCE\tFILES\tRECORDS\tSIZE\tLATE\tSTATE\tDELIVERED")
	unowed := int64(0)
	for _, h := range hours {
		state := "open"
		if h.Complete {
			state = "complete"
		}
		late := "-"
		if h.LateFiles > 0 {
			late = progress.Count(h.LateRecords)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Hour.Format("2006-01-02T15h"), h.Source, progress.Count(h.Files), progress.Count(h.Records),
			progress.Bytes(h.Bytes), late, state, deliveredText(h))
		unowed += h.Unowed
	}
	if err := w.Flush(); err != nil || unowed == 0 {
		return err
	}
	_, err := fmt.Fprintf(out, "owed to nobody: %s; %s\n", progress.Plural(unowed, "file"), unowedHint)
	return err
}

// deliveredText says how much of an hour was delivered to whom.
func deliveredText(h verify.Hour) string {
	var to []string
	for _, d := range h.Destinations {
		text := fmt.Sprintf("%s %d/%d", d.Destination[strings.IndexByte(d.Destination, '/')+1:], d.Delivered, d.Owed)
		var why []string
		if d.Parked > 0 {
			why = append(why, fmt.Sprintf("%d parked", d.Parked))
		}
		if d.GivenUp > 0 {
			why = append(why, fmt.Sprintf("%d given up", d.GivenUp))
		}
		if len(why) > 0 {
			text += " (" + strings.Join(why, ", ") + ")"
		}
		to = append(to, text)
	}
	if h.Unowed > 0 {
		to = append(to, progress.Count(h.Unowed)+" owed to nobody")
	}
	return strings.Join(to, ", ")
}

// unowedHint says why files are owed to nobody, which may be intended, and how to deliver them.
const unowedHint = "no destination was enabled for their source when they were sealed. " +
	"Where one should have been, deliver them: sealift replay --source SOURCE --destination WORKSPACE/NAME"

// partitionsText formats a list: "partition 3", "partitions 1, 2".
func partitionsText(numbers []string) string {
	if len(numbers) == 1 {
		return "partition " + numbers[0]
	}
	return "partitions " + strings.Join(numbers, ", ")
}
