package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/auditor"
)

func newDestinationsStatusCommand(a *app) *cobra.Command {
	var (
		broken, asJSON bool
		failAfter      time.Duration
	)
	c := &cobra.Command{
		Use:   "status [NAME…]",
		Short: "Show what each destination got: delivered, pending, parked, freshness, last error, requests, cost",
		Long: `Show, for each destination, what was delivered, what is pending or parked, the age of the oldest record
owed and of the newest delivered, and why its last try failed and what to do about it. NAME may also be a
workspace, for all of its destinations. Without a name, all are shown.

Files, records and bytes come from the ledger and the receipts: they are exact, whatever was killed or
lost, and need neither Redis nor metrics. Data closed at the last audit is taken from the auditor's sums;
without them the whole ledger is read, with the same result.

A destination that begins to fail, fails for another reason, or works again is shown so within five
seconds. Requests are PUTs (refused and repeated ones included), AssumeRole calls, and S3's calls to KMS.
Copiers record them once a minute, so a killed copier may lose a minute's worth. Calls to KMS for buckets with a
bucket key, which are few, are not counted.
Costs are an estimate at list prices of us-east-1: ` + fmt.Sprintf("$%g per 1,000 PUTs, $%g per 1,000 reads of\nstaging, $%g per 10,000 keys of KMS; STS is free.",
			meter.PutPrice*1000, meter.GetPrice*1000, meter.DataKeyPrice*10_000) + ` PUTs and keys are billed to the bucket's account,
requests to staging (in --json) to yours.

A broken destination is not an error: the exit code is 0, or 3 if --fail-after is given and a file is parked
or a record has been owed for longer.`,
		Example: `  sealift destinations status
  sealift destinations status acme-prod --json
  sealift destinations status --broken --fail-after 3h    # for cron`,
		RunE: func(c *cobra.Command, args []string) error {
			if failAfter < 0 {
				return usageError("--fail-after must not be negative")
			}
			return withServices(a, false, func(s *services) error {
				r, err := readDestinations(c.Context(), a, s, args)
				if err != nil {
					return err
				}
				lateCount := r.countLate(failAfter)
				if broken {
					r.keepBroken()
				}
				if asJSON {
					err = a.printJSON(r)
				} else {
					err = r.print(a.stdout)
				}
				if c.Flags().Changed("fail-after") && lateCount > 0 && err == nil {
					return &exitError{exitPartial, fmt.Errorf("%s parked, or owed for longer than %s", progress.Plural(lateCount, "destination")+" with files that are", progress.Duration(failAfter))}
				}
				return err
			})
		},
	}
	f := c.Flags()
	f.BoolVar(&broken, "broken", false, "only those with parked files, or whose last try failed")
	f.DurationVar(&failAfter, "fail-after", 0, "exit with 3 if a file is parked, or a record has been owed for longer")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// destinationsStatus is the report, and its JSON form.
type destinationsStatus struct {
	At         time.Time `json:"at"`
	Partitions int       `json:"partitions"`
	// Walked is how many ledger entries were read because no audit had counted them.
	Walked int64 `json:"entries_walked"`
	// Since is when the first of the counted requests was made; zero if there is none.
	Since        time.Time        `json:"requests_since,omitzero"`
	Destinations []destinationRow `json:"destinations"`
	leftOut      int64            // by keepBroken
}

type destinationRow struct {
	auditor.DestinationStatus
	OldestOwedAge float64      `json:"oldest_owed_age_seconds"` // 0: nothing is owed
	Requests      meter.Counts `json:"requests"`
	Cost          meter.Cost   `json:"cost"`
	// LastError is the last try that failed. Failing says that none has succeeded since.
	LastError *lastError `json:"last_error,omitempty"`
	Failing   bool       `json:"failing"`
}

type lastError struct {
	Reason string    `json:"reason,omitempty"`
	Cause  string    `json:"cause"`
	Fix    string    `json:"fix"`
	Since  time.Time `json:"since,omitzero"` // the first failure since a success
	At     time.Time `json:"at,omitzero"`
	Retry  time.Time `json:"next_try_at,omitzero"` // if the destination's circuit breaker is open
}

// broken reports whether the destination needs attention.
func (r destinationRow) broken() bool {
	return r.Parked.Files > 0 || r.State == "refused" || r.Failing && r.Undelivered().Files > 0
}

// readDestinations reads the status of the named destinations, or of all if there are no names.
func readDestinations(ctx context.Context, a *app, s *services, names []string) (*destinationsStatus, error) {
	var known *catalog.Snapshot
	if live := tryReadCatalog(ctx, s); live != nil {
		known = live.Snapshot()
	}
	bar := progress.Start(a.stderr, "reading the ledger", 0, progress.Count)
	defer bar.Finish()
	cfg := auditor.StatusConfig{Topic: s.cfg.Kafka.EventsTopic, OnFound: bar.Grow, OnDone: bar.Add}
	read := func() (*auditor.Status, error) { return auditor.ReadStatus(ctx, cfg, s.staging, known) }
	var status *auditor.Status
	var err error
	if picked, ok := resolveNames(known, names); ok {
		cfg.Destinations = picked
		status, err = read()
	} else if status, err = read(); err == nil { // a destination that the catalog no longer has may still be owed files
		err = keepNamed(status, names)
	}
	if err != nil {
		return nil, err
	}
	out := &destinationsStatus{At: status.At, Partitions: status.Partitions, Walked: status.Walked, Destinations: make([]destinationRow, len(status.Destinations))}
	accounts, since, err := meter.Read(ctx, s.staging)
	if err != nil {
		a.log.WarnContext(ctx, "continuing without requests, costs and last errors", "err", err)
	}
	out.Since = since
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(16)
	for i, d := range status.Destinations {
		group.Go(func() (err error) {
			out.Destinations[i], err = newDestinationRow(gctx, s.staging, known, status.At, d, accounts[d.ID])
			return err
		})
	}
	return out, group.Wait()
}

// resolveNames returns the ids that names stand for, and whether the catalog has all of them.
// Without names, it returns none and true.
func resolveNames(known *catalog.Snapshot, names []string) (ids []string, ok bool) {
	if known == nil || len(names) == 0 {
		return nil, len(names) == 0
	}
	targets, err := selectDestinations(known.Destinations(), names)
	for _, t := range targets {
		ids = append(ids, t.ID)
	}
	return ids, err == nil
}

// keepNamed drops the destinations that names do not stand for.
func keepNamed(s *auditor.Status, names []string) error {
	all := make([]catalog.Target, len(s.Destinations))
	for i, d := range s.Destinations {
		workspace, name, _ := strings.Cut(d.ID, "/")
		all[i] = catalog.Target{ID: d.ID, Workspace: workspace, Destination: catalog.Destination{Name: name}}
	}
	picked, err := selectDestinations(all, names)
	if err != nil {
		return err
	}
	want := map[string]bool{}
	for _, t := range picked {
		want[t.ID] = true
	}
	kept := s.Destinations[:0]
	for _, d := range s.Destinations {
		if want[d.ID] {
			kept = append(kept, d)
		}
	}
	s.Destinations = kept
	return nil
}

func newDestinationRow(ctx context.Context, staging objstore.Store, known *catalog.Snapshot, now time.Time,
	d auditor.DestinationStatus, a meter.Account) (destinationRow, error) {
	r := destinationRow{DestinationStatus: d, Requests: a.Counts, Cost: a.Cost(), Failing: a.Failing()}
	if !d.OldestOwed.IsZero() {
		r.OldestOwedAge = max(0, now.Sub(d.OldestOwed).Seconds())
	}
	if t := a.Trouble; t != nil {
		r.LastError = &lastError{Reason: t.Reason, Cause: t.Cause, Fix: t.Fix, Since: fromMillis(t.Since), At: fromMillis(t.At)}
		if a.Failing() && t.Until > now.UnixMilli() {
			r.LastError.Retry = fromMillis(t.Until)
		}
	}
	if d.ParkedNote != "" {
		p, err := job.ReadNote(ctx, staging, d.ParkedNote, d.ParkedAt)
		redriven := errors.Is(err, objstore.ErrNotFound)
		if err != nil && !redriven {
			return r, err
		}
		if !redriven && (r.LastError == nil || p.Reason != delivery.ReasonUnreadable && p.At >= r.LastError.At.UnixMilli()) {
			last := p.At
			if a.Failing() { // if a destination is known not to work, files may be parked without a try
				last = a.Trouble.At
			}
			r.LastError, r.Failing = &lastError{Reason: p.Reason, Cause: p.Cause, Fix: p.Fix, Since: fromMillis(p.Since), At: fromMillis(last)}, true
		}
	}
	if known == nil {
		return r, nil
	}
	if t, ok := known.Destination(d.ID); ok && t.RefusalReason != "" {
		r.LastError = &lastError{Reason: delivery.ReasonRefused, Cause: "the catalog is wrong: " + t.RefusalReason, Fix: "correct the catalog and apply it"}
	}
	return r, nil
}

func fromMillis(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// countLate returns how many destinations have parked files, or have been owed a record for longer
// than limit.
func (s *destinationsStatus) countLate(limit time.Duration) (n int64) {
	for _, r := range s.Destinations {
		if r.Parked.Files > 0 || r.OldestOwedAge > limit.Seconds() {
			n++
		}
	}
	return n
}

func (s *destinationsStatus) keepBroken() {
	kept := s.Destinations[:0]
	for _, r := range s.Destinations {
		if r.broken() {
			kept = append(kept, r)
		}
	}
	s.leftOut = int64(len(s.Destinations) - len(kept))
	s.Destinations = kept
}
