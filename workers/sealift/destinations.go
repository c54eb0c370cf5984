package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/spelling"
)

func newDestinationsCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "destinations",
		GroupID: groupCatalog,
		Short:   "Set up customers' buckets, check them, and watch deliveries",
		Long: `What customers and operators do about a destination: print the policies to attach, try the real delivery,
move it from a bucket policy to a role, and watch its deliveries. NAME is a destination's id, WORKSPACE/NAME,
or its name alone if no other destination has it.`,
		Example: "  sealift destinations policy acme-prod --format terraform\n  sealift destinations check acme-prod\n  sealift destinations status",
	}
	c.AddCommand(newDestinationsCheckCommand(a), newDestinationsMigrateCommand(a), newDestinationsPolicyCommand(a), newDestinationsStatusCommand(a))
	return c
}

// readStoredCatalog reads the applied catalog.
func readStoredCatalog(ctx context.Context, s *services) (*catalog.Snapshot, error) {
	t := &catalogTopic{s}
	if err := t.prepare(ctx, false); err != nil {
		return nil, err
	}
	return t.read(ctx)
}

// selectDestinations returns the destinations that names stand for, each once. A name is
// WORKSPACE/NAME, NAME if no other workspace has it, or WORKSPACE for all of its destinations.
func selectDestinations(all []catalog.Target, names []string) ([]catalog.Target, error) {
	var out []catalog.Target
	for _, name := range names {
		found, workspace := matchDestinations(all, name)
		switch {
		case len(found) == 0:
			return nil, unknownDestinationError(all, name)
		case len(found) > 1 && !workspace:
			return nil, fmt.Errorf("%d workspaces have a destination %q: name one, like %s", len(found), name, found[0].ID)
		}
		for _, t := range found {
			if !slices.ContainsFunc(out, func(o catalog.Target) bool { return o.ID == t.ID }) {
				out = append(out, t)
			}
		}
	}
	return out, nil
}

// matchDestinations returns the destinations that a name may stand for, and whether it is that of a
// workspace.
func matchDestinations(all []catalog.Target, name string) (found []catalog.Target, workspace bool) {
	for _, t := range all {
		if t.ID == name || t.Name == name || t.Workspace == name {
			found = append(found, t)
			workspace = workspace || t.Workspace == name
		}
	}
	return found, workspace
}

// expandName returns the id of the destination with that name. It returns anything else as it is:
// an id, a workspace, or a name that the catalog does not have. A name that several workspaces have
// is an error.
func expandName(s *catalog.Snapshot, name string) (string, error) {
	if name == "" || strings.Contains(name, "/") {
		return name, nil
	}
	switch found, workspace := matchDestinations(s.Destinations(), name); {
	case workspace || len(found) == 0:
		return name, nil
	case len(found) > 1:
		return "", usageError(fmt.Sprintf("--destination %q: %d workspaces have one of this name; name one, like %s", name, len(found), found[0].ID))
	default:
		return found[0].ID, nil
	}
}

// destinationID is expandName, but a name that stands for no destination is an error.
func destinationID(s *catalog.Snapshot, name string) (string, error) {
	id, err := expandName(s, name)
	if err == nil && !strings.Contains(id, "/") {
		err = unknownNameError(name)
	}
	return id, err
}

// expandStoredName is expandName with the applied catalog. If that cannot be read, it returns the
// name as it is.
func expandStoredName(ctx context.Context, s *services, name string) (string, error) {
	if name == "" || strings.Contains(name, "/") {
		return name, nil
	}
	live := tryReadCatalog(ctx, s)
	if live == nil {
		return name, nil
	}
	return expandName(live.Snapshot(), name)
}

// unknownNameError is the error for a name without a workspace that no destination has.
func unknownNameError(name string) error {
	return usageError(fmt.Sprintf("--destination %q: no destination of this name is known; use WORKSPACE/NAME", name))
}

func unknownDestinationError(all []catalog.Target, name string) error {
	var known []string
	for _, t := range all {
		if strings.Contains(name, "/") {
			known = append(known, t.ID)
		} else {
			known = append(known, t.Name)
		}
	}
	hint := "`sealift catalog get` lists them"
	if near := spelling.Suggest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if slices.Sort(known); len(known) > 0 && len(known) <= 5 {
		hint = "it has " + strings.Join(slices.Compact(known), ", ")
	}
	return fmt.Errorf("the catalog has no destination %q; %s", name, hint)
}
