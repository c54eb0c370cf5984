package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/migration"
)

// placeOf returns where a destination's files go, and with which role.
func placeOf(t catalog.Target) migration.Place {
	return migration.Place{Bucket: strings.TrimSuffix(t.Bucket, "/"), RoleARN: t.RoleARN} // with the slash it is the same place
}

// movePlan is a destination as it is and as it is to be.
type movePlan struct {
	from, to  migration.Place
	now, next catalog.Target
	workspace catalog.Workspace // as it is to be
}

// planMove makes the change in a copy of the stored catalog, and refuses what the catalog would
// refuse.
func planMove(a *app, stored *catalog.Snapshot, t catalog.Target, to migration.Place) (movePlan, error) {
	p := movePlan{from: placeOf(t), to: to, now: t}
	live := operator(a.cfg).NewLive()
	for _, w := range stored.Workspaces() {
		if w.ID == t.Workspace {
			changed := catalog.Stored(w)
			i := slices.IndexFunc(changed.Destinations, func(d catalog.Destination) bool { return d.Name == t.Name })
			changed.Destinations[i].Bucket, changed.Destinations[i].RoleARN = to.Bucket, to.RoleARN
			if err := validateChange(a, stored.Workspaces(), []catalog.Workspace{changed}); err != nil {
				return p, err
			}
			p.workspace, w = changed, changed
		}
		if err := live.Apply(w.ID, catalog.Encode(w)); err != nil {
			return p, err
		}
	}
	var ok bool
	if p.next, ok = live.Publish().Destination(t.ID); !ok {
		return p, fmt.Errorf("destination %s is not in the catalog any more", t.ID)
	}
	return p, nil
}

// testTarget returns the target with the test folder as its prefix. The folder is below
// segment-logs/, where the policies allow puts, and belongs to no source.
func (p movePlan) testTarget() catalog.Target {
	t := p.next
	t.Prefix = "segment-logs/" + catalog.ReservedSourceID
	if p.next.Prefix != "" {
		t.Prefix = p.next.Prefix + "/" + t.Prefix
	}
	t.Bucket = t.BucketName + "/" + t.Prefix
	return t
}

// changesPlace reports whether files go to another bucket or prefix, and not only by another role.
func (p movePlan) changesPlace() bool { return p.from.Bucket != p.to.Bucket }

// storeChange makes the change in the catalog, and checks that it stands. It starts from the
// catalog as it is now, because a person may have taken long to confirm.
func storeChange(ctx context.Context, a *app, s *services, p movePlan) error {
	t := &catalogTopic{s}
	stored, err := t.read(ctx)
	if err != nil {
		return err
	}
	now, ok := stored.Destination(p.next.ID)
	switch {
	case !ok:
		return fmt.Errorf("destination %s is not in the catalog any more", p.next.ID)
	case placeOf(now) == p.to:
		return nil
	case placeOf(now) != p.from:
		return fmt.Errorf("%w: it was %s, is to be %s, and is %s", migration.ErrChanged, p.from, p.to, placeOf(now))
	}
	if p, err = planMove(a, stored, now, p.to); err != nil {
		return err
	}
	if err := t.write(ctx, map[string][]byte{p.workspace.ID: catalog.Encode(p.workspace)}); err != nil {
		return err
	}
	if stored, err = t.read(ctx); err != nil {
		return err
	}
	switch now, ok = stored.Destination(p.next.ID); {
	case !ok || placeOf(now) != p.to:
		return fmt.Errorf("the catalog was changed by somebody else at the same time, and does not say %s: run it again", p.to)
	case now.RefusalReason != "":
		return fmt.Errorf("switched, but it collides with what was applied at the same time, which stands: %s", now.RefusalReason)
	}
	return nil
}
