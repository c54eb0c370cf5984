package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/shell"
)

func printCheckHeader(out io.Writer, t catalog.Target) {
	as := "as Sealift's principal"
	if t.RoleARN != "" {
		as = "as role " + t.RoleARN
	}
	fmt.Fprintf(out, "%s: s3://%s %s\n", t.ID, t.Bucket, as)
}

func printStep(out io.Writer, s destination.Step) {
	if s.Problem == nil {
		took := ""
		if s.Milliseconds > 0 {
			took = fmt.Sprintf(" (%d ms)", s.Milliseconds)
		}
		fmt.Fprintf(out, "  %-8s %-12s %s%s\n", s.Status, s.Name, s.Detail, took)
		return
	}
	fmt.Fprintf(out, "  %-8s %-12s (%d ms)\n", s.Status, s.Name, s.Milliseconds)
	printProblem(out, "    ", *s.Problem)
}

func printProblem(out io.Writer, indent string, v destination.Verdict) {
	fmt.Fprintf(out, "%scause  %s\n%sfix    %s\n", indent, v.Cause, indent, v.Fix)
	for _, s := range v.Statements {
		var pretty bytes.Buffer
		if json.Indent(&pretty, s.JSON, indent+"  ", "  ") == nil {
			fmt.Fprintf(out, "%sfor %s:\n%s  %s\n", indent, s.Where, indent, pretty.String())
		}
	}
	if len(v.Statements) > 0 { // else a role that was made just before looks as if its policy were wrong
		fmt.Fprintf(out, "%s(it takes AWS about a minute until a new role or policy has an effect)\n", indent)
	}
}

// printChecks prints what runChecks has not printed.
func printChecks(out io.Writer, endpoint string, results []checkResult) error {
	if len(results) == 1 {
		printConclusion(out, endpoint, results[0])
		return nil
	}
	passed := 0
	for _, r := range results {
		failed := false
		for _, s := range r.Steps {
			if s.Problem != nil {
				fmt.Fprintf(out, "%-8s %s: %s\n", s.Status, r.Destination, s.Name)
				printProblem(out, "  ", *s.Problem)
				failed = true
			}
		}
		if !failed {
			passed++
			fmt.Fprintf(out, "%-8s %s\n", destination.Passed, r.Destination)
		}
		printLeftovers(out, endpoint, r)
	}
	_, err := fmt.Fprintf(out, "%d of %s pass\n", passed, progress.Plural(int64(len(results)), "destination"))
	return err
}

// printConclusion says what one check has shown.
func printConclusion(out io.Writer, endpoint string, r checkResult) {
	for _, t := range r.Trials {
		fmt.Fprintf(out, "    tried  %s: %s\n", t.What, t.Outcome)
	}
	for _, list := range []struct {
		title string
		items []string
	}{{"proven", r.Proven}, {"not proven", r.Unproven}} {
		if len(list.items) > 0 {
			fmt.Fprintf(out, "%s:\n  - %s\n", list.title, strings.Join(list.items, "\n  - "))
		}
	}
	printLeftovers(out, endpoint, r)
}

// printLeftovers says what the check left in the bucket, and what remains to be done.
func printLeftovers(out io.Writer, endpoint string, r checkResult) {
	for _, s := range r.Stored {
		at := fmt.Sprintf("s3://%s/%s", s.Bucket, s.Key)
		fmt.Fprintf(out, "stored %s, which Sealift may not delete:\n  aws s3 rm%s %s\n", at, endpointFlag(r.target, endpoint), shell.QuoteIfNeeded(at))
	}
	if hint := parkedHint(r.Destination, r.Parked); hint != "" {
		fmt.Fprintln(out, hint)
	}
}

// parkedHint says how many files are parked for a destination, and how they are retried; "" if none
// is known of.
func parkedHint(id string, parked *int64) string {
	if parked == nil || *parked == 0 {
		return ""
	}
	more := ""
	if *parked >= 1000 {
		more = " or more"
	}
	return fmt.Sprintf("%s%s parked: sealift redrive --destination %s", progress.Plural(*parked, "file"), more, shell.QuoteIfNeeded(id))
}

// endpointFlag returns the AWS CLI's flag for a bucket that is not on AWS, or "".
func endpointFlag(t catalog.Target, endpoint string) string {
	if t.Endpoint != "" {
		endpoint = t.Endpoint
	}
	if endpoint == "" {
		return ""
	}
	return " --endpoint-url " + shell.QuoteIfNeeded(endpoint)
}
