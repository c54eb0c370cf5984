package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/migration"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/shell"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/workers/auditor"
)

// prepare is steps 1 and 2: it prints what the customer has to attach, and checks that it works.
func (m *mover) prepare(ctx context.Context) error {
	m.printStepName("policies")
	if err := m.printPolicies(ctx); err != nil {
		return err
	}
	m.printStepName("check")
	if err := m.check(ctx, m.plan.next); err != nil || m.o.dryRun {
		return err
	}
	if err := m.ask(ctx, "Put a test file, and note that the migration began?"); err != nil {
		return err
	}
	return m.log.Append(ctx, migration.Note{Step: migration.Begun, From: m.plan.from, To: m.plan.to, By: workerName("migrate")})
}

// check tries a delivery to t without storing anything.
func (m *mover) check(ctx context.Context, t catalog.Target) error {
	sources, err := sourcesToTry(t, checkFlags{})
	if err != nil {
		return err
	}
	cctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	r := m.s.checker().Check(cctx, t, destination.Options{Sources: sources, OnStep: func(s destination.Step) { printStep(m.out, s) }})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if !r.OK {
		return fmt.Errorf("cannot deliver to destination %s like this, and nothing was changed; apply the fix above, and run it again", t.ID)
	}
	return nil
}

func (m *mover) finder() migration.FileFinder {
	return migration.FileFinder{Staging: m.s.staging, Topic: m.s.cfg.Kafka.EventsTopic, Incarnation: m.s.cfg.Kafka.Incarnation, Destination: m.plan.now.ID}
}

// putTestFile is step 3: it puts a file into the test folder, the new way.
func (m *mover) putTestFile(ctx context.Context) error {
	m.printStepName("test")
	t := m.plan.testTarget()
	obj, what, err := m.testObject(ctx, t)
	if err != nil {
		return err
	}
	putter := m.s.putter()
	for range 2 { // the second PUT shows that the object is there, which we are not allowed to read
		r, err := putter.Put(ctx, t, obj)
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			printProblem(m.out, "  ", destination.Judge(err, m.plan.next))
			return fmt.Errorf("the test file could not be put, and nothing was changed; apply the fix above, and run it again")
		}
		if r.Existed {
			break
		}
	}
	m.printf("%s, put as s3://%s/%s; put again, the store has it", what, t.BucketName, obj.Key)
	m.printf("look at it:  aws s3 ls --recursive%s %s", endpointFlag(t, m.s.cfg.Destinations.Endpoint), shell.QuoteIfNeeded(fmt.Sprintf("s3://%s/%s/", t.BucketName, t.Prefix)))
	return m.log.Append(ctx, migration.Note{Step: migration.Tried, From: m.plan.from, To: m.plan.to, Test: t.BucketName + "/" + t.Prefix + "/", By: workerName("migrate")})
}

// testObject returns a copy of a staged file that was owed to the destination, or a file with a
// made-up line if there is none. The text describes it.
func (m *mover) testObject(ctx context.Context, t catalog.Target) (destination.Object, string, error) {
	f, ok, err := m.finder().FindSmallFile(ctx)
	if err != nil {
		return destination.Object{}, "", err
	}
	if !ok {
		obj, err := destination.TrialObject(t, t.Sources[0])
		return obj, "a file with one made-up line (staging has none of this destination's)", err
	}
	body, err := f.File.Open(ctx, m.s.staging)
	if err != nil {
		return destination.Object{}, "", fmt.Errorf("read a staged file for the test: %w", err)
	}
	raw, err := io.ReadAll(io.LimitReader(body, f.File.GzipBytes+1))
	if err := errors.Join(err, body.Close()); err != nil {
		return destination.Object{}, "", fmt.Errorf("read a staged file for the test: %w", err)
	}
	sum := sha256.Sum256(raw)
	if hex.EncodeToString(sum[:]) != f.File.SHA256 {
		return destination.Object{}, "", fmt.Errorf("staged file %q is not what the ledger says; `sealift verify` says more", f.File.StagedKey)
	}
	return destination.Object{
		Key: delivery.ObjectKey(t.Prefix, f.Log, &f.File), Metadata: delivery.ObjectMetadata(f.Log, &f.File),
		Body: bytes.NewReader(raw), SHA256: sum,
	}, fmt.Sprintf("a copy of a file of source %s, %s", f.File.Source, progress.Plural(f.File.Records, "record")), nil
}

// switchOver is step 4. It writes 1. the note, 2. the catalog record; both may be repeated.
func (m *mover) switchOver(ctx context.Context) error {
	m.printStepName("switch")
	if m.o.print {
		b, err := catalog.MarshalYAML([]catalog.Workspace{m.plan.workspace})
		if err != nil {
			return err
		}
		if _, err := m.a.stdout.Write(b); err != nil {
			return err
		}
		m.printf("nothing was changed: apply that, and run the command again")
		return nil
	}
	if last := m.log.Last(); last.Step == migration.Switched {
		m.printf("the switch began at %s, but the catalog does not show it: it was interrupted, or a `catalog apply` reverted it", formatMillis(last.At))
	}
	if err := m.ask(ctx, "Switch?"); err != nil {
		return err
	}
	if err := m.waitUntilIdle(ctx); err != nil {
		return err
	}
	if err := m.log.Append(ctx, migration.Note{Step: migration.Switched, From: m.plan.from, To: m.plan.to, Test: m.log.Last().Test, By: workerName("migrate")}); err != nil {
		return err
	}
	if err := storeChange(ctx, m.a, m.s, m.plan); err != nil {
		return err
	}
	m.printf("the catalog says it now; running roles follow within seconds")
	return nil
}

// waitUntilIdle waits, before a change of the prefix, until nothing is in flight, but no longer
// than
// --wait. If a copier died between an object and its receipt, another copier that has read the
// switch would put the file below the new prefix as well.
func (m *mover) waitUntilIdle(ctx context.Context) error {
	if !m.plan.changesPlace() || m.plan.now.BucketName != m.plan.next.BucketName {
		return nil
	}
	for start := time.Now(); ; {
		s, err := auditor.ReadStatus(ctx, auditor.StatusConfig{
			Topic: m.s.cfg.Kafka.EventsTopic, Destinations: []string{m.plan.now.ID},
		}, m.s.staging, nil)
		if err != nil {
			return err
		}
		pending := int64(0)
		for _, d := range s.Destinations {
			pending += d.Pending.Files
		}
		if pending == 0 {
			return nil
		}
		if time.Since(start) > m.o.wait {
			m.printf("%s still in flight: if a copier dies right now, a file may end up below both prefixes", progress.Plural(pending, "file"))
			return nil
		}
		if sleep.For(ctx, 500*time.Millisecond) != nil {
			return context.Cause(ctx)
		}
	}
}

// followTimeout is how long running copiers may take to read the switch.
const followTimeout = time.Minute

// confirmArrivals is step 5: it waits for a file to arrive the new way, and checks that none
// arrives the old way any more.
func (m *mover) confirmArrivals(ctx context.Context) error {
	last := m.log.Last()
	if last.Step != migration.Switched { // the change was applied with a document
		note := migration.Note{Step: migration.Switched, From: last.From, To: last.To, Test: last.Test, By: workerName("migrate")}
		if err := m.log.Append(ctx, note); err != nil {
			return err
		}
		last = m.log.Last()
	}
	m.printStepName("confirm")
	var a migration.Arrivals
	for start := time.Now(); ; {
		var err error
		if a, err = m.finder().ReadArrivals(ctx, last.To, last.At); err != nil {
			return err
		}
		if a.New > 0 || time.Since(start) > m.o.wait {
			break
		}
		if sleep.For(ctx, time.Second) != nil {
			return context.Cause(ctx)
		}
	}
	if hint := parkedHint(m.plan.now.ID, countParked(ctx, m.s, m.plan.now.ID)); hint != "" {
		m.printf("%s", hint)
	}
	switch {
	case a.New == 0:
		m.printf("no file has arrived since %s: run the command again when one is due", formatMillis(last.At))
		return partialError(fmt.Sprintf("destination %s is switched, and waits for its first file", m.plan.now.ID))
	case a.Old > 0 && (last.Blamed != "" || a.LastOld.At > last.At+followTimeout.Milliseconds()):
		m.printf("copier %s still delivered the old way at %s: it does not follow the catalog, or was slow with that file; restart it, then run the command again", a.LastOld.Worker, formatMillis(a.LastOld.At))
		// What the copier delivered until now does not count against it again; what it delivers
		// later does.
		note := migration.Note{Step: migration.Switched, From: last.From, To: last.To, Test: last.Test, Blamed: a.LastOld.Worker, By: workerName("migrate")}
		if err := m.log.Append(ctx, note); err != nil {
			return err
		}
		return partialError(fmt.Sprintf("destination %s is switched, but a copier does not follow", m.plan.now.ID))
	}
	m.printf("%s of the newest arrived, the first at %s: s3://%s/%s", progress.Plural(a.New, "file"), formatMillis(a.First.At), a.First.Bucket, a.First.Key)
	if a.Old > 0 {
		m.printf("%d were delivered the old way while copiers picked up the change, the last at %s", a.Old, formatMillis(a.LastOld.At))
	}
	if err := m.log.Append(ctx, migration.Note{Step: migration.Confirmed, From: last.From, To: last.To, Test: last.Test, By: workerName("migrate")}); err != nil {
		return err
	}
	m.printCleanUp(ctx, *last)
	return nil
}

// abort reverts the migration. What was delivered stays delivered.
func (m *mover) abort(ctx context.Context, stored *catalog.Snapshot, t catalog.Target) error {
	last := m.log.Last()
	if last == nil || last.Step == migration.Aborted && placeOf(t) != last.To {
		return fmt.Errorf("no migration of %s is under way", t.ID)
	}
	if now := placeOf(t); now != last.From && now != last.To {
		return m.endMigration(ctx, t, *last)
	}
	var err error
	if m.plan, err = planMove(m.a, stored, t, last.From); err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%s: back to %s\n", t.ID, last.From)
	switched := placeOf(t) == last.To
	if switched {
		m.printStepName("check")
		if err := m.check(ctx, m.plan.next); err != nil {
			return err
		}
	}
	if err := m.ask(ctx, "Revert it?"); err != nil {
		return err
	}
	if switched {
		if err := m.waitUntilIdle(ctx); err != nil {
			return err
		}
	}
	// 1. note  2. record
	if last.Step != migration.Aborted { // if it is, the last --abort was interrupted between the two
		if err := m.appendAborted(ctx, *last); err != nil {
			return err
		}
	}
	m.plan.from = last.To // somebody else may just have switched
	if err := storeChange(ctx, m.a, m.s, m.plan); err != nil {
		return err
	}
	m.printf("the catalog says what it said before")
	if switched {
		m.printDocumentChange(migration.Note{From: last.To, To: last.From})
	}
	m.printTestFolder(*last)
	if switched && last.From.Bucket != last.To.Bucket {
		m.printReplay("meanwhile", last.To, m.log.Last().At)
	}
	return nil
}

// endMigration ends the migration of a destination that somebody has changed to a third place
// meanwhile. The catalog stays as it is.
func (m *mover) endMigration(ctx context.Context, t catalog.Target, last migration.Note) error {
	m.plan = movePlan{now: t, next: t}
	fmt.Fprintf(m.out, "%s: it was to be moved to %s\n", t.ID, last.To)
	m.printf("it was changed otherwise meanwhile, to %s, and stays like that; only the migration ends", placeOf(t))
	if err := m.ask(ctx, "End the migration?"); err != nil {
		return err
	}
	if err := m.appendAborted(ctx, last); err != nil {
		return err
	}
	m.printf("no migration of it is under way any more")
	m.printTestFolder(last)
	return nil
}

func (m *mover) appendAborted(ctx context.Context, last migration.Note) error {
	return m.log.Append(ctx, migration.Note{Step: migration.Aborted, From: last.From, To: last.To, Test: last.Test, By: workerName("migrate")})
}

func formatMillis(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
