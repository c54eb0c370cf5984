package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/netguard"
	"github.com/sealift/sealift/pkg/progress"
)

func newCatalogApplyCommand(a *app) *cobra.Command {
	var files catalogFiles
	c := &cobra.Command{
		Use:   "apply -f FILE…",
		Short: "Apply documents, and show what changed",
		Long: `Make the workspaces exactly what their documents say, and show what changed. Other workspaces stay as they
are; to remove one: sealift catalog delete. Nothing is written unless the whole catalog is valid afterwards.

Files that are sealed while a destination is disabled ("enabled: false") or removed are not owed to it. To stop
deliveries for a while and have those files afterwards, order a replay when it is enabled again.`,
		Example: "  sealift catalog apply -f acme.yaml -f globex.yaml\n  sealift catalog get | sed s/old-bucket/new-bucket/ | sealift catalog apply -f -",
		RunE: func(c *cobra.Command, args []string) error {
			return withCatalogPlan(c.Context(), a, &files, args, true, func(t *catalogTopic, p catalogPlan) error {
				return p.apply(c.Context(), a, t)
			})
		},
	}
	files.addFlag(c.Flags())
	return c
}

func newCatalogDiffCommand(a *app) *cobra.Command {
	var files catalogFiles
	var asJSON, exitCode bool
	c := &cobra.Command{
		Use:   "diff -f FILE…",
		Short: "Show what apply would change",
		Long: `Show what apply would change, and refuse what it would refuse, without writing anything.

Differences are not an error: the exit code is 0, or 3 if --exit-code is given. 1 means that it failed.`,
		Example: "  sealift catalog diff -f acme.yaml\n  sealift catalog diff -f acme.yaml --exit-code    # for CI",
		RunE: func(c *cobra.Command, args []string) error {
			return withCatalogPlan(c.Context(), a, &files, args, false, func(_ *catalogTopic, p catalogPlan) error {
				var err error
				if asJSON {
					err = a.printJSON(append([]catalog.Change{}, p.changes...)) // [], not null
				} else {
					err = p.print(a)
				}
				if n := int64(len(p.changes)); exitCode && n > 0 && err == nil {
					return partialError("the applied catalog differs: " + progress.Plural(n, "change"))
				}
				return err
			})
		},
	}
	files.addFlag(c.Flags())
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	c.Flags().BoolVar(&exitCode, "exit-code", false, "exit with 3 if there are differences")
	return c
}

func newCatalogDeleteCommand(a *app) *cobra.Command {
	var yes bool
	c := &cobra.Command{
		Use:   "delete WORKSPACE…",
		Short: "Remove workspaces",
		Long: `Remove workspaces. From then on events to their sources are refused. Files that are in the ledger and not yet
delivered are parked, and delivered if the workspace comes back. Events that are in no file yet, those of the
current hour, will be owed to nobody once they are sealed. To deliver them too, first remove the write keys, and
remove the workspace when "sealift completeness" shows that hour as complete. Delivered files stay where they are.
On a terminal it asks first.`,
		Example: "  sealift catalog get ws_7Qm2Zc9LkTRpV4xWnBsD0a > backup.yaml\n  sealift catalog delete ws_7Qm2Zc9LkTRpV4xWnBsD0a",
		Args:    requireArgs("name a WORKSPACE; `sealift catalog get` lists them", math.MaxInt),
		RunE: func(c *cobra.Command, args []string) error {
			return withCatalog(c.Context(), a, false, func(t *catalogTopic, stored *catalog.Snapshot) error {
				deleted, err := pickWorkspaces(stored.Workspaces(), args)
				if err != nil {
					return err
				}
				tombstones := map[string][]byte{}
				for _, w := range deleted {
					tombstones[w.ID] = nil
				}
				if !yes {
					question := fmt.Sprintf("Remove %s? Events to its sources are refused from then on.", strings.Join(slices.Sorted(maps.Keys(tombstones)), ", "))
					if err := a.confirm(c.Context(), question, "nothing is removed"); err != nil {
						return err
					}
				}
				p := catalogPlan{changes: catalog.Diff(deleted, nil), values: tombstones}
				if err := t.write(c.Context(), p.values); err != nil {
					return err
				}
				if err := p.print(a); err != nil {
					return err
				}
				if _, err := fmt.Fprintf(a.stdout, "deleted %s\n", progress.Plural(int64(len(deleted)), "workspace")); err != nil {
					return err
				}
				_, err = p.readBack(c.Context(), t, "deleted")
				return err
			})
		},
	}
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return c
}

// catalogPlan is what applying documents does to the stored catalog.
type catalogPlan struct {
	changes   []catalog.Change
	values    map[string][]byte // records to write
	unchanged int
}

// withCatalogPlan reads documents and the stored catalog, and calls do with the changes. It refuses
// documents that conflict with other workspaces.
func withCatalogPlan(ctx context.Context, a *app, files *catalogFiles, args []string, create bool, do func(*catalogTopic, catalogPlan) error) error {
	docs, err := files.read(ctx, a, args)
	if err != nil {
		return err
	}
	return withCatalog(ctx, a, create, func(t *catalogTopic, stored *catalog.Snapshot) error {
		if err := validateChange(a, stored.Workspaces(), docs); err != nil {
			return err
		}
		if err := warnOfEndpoints(a, docs); err != nil {
			return err
		}
		warnOfRegions(a, docs)
		warnOfFolders(a, docs)
		warnOfMoves(a, stored.Workspaces(), docs)
		return do(t, newCatalogPlan(stored.Workspaces(), docs))
	})
}

// validateChange validates the catalog as it would be after the change. Problems of other
// workspaces among themselves, which may have been stored under earlier rules, are logged; they are
// no reason to refuse valid documents.
func validateChange(a *app, stored, docs []catalog.Workspace) error {
	ours := map[string]bool{}
	for _, d := range docs {
		ours[d.ID] = true
	}
	var after []catalog.Workspace
	for _, w := range stored {
		if !ours[w.ID] {
			after = append(after, w)
		}
	}
	var invalid *catalog.Error
	if !errors.As(operator(a.cfg).Validate(append(after, docs...)), &invalid) {
		return nil
	}
	var refused catalog.Error
	for _, p := range invalid.Problems {
		if ours[p.Workspace] {
			refused.Problems = append(refused.Problems, p)
		} else {
			a.log.Warn("the stored catalog has a problem", "problem", p.String())
		}
	}
	if len(refused.Problems) == 0 {
		return nil
	}
	return fmt.Errorf("nothing was applied: %w", &refused)
}

// warnOfEndpoints warns of each endpoint that copiers would refuse to connect to. It is only a
// warning, because copiers may run with another configuration than this command.
func warnOfEndpoints(a *app, docs []catalog.Workspace) error {
	allowed, err := netguard.ParseAllowed(a.cfg.Destinations.AllowedEndpoints)
	if err != nil {
		return err
	}
	warned := map[string]bool{"": true} // the operator's choice, or AWS
	for _, w := range docs {
		for _, d := range w.Destinations {
			if warned[d.Endpoint] {
				continue
			}
			warned[d.Endpoint] = true
			if err := allowed.Check(d.Endpoint); err != nil {
				a.log.Warn("copiers with this configuration will not connect to the destination", "destination", w.ID+"/"+d.Name, "err", err)
			}
		}
	}
	return nil
}

// awsRegion matches the names of AWS's regions, and will match those to come.
var awsRegion = regexp.MustCompile(`^[a-z]+(-[a-z]+)*-(north|south|central|(north|south)?(east|west))-[0-9]+$`)

// warnOfRegions warns of regions that AWS cannot have. Files would find the way from another region
// to the bucket's, but there is no host to ask in one that does not exist. It is only a warning,
// because copiers may run with a destinations.endpoint that this command does not know.
func warnOfRegions(a *app, docs []catalog.Workspace) {
	if a.cfg.Destinations.Endpoint != "" {
		return
	}
	for _, w := range docs {
		for _, d := range w.Destinations {
			if d.Endpoint == "" && d.Region != "" && !awsRegion.MatchString(d.Region) {
				a.log.Warn("AWS has no such region: correct it, or leave it out to have it inferred", "destination", w.ID+"/"+d.Name, "region", d.Region)
			}
		}
	}
}

// warnOfFolders warns of prefixes that end in the folder that is added to each of them. It is only a
// warning, because files may be meant to be there.
func warnOfFolders(a *app, docs []catalog.Workspace) {
	for _, w := range docs {
		for _, d := range w.Destinations {
			if _, prefix := catalog.SplitBucket(d.Bucket); path.Base(prefix) == "segment-logs" {
				a.log.Warn("files will be in segment-logs/segment-logs/: leave segment-logs out of bucket, since it is added", "destination", w.ID+"/"+d.Name, "bucket", d.Bucket)
			}
		}
	}
}

// warnOfMoves warns of each source that moves to another workspace. Of what it sent before, only
// what is already in the ledger stays with the former workspace.
func warnOfMoves(a *app, stored, docs []catalog.Workspace) {
	workspaceOf := map[string]string{} // source id -> workspace id
	for _, w := range stored {
		for _, src := range w.Sources {
			workspaceOf[src.ID] = w.ID
		}
	}
	for _, w := range docs {
		for _, src := range w.Sources {
			if former := workspaceOf[src.ID]; former != "" && former != w.ID {
				a.log.Warn("the source moves to another workspace: what it sent and is in no file yet goes to that one's destinations; what is in the ledger still goes to its former ones, or is parked if they are removed",
					"source", src.ID, "from", former, "to", w.ID)
			}
		}
	}
}

func newCatalogPlan(stored, docs []catalog.Workspace) catalogPlan {
	p := catalogPlan{values: map[string][]byte{}}
	known := map[string]catalog.Workspace{}
	for _, w := range stored {
		known[w.ID] = w
	}
	var before []catalog.Workspace
	for _, d := range docs {
		value := catalog.Encode(d)
		if w, ok := known[d.ID]; ok {
			before = append(before, w)
			if bytes.Equal(value, catalog.Encode(w)) {
				p.unchanged++
				continue
			}
		}
		p.values[d.ID] = value
	}
	p.changes = catalog.Diff(before, docs)
	return p
}

func (p catalogPlan) apply(ctx context.Context, a *app, t *catalogTopic) error {
	if len(p.values) > 0 {
		if err := t.write(ctx, p.values); err != nil {
			return err
		}
	}
	if err := p.print(a); err != nil {
		return err
	}
	if _, err := fmt.Fprintf(a.stdout, "applied %s, %d unchanged\n", progress.Plural(int64(len(p.values)), "workspace"), p.unchanged); err != nil || len(p.values) == 0 {
		return err
	}
	if p.enables() {
		if _, err := fmt.Fprintln(a.stdout, "files that were parked while a destination was disabled are retried: by the auditor within a minute, or now with: sealift audit\n"+
			"files that were sealed while it was disabled are not owed to it; to deliver them: sealift replay --source SOURCE --destination WORKSPACE/NAME"); err != nil {
			return err
		}
	}
	now, err := p.readBack(ctx, t, "applied")
	if err != nil {
		return err
	}
	var invalid *catalog.Error
	if errors.As(now.Problems(), &invalid) {
		for _, problem := range invalid.Problems {
			if _, ours := p.values[problem.Workspace]; ours {
				return fmt.Errorf("applied, but it collides with what was applied at the same time, which stands: %s", problem)
			}
		}
	}
	return nil
}

// readBack returns the catalog after the change. It is an error if the change does not stand:
// another command may have read the workspace before our write, and written it afterwards.
func (p catalogPlan) readBack(ctx context.Context, t *catalogTopic, done string) (*catalog.Snapshot, error) {
	now, err := t.read(ctx)
	if err != nil {
		return nil, err
	}
	if changed := notStored(now, p.values); len(changed) > 0 {
		return nil, fmt.Errorf("%s, but somebody else changed %s at the same time, and that stands: see `sealift catalog get`, and repeat the command", done, strings.Join(changed, ", "))
	}
	return now, nil
}

// reducesDeliveries reports whether a destination gets less from now on: it is disabled or removed,
// or loses a source.
func (p catalogPlan) reducesDeliveries() bool {
	return slices.ContainsFunc(p.changes, func(c catalog.Change) bool {
		switch {
		case !strings.HasPrefix(c.Object, "destination "):
			return false
		case c.Kind == catalog.Changed && c.Field == "sources":
			left := strings.Split(c.New, ",")
			return slices.ContainsFunc(strings.Split(c.Old, ","), func(source string) bool { return !slices.Contains(left, source) })
		}
		return c.Kind == catalog.Removed || c.Kind == catalog.Changed && c.Field == "enabled" && c.New == "false"
	})
}

// enables reports whether a destination that was disabled is to be enabled.
func (p catalogPlan) enables() bool {
	return slices.ContainsFunc(p.changes, func(c catalog.Change) bool {
		return c.Kind == catalog.Changed && c.Field == "enabled" && c.New == "true"
	})
}

func (p catalogPlan) print(a *app) error {
	if len(p.changes) == 0 {
		_, err := fmt.Fprintln(a.stdout, "no changes")
		return err
	}
	for _, c := range p.changes {
		if _, err := fmt.Fprintln(a.stdout, c); err != nil {
			return err
		}
	}
	if !p.reducesDeliveries() {
		return nil
	}
	if _, err := fmt.Fprintln(a.stdout, "note: files sealed while a destination is disabled, removed or not subscribed to their source are not owed to it, and to nobody if no other "+
		"destination takes them; once it is back, deliver them: sealift replay --source SOURCE --destination WORKSPACE/NAME"); err != nil {
		return err
	}
	for _, c := range p.changes {
		id, isDestination := c.Destination()
		if c.Kind != catalog.Removed || !isDestination {
			continue
		}
		if _, err := fmt.Fprintf(a.stdout, "files not yet delivered to %s are parked: apply it again to deliver them; to give them up: sealift redrive --destination %s --skip\n", id, id); err != nil {
			return err
		}
	}
	return nil
}
