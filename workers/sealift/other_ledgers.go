package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/auditor"
)

// otherLedger is a ledger that a command does not look at because its topic or incarnation is
// another one, for instance from before kafka.events_topic or kafka.incarnation was changed.
type otherLedger struct {
	topic, incarnation string
	logs               []ledger.Log
	lastStored         time.Time // when its newest entry was stored
}

// otherLedgers finds the ledgers in the staging bucket, except the one of this topic and
// incarnation.
func otherLedgers(ctx context.Context, s *services, topic, incarnation string) ([]otherLedger, error) {
	logs, err := ledger.Logs(ctx, s.staging, "", "")
	if err != nil {
		return nil, err
	}
	var others []otherLedger
	for _, l := range logs { // sorted, so partitions of a ledger are adjacent
		switch n := len(others) - 1; {
		case l.Topic == topic && l.Incarnation == incarnation:
		case n >= 0 && others[n].topic == l.Topic && others[n].incarnation == l.Incarnation:
			others[n].logs = append(others[n].logs, l)
		default:
			others = append(others, otherLedger{topic: l.Topic, incarnation: l.Incarnation, logs: []ledger.Log{l}})
		}
	}
	for i := range others {
		at := make([]time.Time, len(others[i].logs))
		errs := job.InParallel(len(at), 16, func(p int) (err error) {
			at[p], err = readLastStored(ctx, s.staging, others[i].logs[p])
			return err
		})
		if err := errors.Join(errs...); err != nil {
			return nil, err
		}
		others[i].lastStored = slices.MaxFunc(at, time.Time.Compare)
	}
	return others, nil
}

// readLastStored returns when the newest entry of a partition's ledger was stored.
func readLastStored(ctx context.Context, staging objstore.Store, l ledger.Log) (time.Time, error) {
	seq, err := ledger.NewChain(staging, l).HeadSeq(ctx)
	if err != nil {
		return time.Time{}, err
	}
	info, err := staging.Head(ctx, ledger.EntryKey(l, seq))
	return info.LastModified, err
}

// selectFlags returns the flags that make a command look at this ledger.
func (o otherLedger) selectFlags(configuredTopic string) string {
	flags := "--set kafka.incarnation=" + o.incarnation
	if o.topic != configuredTopic {
		flags = "--set kafka.events_topic=" + o.topic + " " + flags
	}
	return flags
}

func (o otherLedger) String() string {
	return fmt.Sprintf("topic %s, incarnation %s (%s, the last entry of %s)", o.topic, o.incarnation, progress.Plural(int64(len(o.logs)), "partition"), o.lastStored.UTC().Format(time.RFC3339))
}

// countUndelivered returns how many files the ledger still owes, counted once for each destination.
func (o otherLedger) countUndelivered(ctx context.Context, s *services) (files int64, err error) {
	status, err := auditor.ReadStatus(ctx, auditor.StatusConfig{Topic: o.topic, Incarnation: o.incarnation}, s.staging, nil)
	if err != nil {
		return 0, err
	}
	for _, d := range status.Destinations {
		files += d.Undelivered().Files
	}
	return files, nil
}

// otherLedgersTimeout limits how long a command counts what other ledgers owe: one that no audit
// has counted must be read as a whole.
const otherLedgersTimeout = 20 * time.Second

// noteOtherLedgers prints a note for each other ledger that still owes files, because the report of
// this one does not mention them, and for what cannot be looked at. It returns an error only if ctx
// ends.
func noteOtherLedgers(ctx context.Context, a *app, s *services, topic, incarnation string) error {
	cctx, cancel := context.WithTimeout(ctx, otherLedgersTimeout)
	defer cancel()
	others, err := otherLedgers(cctx, s, topic, incarnation)
	if err != nil && ctx.Err() == nil && !errors.Is(err, objstore.ErrNoCredentials) { // without them the command fails, and says so
		fmt.Fprintf(a.stderr, "note: whether other ledgers still owe files is not known: %v\n", err)
	}
	for _, o := range others {
		files, err := o.countUndelivered(cctx, s)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			fmt.Fprintf(a.stderr, "note: %s is not looked at here, and whether it still owes files is not known: %v\n", o, err)
		case files > 0:
			fmt.Fprintf(a.stderr, "note: %s still owes %s, and is not looked at here; %s looks at it\n", o, progress.Plural(files, "file"), o.selectFlags(topic))
		}
	}
	return context.Cause(ctx)
}
