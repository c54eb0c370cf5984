package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/pkg/stream"
)

func newReplayCommand(a *app) *cobra.Command {
	v := &replayCommand{app: a}
	c := &cobra.Command{
		Use:     "replay",
		GroupID: groupOperate,
		Short:   "Deliver files again, or to a new destination",
		Long: `Deliver files of the ledger again: those of a source, for a destination, of some hours of receipt, or of a
range of offsets. Deliveries in progress are not delayed: replays have a job topic and slots of their own
(copier.replay_concurrency).

Without --destination, files go to the destinations that the ledger owes them to, under the same keys:
existing objects stay, deleted ones come back. --force overwrites existing objects with the same bytes. With
--destination, files also go to a destination added since, if the catalog subscribes it to their source; never
to another workspace. --view instead delivers a second copy below a folder of that name.

Bytes come from staging (staging.retain); files that are gone there are rebuilt from Kafka and checked against
the ledger's count and CRC. Files of a former kafka.incarnation or kafka.events_topic are left out; the command
then prints the flags that replay them.

The order is stored in the staging bucket: an interrupted replay continues with --resume, and every copier
takes part. Without --detach the command waits until everything is delivered.`,
		Example: `  sealift replay --source qv5iYYMxd94DahFpRzm58y --since 2026-11-20 --until 2026-11-21 --dry-run
  sealift replay --destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-new --since 720h --rate 20MB/s
  sealift replay --offsets 3:1000000-1999999 --from kafka --force
  sealift replay --resume 20261122-141530-a1b2c3`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := v.parseFlags(c, time.Now()); err != nil {
				return err
			}
			return withServices(a, false, func(s *services) error {
				v.services = s
				return v.run(c.Context())
			})
		},
	}
	f := c.Flags()
	f.StringSliceVar(&v.order.Sources, "source", nil, "only files of this source id; repeatable")
	f.StringSliceVar(&v.order.Destinations, "destination", nil, "deliver to this one, WORKSPACE/NAME or NAME; repeatable (default: where they are owed)")
	f.StringVar(&v.since, "since", "", "only hours of receipt since: 48h (ago), 2026-11-22 or 2026-11-22T14")
	f.StringVar(&v.until, "until", "", "only hours of receipt that begin before")
	f.StringSliceVar(&v.offsets, "offsets", nil, "only files with offsets in PARTITION:FIRST-LAST; repeatable")
	f.BoolVar(&v.all, "all", false, "all files of the ledger")
	f.StringVar((*string)(&v.order.From), "from", string(delivery.FromAuto), "where bytes come from: staging, kafka, or auto (kafka if they are not in staging)")
	f.BoolVar(&v.order.Force, "force", false, "overwrite existing objects with the same bytes")
	f.StringVar(&v.order.View, "view", "", "deliver below a folder of this name: [prefix/]NAME/segment-logs/…")
	f.StringVar(&v.rate, "rate", "", "limit: 50/s (files) or 20MB/s")
	f.StringVar(&v.resume, "resume", "", "continue the replay of this id, and retry what it gave up")
	f.BoolVar(&v.dryRun, "dry-run", false, "only count what would be delivered, and what is missing")
	f.BoolVar(&v.detach, "detach", false, "return once all jobs are enqueued")
	f.BoolVar(&v.asJSON, "json", false, "print the result as JSON")
	completeFlag(c, "from", []delivery.ByteSource{delivery.FromStaging, delivery.FromKafka, delivery.FromAuto})
	c.AddCommand(newReplayListCommand(a), newReplayShowCommand(a))
	return c
}

// replayCommand is one run of `replay`.
type replayCommand struct {
	*services
	app                         *app
	order                       delivery.Order
	since, until, rate          string
	offsets                     []string
	resume                      string
	all, dryRun, detach, asJSON bool
}

// parseFlags makes the order from the flags. If they are wrong, it returns a usage error.
func (v *replayCommand) parseFlags(c *cobra.Command, now time.Time) (err error) {
	o := &v.order
	selected := len(o.Sources)+len(o.Destinations)+len(v.offsets) > 0 || v.since != "" || v.until != ""
	if v.resume != "" {
		for _, name := range []string{"source", "destination", "since", "until", "offsets", "all", "from", "force", "view", "rate", "dry-run"} {
			if c.Flags().Changed(name) {
				return usageError(fmt.Sprintf("--resume continues an existing order: leave --%s out", name))
			}
		}
		return nil
	}
	if selected && v.all {
		return usageError("--all takes all files: leave it out, or leave out --source, --destination, --since, --until and --offsets")
	}
	if !selected && !v.all {
		return usageError("which files? Name them with --source, --destination, --since, --until or --offsets, or take them --all")
	}
	for flag, ms := range map[string]*int64{"since": &o.Since, "until": &o.Until} {
		text := c.Flag(flag).Value.String()
		t, err := parseHour(text, now)
		if err != nil {
			return usageError(fmt.Sprintf("--%s: %v", flag, err))
		}
		if text != "" {
			*ms = t.UnixMilli()
		}
	}
	for _, text := range v.offsets {
		r, err := parseOffsetRange(text)
		if err != nil {
			return usageError("--offsets: " + err.Error())
		}
		o.Offsets = append(o.Offsets, r)
	}
	if o.FilesPerSecond, o.BytesPerSecond, err = parseReplayRate(v.rate); err != nil {
		return usageError("--rate: " + err.Error())
	}
	o.Version = delivery.FormatVersion
	o.ID, o.CreatedAt, o.CreatedBy = replay.NewID(now), now.UnixMilli(), workerName("replay")
	o.Topic, o.Incarnation = v.app.cfg.Kafka.EventsTopic, v.app.cfg.Kafka.Incarnation
	named := *o
	named.Destinations = slices.DeleteFunc(slices.Clone(o.Destinations), func(name string) bool { return !strings.Contains(name, "/") }) // the ids of the others are in the catalog
	if err := named.Validate(); err != nil {
		return usageError(err.Error())
	}
	return nil
}

const noneSelectedText = "no file of the ledger is selected; `sealift ledger show` shows what was sealed"

func (v *replayCommand) run(ctx context.Context) error {
	if v.resume != "" {
		o, err := readReplayOrder(ctx, v.staging, v.resume)
		if err != nil {
			return err
		}
		r, err := v.runner(ctx)
		if err != nil {
			return err
		}
		return v.carryOut(ctx, r, o)
	}
	o := &v.order
	var err error
	if o.Heads, err = replay.ReadHeads(ctx, v.staging, o.Topic, o.Incarnation); err != nil {
		return err
	}
	r, err := v.runner(ctx)
	if err != nil {
		return err
	}
	for i, name := range o.Destinations {
		if o.Destinations[i], err = destinationID(r.Catalog, name); err != nil {
			return err
		}
	}
	if err := r.Check(o); err != nil {
		return err
	}
	if err := v.noteOtherLedgers(ctx); err != nil {
		return err
	}
	screen := newReplayScreen(v.app.stderr)
	r.OnTally = screen.showCount
	tally, err := r.Count(ctx, o)
	screen.clearLine()
	if err == nil && tally.Unowed > 0 {
		fmt.Fprintf(v.app.stderr, "note: left out, because owed to nobody: %s; with --destination WORKSPACE/NAME they go there, if the catalog subscribes it to their source\n", progress.Plural(tally.Unowed, "file"))
	}
	if err == nil && tally.Copies+tally.Unowed == 0 && len(tally.Refused) == 0 {
		err = v.checkSourcesKnown(r)
	}
	switch {
	case err != nil:
		return err
	case v.dryRun:
		return v.printDryRun(o, tally)
	case tally.Copies == 0:
		return noCopiesError(tally)
	}
	o.Copies = tally.Copies
	if err := replay.WriteOrder(ctx, v.staging, o); err != nil {
		return err
	}
	return v.carryOut(ctx, r, o)
}

// checkSourcesKnown returns an error if the catalog has sources, but not one that was asked for.
func (v *replayCommand) checkSourcesKnown(r replay.Run) error {
	known := sourcesOf(r.Catalog)
	for _, id := range v.order.Sources {
		if _, ok := known[id]; !ok && len(known) > 0 {
			return unknownSourceError(id, known)
		}
	}
	return nil
}

// noteOtherLedgers names the other ledgers that may have files like those asked for, which the
// order does not cover.
func (v *replayCommand) noteOtherLedgers(ctx context.Context) error {
	if len(v.order.Offsets) > 0 { // offsets are those of this ledger
		return nil
	}
	others, err := otherLedgers(ctx, v.services, v.order.Topic, v.order.Incarnation)
	if err != nil {
		return fmt.Errorf("look for other ledgers: %w", err)
	}
	for _, l := range others {
		if since := time.UnixMilli(v.order.Since).Add(-time.Hour); v.order.Since > 0 && l.lastStored.Before(since) {
			continue // it ended before; the hour allows for clocks that differ
		}
		fmt.Fprintf(v.app.stderr, "note: files of %s are left out; %s --from staging replays those\n", l, l.selectFlags(v.order.Topic))
	}
	return nil
}

// runner returns what carries out an order, connected to the services.
func (v *replayCommand) runner(ctx context.Context) (replay.Run, error) {
	snapshot, err := (&catalogTopic{v.services}).read(ctx)
	if err != nil {
		return replay.Run{}, err
	}
	lookBack := time.Duration(0)
	if window := v.cfg.Appender.DedupWindow; window > 0 { // if it is 0 now, files may still have been made with one
		lookBack = window + time.Hour
	}
	return replay.Run{
		Staging: v.staging, Catalog: snapshot,
		Kafka: &replay.Rebuilder{
			Bounds:  v.kafka.Bounds,
			Fetcher: func(topic string, partition int) replay.Fetcher { return v.kafka.NewFetcher(topic, partition) },
			Staging: v.staging, Level: v.cfg.Appender.Level, LookBack: lookBack,
		},
	}, nil
}

// carryOut enqueues the jobs of a stored order and, unless detached, waits until all copies are
// made or given up. The order stays stored whatever happens.
func (v *replayCommand) carryOut(ctx context.Context, r replay.Run, o *delivery.Order) error {
	jobs := copierConfig(v.cfg).ReplayTopic()
	topics := slices.DeleteFunc(v.topics(), func(t stream.Topic) bool { return t.Name != jobs })
	r.Jobs = v.topicProducer(jobs, 0)
	screen := newReplayScreen(v.app.stderr)
	r.OnTally = screen.setTally
	// It only shows progress, so its error is ignored.
	watching := inBackground(ctx, func(ctx context.Context) error { return screen.watch(ctx, v.staging, o.ID, false) })
	tally, err := replay.Tally{}, v.kafka.EnsureTopics(ctx, v.cfg.Kafka.CreateTopics, topics...)
	if err == nil {
		tally, err = r.Enqueue(ctx, o, v.resume != "")
	}
	watching.stop()
	if err == nil && !v.detach {
		err = screen.watch(ctx, v.staging, o.ID, true)
	}
	screen.clearLine()
	switch {
	case errors.Is(err, replay.ErrRefused), errors.Is(err, replay.ErrFewerCopies), errors.Is(err, replay.ErrOrderExpired):
		return unfinishedError{fmt.Errorf("replay %s is not over: %w", o.ID, err)}
	case err != nil:
		return unfinishedError{fmt.Errorf("replay %s is not over; continue with `sealift replay --resume %s`: %w", o.ID, o.ID, err)}
	}
	return v.report(ctx, o, &tally)
}

// parseOffsetRange reads PARTITION:FIRST-LAST.
func parseOffsetRange(text string) (r delivery.Range, err error) {
	n, err := fmt.Sscanf(text, "%d:%d-%d", &r.Partition, &r.First, &r.Last)
	if err != nil || n != 3 || r.String() != text || r.Partition < 0 || r.First < 0 || r.Last < r.First {
		return r, fmt.Errorf("%q is no range; write PARTITION:FIRST-LAST, like 3:1000-1999", text)
	}
	return r, nil
}

// parseReplayRate reads files per second (50, 50/s) or bytes per second (20MB, 20MB/s).
func parseReplayRate(text string) (files float64, bytes int64, err error) {
	amount := strings.TrimSuffix(text, "/s")
	if amount == "" {
		return 0, 0, nil
	}
	if files, err = strconv.ParseFloat(amount, 64); err == nil && files > 0 && files < 1e9 {
		return files, 0, nil
	}
	b, err := config.ParseByteSize(amount)
	if err != nil || b <= 0 {
		return 0, 0, fmt.Errorf("%q is no rate; write files a second like 50/s, or bytes like 20MB/s", text)
	}
	return 0, int64(b), nil
}
