package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/netguard"
	"github.com/sealift/sealift/pkg/progress"
)

// checkFlags are the flags of `sealift destinations check`.
type checkFlags struct {
	files      catalogFiles
	all        bool
	sources    []string
	allSources bool
	write      bool
	timeout    time.Duration
	asJSON     bool
}

// defaultSourceTrials is how many source folders are tried by default.
const defaultSourceTrials = 20

// parallelChecks is how many destinations are checked at once.
const parallelChecks = 8

func newDestinationsCheckCommand(a *app) *cobra.Command {
	var o checkFlags
	c := &cobra.Command{
		Use:   "check [NAME…]",
		Short: "Try a delivery without storing anything, and name the cause and the fix of each failure",
		Long: `Try a delivery with the code that delivers: assume the role, see that it is refused without the ExternalId
and with a wrong one, find the bucket's region, and PUT with the real headers to the real prefix. The check
needs no permission that a delivery does not need. Each failure ends with its cause and the exact change to
make. A denied PUT is repeated with one header changed at a time, to find which one is at fault. NAME may also
be a workspace, for all of its destinations.

Nothing is stored: the PUT carries a wrong checksum, so S3 authorizes it by its headers and then rejects the
body. What S3 checks only when it stores, such as the KMS key of the bucket's default encryption, is not
proven. --write stores a real object: one line, about 300 bytes, in segment-logs/sealift-check/, which belongs
to no source. Sealift may not delete it; the command prints how you can.`,
		Example: `  sealift destinations check acme-prod
  sealift destinations check ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod --write
  sealift destinations check -f acme.yaml     # before it is applied
  sealift destinations check --all --json`,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 0 && !o.all && len(o.files.names) == 0 {
				return usageError("name a destination or a workspace, or --all")
			}
			if len(args) > 0 && o.all {
				return usageError("name destinations, or --all, and not both")
			}
			if len(o.sources) > 0 && o.allSources {
				return usageError("name sources, or --all-sources, and not both")
			}
			if o.timeout <= 0 {
				return usageError("--timeout: want more than 0")
			}
			return checkDestinations(c.Context(), a, o, args)
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.files.names, "file", "f", nil, "check the destinations of this document instead of the applied ones, - for stdin; repeatable")
	f.BoolVar(&o.all, "all", false, "check all destinations")
	f.StringSliceVar(&o.sources, "source", nil, "try only the folders of these sources")
	f.BoolVar(&o.allSources, "all-sources", false, fmt.Sprintf("try the folder of every source, even if there are more than %d", defaultSourceTrials))
	f.BoolVar(&o.write, "write", false, "store a small object, which proves the rest; Sealift may not delete it")
	a.bindEndpoint(f)
	f.DurationVar(&o.timeout, "timeout", time.Minute, "how long to try each destination")
	f.BoolVar(&o.asJSON, "json", false, "print as JSON")
	return c
}

// checkResult is the result of one destination.
type checkResult struct {
	destination.Report
	target catalog.Target
	// Parked is how many files are parked for the destination; nil if that was not looked up or is
	// unknown.
	Parked *int64 `json:"parked,omitempty"`
}

func checkDestinations(ctx context.Context, a *app, o checkFlags, names []string) error {
	return withConnections(a, false, func(s *services) error {
		targets, err := targetsToCheck(ctx, a, s, o, names)
		if err != nil {
			return err
		}
		results, err := runChecks(ctx, a, s, o, targets)
		if err != nil {
			return err
		}
		if o.asJSON {
			err = a.printJSON(results)
		} else {
			err = printChecks(a.stdout, a.cfg.Destinations.Endpoint, results)
		}
		return errors.Join(err, failedChecksError(results))
	})
}

// targetsToCheck returns the destinations that the command line selects.
func targetsToCheck(ctx context.Context, a *app, s *services, o checkFlags, names []string) ([]catalog.Target, error) {
	var snapshot *catalog.Snapshot
	if len(o.files.names) > 0 {
		workspaces, err := o.files.read(ctx, a, nil)
		if err != nil {
			return nil, err
		}
		if snapshot, err = operator(a.cfg).NewSnapshot(workspaces); err != nil {
			return nil, err
		}
	} else {
		var err error
		if snapshot, err = readStoredCatalog(ctx, s); err != nil {
			return nil, err
		}
	}
	for _, name := range names {
		if found, _ := matchDestinations(snapshot.Destinations(), name); len(found) == 0 && len(o.files.names) == 0 {
			return nil, fmt.Errorf("%w; if it is not applied yet, name its document with -f", unknownDestinationError(snapshot.Destinations(), name))
		}
	}
	if len(names) > 0 {
		return selectDestinations(snapshot.Destinations(), names)
	}
	all := snapshot.Destinations()
	switch {
	case len(all) == 0 && len(o.files.names) > 0:
		return nil, fmt.Errorf("%s has no destination: uncomment `destinations` and fill it in", strings.Join(o.files.names, ", "))
	case len(all) == 0:
		return nil, errors.New("the catalog has no destination; `sealift catalog new` makes a document")
	}
	return all, nil
}

// runChecks checks all targets. If there is only one, it prints the steps as they happen, but not
// with --json.
func runChecks(ctx context.Context, a *app, s *services, o checkFlags, targets []catalog.Target) ([]checkResult, error) {
	checker := s.checker()
	results := make([]checkResult, len(targets))
	options := make([]destination.Options, len(targets))
	for i, t := range targets {
		sources, err := sourcesToTry(t, o)
		if err != nil {
			return nil, err
		}
		options[i] = destination.Options{Sources: sources, Write: o.write}
		results[i].target = t
	}
	if len(targets) == 1 && !o.asJSON {
		printCheckHeader(a.stdout, targets[0])
		options[0].OnStep = func(s destination.Step) { printStep(a.stdout, s) }
	}
	bar := progress.Start(a.stderr, "checking", int64(len(targets)), progress.Count)
	job.InParallel(len(targets), parallelChecks, func(i int) error {
		tctx, cancel := context.WithTimeout(ctx, o.timeout)
		defer cancel()
		results[i].Report = checker.Check(tctx, targets[i], options[i])
		if results[i].OK && len(o.files.names) == 0 {
			results[i].Parked = countParked(tctx, s, targets[i].ID)
		}
		bar.Add(1)
		return nil
	})
	bar.Finish()
	return results, context.Cause(ctx)
}

// checker returns what tries deliveries as copiers make them.
func (s *services) checker() *destination.Checker {
	return &destination.Checker{
		STS: s.roles, NoExternalID: !s.cfg.STS.VerifyTrust, Principal: s.cfg.Destinations.Principal, Putter: s.putter(),
		Guard: func(endpoint string) error { return netguard.Check(endpoint, s.cfg.Destinations.AllowedEndpoints) },
	}
}

func (s *services) putter() *destination.Putter {
	return destination.NewPutter(destination.Config{Roles: s.roles, Open: s.openBucket})
}

// sourcesToTry returns the sources whose folders are tried.
func sourcesToTry(t catalog.Target, o checkFlags) ([]string, error) {
	for _, s := range o.sources {
		if !slices.Contains(t.Sources, s) {
			return nil, fmt.Errorf("--source: destination %s has no source %q", t.ID, s)
		}
	}
	switch {
	case len(o.sources) > 0:
		return o.sources, nil
	case o.allSources || len(t.Sources) <= defaultSourceTrials:
		return t.Sources, nil
	}
	return t.Sources[:defaultSourceTrials], nil
}

// countParked counts the files that are parked for a destination, up to 1,000. It returns nil if
// they cannot be listed.
func countParked(ctx context.Context, s *services, id string) *int64 {
	parked, err := s.staging.List(ctx, delivery.ParkedPrefix(id), "", 0)
	if err != nil {
		s.log.WarnContext(ctx, "whether files are parked is not known", "destination", id, "err", err)
		return nil
	}
	n := int64(len(parked))
	return &n
}

// failedChecksError returns the error that the command ends with.
func failedChecksError(results []checkResult) error {
	failed := 0
	for _, r := range results {
		if !r.OK {
			failed++
		}
	}
	switch {
	case failed == 0:
		return nil
	case len(results) == 1:
		return fmt.Errorf("cannot deliver to destination %s", results[0].Destination)
	case failed == len(results):
		return fmt.Errorf("cannot deliver to any of %d destinations", failed)
	}
	return partialError(fmt.Sprintf("cannot deliver to %d of %d destinations", failed, len(results)))
}
