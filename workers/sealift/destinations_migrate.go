package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/migration"
)

// migrateFlags are the flags of `sealift destinations migrate`.
type migrateFlags struct {
	role, bucket string
	dryRun, yes  bool
	abort, print bool
	wait         time.Duration
}

func newDestinationsMigrateCommand(a *app) *cobra.Command {
	var o migrateFlags
	c := &cobra.Command{
		Use:   "migrate NAME",
		Short: "Move a destination to a role, or to another bucket, without a gap and without duplicates",
		Long: `Move a destination from Sealift's principal to a role, or to another bucket or prefix, step by step:

  1. policies   what the customer has to attach
  2. check      the real delivery the new way, without storing anything
  3. test       a file of the destination is put below segment-logs/sealift-check/ the new way
  4. switch     one record of the catalog; the destination keeps its id, its debts and its receipts
  5. confirm    files arrive the new way, and no copier works the old way any more
  6. clean up   what the customer may remove now: Sealift has no permission to

Nothing is delivered twice to one bucket: keys stay the same, so a copier with an old catalog finds the file
already there. Nothing is lost: either way delivers what is owed. A new bucket receives what was undelivered at
the switch and everything after it; the command prints how to copy what came before. If only the prefix
changes, a copier that dies between a file and its receipt within seconds of the switch leaves that file at
both prefixes.

The command asks before it stores or changes anything; --yes answers. After an interruption, run the same
command again, on any machine; if two people run it, one is told. --abort reverts the migration, before or
after the switch. The catalog is declarative: make the change in your document too, or the next apply reverts
it. With --print the changed document is printed instead of applied: apply it, then run the command again.`,
		Example: `  sealift destinations migrate acme-prod --role-arn arn:aws:iam::123456789012:role/segment-logs --dry-run
  sealift destinations migrate acme-prod --role-arn arn:aws:iam::123456789012:role/segment-logs
  sealift destinations migrate acme-prod --bucket acme-logs-eu/raw
  sealift destinations migrate acme-prod --abort`,
		Args: requireArgs("name a destination; `sealift catalog get` lists them", 1),
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case o.abort && (o.role != "" || o.bucket != "" || o.dryRun || o.print):
				return usageError("--abort reverts what is under way; leave the other flags out")
			case o.dryRun && o.print:
				return usageError("--dry-run or --print")
			case o.wait < 0:
				return usageError("--wait: want 0s or more")
			}
			o.bucket = strings.TrimSuffix(o.bucket, "/")
			return runMigration(c.Context(), a, o, args[0])
		},
	}
	f := c.Flags()
	f.StringVar(&o.role, "role-arn", "", "role to deliver with")
	f.StringVar(&o.bucket, "bucket", "", "bucket to deliver to, with an optional key prefix: NAME/path/prefix")
	f.BoolVar(&o.dryRun, "dry-run", false, "only print the policies and check")
	f.BoolVarP(&o.yes, "yes", "y", false, "do not ask")
	f.BoolVar(&o.abort, "abort", false, "revert the migration")
	f.BoolVar(&o.print, "print", false, "print the changed document instead of applying it")
	f.DurationVar(&o.wait, "wait", 30*time.Second, "how long to wait for the first file")
	a.bindEndpoint(f)
	return c
}

// mover moves one destination.
type mover struct {
	a   *app
	s   *services
	o   migrateFlags
	out io.Writer
	in  *bufio.Reader

	log          *migration.Log
	plan         movePlan
	principalARN string // ARN of Sealift's principal, once it is known
}

func runMigration(ctx context.Context, a *app, o migrateFlags, name string) error {
	return withServices(a, false, func(s *services) error {
		m := &mover{a: a, s: s, o: o, out: a.stdout, in: bufio.NewReader(a.stdin)}
		if o.print {
			m.out = a.stderr // stdout is for the document alone
		}
		return m.run(ctx, name)
	})
}

func (m *mover) run(ctx context.Context, name string) error {
	snapshot, err := readStoredCatalog(ctx, m.s)
	if err != nil {
		return err
	}
	found, err := selectDestinations(snapshot.Destinations(), []string{name})
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return usageError(fmt.Sprintf("%q is a workspace: name one destination", name))
	}
	if m.log, err = migration.Open(ctx, m.s.staging, found[0].ID); err != nil {
		return err
	}
	if m.o.abort {
		return m.abort(ctx, snapshot, found[0])
	}
	if last := m.log.Last(); last != nil && last.Step == migration.Confirmed && placeOf(found[0]) == last.To && m.flagsMatch(last.To) {
		m.plan = movePlan{now: found[0], next: found[0]}
		m.printf("%s was moved to %s", found[0].ID, last.To)
		m.printCleanUp(ctx, *last)
		return nil
	}
	to, err := m.targetPlace(found[0])
	if err != nil {
		return err
	}
	if m.plan, err = planMove(m.a, snapshot, found[0], to); err != nil {
		return err
	}
	phase, err := migration.NextPhase(m.log.Last(), placeOf(found[0]))
	if err != nil {
		return fmt.Errorf("%w; put it as it was, or end the migration with --abort, which leaves the destination as it is", err)
	}
	m.printHead(phase)
	if phase == migration.Idle || m.o.dryRun {
		if err := m.prepare(ctx); err != nil || m.o.dryRun {
			return err
		}
		phase = migration.Try
	}
	for _, step := range []struct {
		phase migration.Phase
		take  func(context.Context) error
	}{{migration.Try, m.putTestFile}, {migration.Switch, m.switchOver}, {migration.Confirm, m.confirmArrivals}} {
		if step.phase < phase {
			continue
		}
		if err := step.take(ctx); err != nil {
			return err
		}
		if m.o.print && step.phase == migration.Switch {
			return nil // the printed document is not applied yet
		}
	}
	return nil
}

// flagsMatch reports whether the flags, as far as they are given, name this place.
func (m *mover) flagsMatch(to migration.Place) bool {
	return (m.o.role == "" || m.o.role == to.RoleARN) && (m.o.bucket == "" || m.o.bucket == to.Bucket)
}

// targetPlace returns where the destination is to go, from the flags and the migration in progress,
// if any.
func (m *mover) targetPlace(t catalog.Target) (migration.Place, error) {
	last := m.log.Last()
	if last != nil && last.Over() {
		last = nil
	}
	if m.o.role == "" && m.o.bucket == "" {
		if last == nil {
			return migration.Place{}, usageError("say where it is to go: --role-arn ARN, or --bucket NAME/prefix, or both")
		}
		return last.To, nil
	}
	to := placeOf(t)
	if last != nil {
		to = last.From // flags are relative to where the migration began, not to where it stands
	}
	if m.o.role != "" {
		to.RoleARN = m.o.role
	}
	if m.o.bucket != "" {
		to.Bucket = m.o.bucket
	}
	switch {
	case last != nil && to != last.To:
		return to, fmt.Errorf("a migration of %s to %s is under way, begun by %s; continue without flags, or revert it with --abort", t.ID, last.To, last.By)
	case last == nil && to == placeOf(t): // if a migration had moved it there, run would have said so
		return to, fmt.Errorf("destination %s is delivered so already: %s", t.ID, to)
	}
	return to, nil
}

// ask asks whether to continue, unless --yes was given. A no is an error.
func (m *mover) ask(ctx context.Context, question string) error {
	if m.o.yes {
		return nil
	}
	if yes, err := askYesNo(ctx, m.a.stderr, m.in, question); yes || err != nil {
		return err
	}
	return partialError("stopped; the same command continues from here (--yes where nobody can be asked), and --abort reverts it")
}
