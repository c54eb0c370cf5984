package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/sealift/sealift/pkg/progress"
)

func (s *destinationsStatus) print(out io.Writer) error {
	if len(s.Destinations) == 0 {
		text := "no destination"
		if s.leftOut > 0 {
			text = "no broken destination among " + progress.Count(s.leftOut)
		}
		_, err := fmt.Fprintln(out, text)
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "DESTINATION\tSTATE\tFILES\tRECORDS\tSIZE\tPENDING\tPARKED\tOLDEST OWED\tNEWEST DELIVERED\tREQUESTS\tCOST")
	for _, r := range s.Destinations {
		oldest, newest := "-", "-"
		if r.OldestOwedAge > 0 {
			oldest = formatAge(r.OldestOwedAge)
		}
		if !r.NewestDelivered.IsZero() {
			newest = formatAge(s.At.Sub(r.NewestDelivered).Seconds()) + " ago"
		}
		state := r.State
		if r.Failing && r.Undelivered().Files > 0 && (state == "enabled" || state == "") {
			state = "failing"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.ID, state, progress.Count(r.Delivered.Files), progress.Count(r.Delivered.Records),
			progress.Bytes(r.Delivered.Bytes), progress.Count(r.Pending.Files), progress.Count(r.Parked.Files), oldest, newest,
			progress.Count(r.Requests.Puts+r.Requests.AssumeRoles+r.Requests.DataKeys), formatDollars(r.Cost.Bucket))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, r := range s.Destinations {
		if err := s.printError(out, r); err != nil {
			return err
		}
	}
	return s.printFooter(out)
}

// printError says why a destination is broken, and what to do about it.
func (s *destinationsStatus) printError(out io.Writer, r destinationRow) error {
	if !r.broken() || r.LastError == nil {
		return nil
	}
	e := r.LastError
	head := r.ID
	if !e.Since.IsZero() {
		head += fmt.Sprintf("  since %s (%s ago)", e.Since.Format(time.RFC3339), formatAge(s.At.Sub(e.Since).Seconds()))
	}
	if e.At.After(e.Since) && !e.Since.IsZero() {
		head += fmt.Sprintf(", last tried %s ago", formatAge(s.At.Sub(e.At).Seconds()))
	}
	if !e.Retry.IsZero() {
		head += fmt.Sprintf(", next try in %s", formatAge(e.Retry.Sub(s.At).Seconds()))
	}
	_, err := fmt.Fprintf(out, "\n%s\n  cause  %s\n  fix    %s\n", head, e.Cause, e.Fix)
	return err
}

func (s *destinationsStatus) printFooter(out io.Writer) error {
	parked, givenUp, waits := int64(0), int64(0), false
	for _, r := range s.Destinations {
		parked += r.Parked.Files
		givenUp += r.GivenUp.Files
		waits = waits || r.broken() && r.LastError != nil && r.Pending.Files > 0
	}
	if waits {
		if _, err := fmt.Fprint(out, "\npending files are retried automatically; after a fix, sealift audit --force retries them at once.\nA destination that keeps failing gets them after its next try, which is shown above within a minute\n"); err != nil {
			return err
		}
	}
	if parked > 0 {
		if _, err := fmt.Fprintf(out, "\n%s parked: sealift parked shows the causes; when they are fixed, sealift redrive retries them\n", progress.Plural(parked, "file")); err != nil {
			return err
		}
	}
	if givenUp > 0 {
		if _, err := fmt.Fprintf(out, "\n%s given up, never delivered there (sealift redrive --skip): %s\n", progress.Plural(givenUp, "file"), s.givenUpText()); err != nil {
			return err
		}
	}
	if s.Since.IsZero() {
		return nil
	}
	_, err := fmt.Fprintf(out, "requests and cost (list prices) since %s\n", s.Since.Format(time.RFC3339))
	return err
}

// givenUpText lists how many files each destination will never get.
func (s *destinationsStatus) givenUpText() string {
	var parts []string
	for _, r := range s.Destinations {
		if r.GivenUp.Files > 0 {
			parts = append(parts, progress.Count(r.GivenUp.Files)+" of "+r.ID)
		}
	}
	return strings.Join(parts, ", ")
}

// formatDollars formats a cost for people.
func formatDollars(usd float64) string {
	switch {
	case usd == 0:
		return "-"
	case usd < 0.01:
		return "<$0.01"
	}
	return fmt.Sprintf("$%.2f", usd)
}
