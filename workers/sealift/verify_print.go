package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/verify"
)

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
	if err := printVerifiedDestinations(out, r.Destinations); err != nil {
		return err
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

// printVerifiedDestinations prints a row for each destination, and then what there is to say about
// some of their buckets.
func printVerifiedDestinations(out io.Writer, destinations []verify.Destination) error {
	n := progress.Count
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(destinations) > 0 {
		fmt.Fprintln(w, "DESTINATION\tOWED\tCLOSED\tPENDING\tPARKED\tOLDEST OWED\tBUCKET\tOBJECTS SEEN")
	}
	for _, d := range destinations {
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
	for _, d := range destinations {
		if d.Why != "" {
			fmt.Fprintf(out, "%s: %s: %s\n", d.ID, d.Bucket, d.Why)
		}
	}
	for _, d := range destinations {
		for _, f := range d.Former {
			fmt.Fprintf(out, "%s: not looked at: %s in its former bucket %s\n", d.ID, progress.Plural(f.Objects, "object"), quoteControls(f.Bucket))
		}
		if d.Past > 0 {
			fmt.Fprintf(out, "%s: %s that only a replay whose order has expired can account for\n", d.ID, progress.Plural(d.Past, "object"))
		}
	}
	return nil
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
