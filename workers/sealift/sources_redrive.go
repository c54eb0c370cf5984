package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// lettersRedrive are the flags and arguments of `sealift sources redrive`.
type lettersRedrive struct {
	sources, reasons []string // empty: all
	window           deadletter.Window
	dryRun, asJSON   bool
}

func newSourcesRedriveCommand(a *app) *cobra.Command {
	var (
		o            lettersRedrive
		since, until string
	)
	c := &cobra.Command{
		Use:   "redrive [SOURCE…]",
		Short: "Send dead letters again that would now be accepted",
		Long: `Check dead letters against the current configuration, and write those that would now be accepted to the
events topic, with their original time of receipt and messageId; they go into files of that hour and day. The
others stay and are counted by reason. With kafka.received_from: record, those older than the retention.ms of
the events topic stay too: Kafka would delete them unread.

Redriven dead letters are recorded and never sent again; a lease in Redis (redis.url) allows one run at a
time. If a run is cut off, at most one fetch (1 MiB) is sent twice; deduplication removes the copies if
appenders still remember the messageIds (appender.dedup_window).`,
		Example: `  sealift sources redrive --dry-run
  sealift sources redrive --reason no_user --set collector.validation=none    # accept them anyway
  sealift sources redrive qv5iYYMxd94DahFpRzm58y --since 2026-11-22 --until 2026-11-23`,
		RunE: func(c *cobra.Command, args []string) (err error) {
			o.sources = args
			if o.window.Since, o.window.Until, err = parseWindow(since, until); err != nil {
				return err
			}
			for _, reason := range o.reasons {
				if all := deadletter.Reasons(); !slices.Contains(all, reason) {
					return usageError(fmt.Sprintf("--reason %q: use %s", reason, strings.Join(all, ", ")))
				}
			}
			return withServices(a, !o.dryRun, func(s *services) error { return o.run(c.Context(), a, s) })
		},
	}
	f := c.Flags()
	f.StringSliceVar(&o.reasons, "reason", nil, "only those of this reason; repeatable")
	f.StringVar(&since, "since", "", "only those since: 24h (ago), 2026-11-22 or 2026-11-22T14")
	f.StringVar(&until, "until", "", "only those before")
	f.BoolVar(&o.dryRun, "dry-run", false, "only count what would be sent and what would stay")
	f.BoolVar(&o.asJSON, "json", false, "print the result as JSON")
	return c
}

func (o lettersRedrive) run(ctx context.Context, a *app, s *services) error {
	resender, err := o.resender(ctx, s)
	if err != nil {
		return err
	}
	seen := map[string]bool{} // sources of dead letters
	resender.Select = func(l *deadletter.Letter) bool {
		seen[l.Source] = true
		return (len(o.sources) == 0 || slices.Contains(o.sources, l.Source)) && (len(o.reasons) == 0 || slices.Contains(o.reasons, l.Reason))
	}
	var done deadletter.Tally
	resend := func(ctx context.Context) (err error) { done, err = resender.Run(ctx, o.window); return err }
	if o.dryRun {
		err = resend(ctx)
	} else {
		err = withLease(ctx, s, "redrive/"+resender.Topic, resend)
	}
	if err == nil && done.Found+done.Already == 0 {
		known := readKnownSources(ctx, s)
		for _, id := range o.sources {
			if _, ok := known[id]; !ok && !seen[id] {
				return unknownSourceError(id, known)
			}
		}
	}
	if err != nil && done.Sent == 0 {
		return err
	}
	var shown error
	if o.asJSON {
		shown = a.printJSON(redrivenLetters{done, o.dryRun})
	} else {
		shown = printRedrivenLetters(a.stdout, done, o.dryRun)
	}
	if err != nil {
		return &exitError{exitPartial, fmt.Errorf("%s sent, run it again for the others: %w", progress.Plural(done.Sent, "dead letter"), err)}
	}
	return shown
}

// resender returns what resends the letters, or only counts them in a dry run.
func (o lettersRedrive) resender(ctx context.Context, s *services) (deadletter.Resender, error) {
	router, err := route.New(s.cfg.Kafka.SourceFrom, s.cfg.Kafka.ReceivedFrom)
	if err != nil {
		return deadletter.Resender{}, err
	}
	r := deadletter.Resender{Kafka: s.deadLetters(), Topic: s.cfg.Kafka.DeadLettersTopic, Router: router, Validate: s.cfg.Collector.Validation == "segment"}
	if s.usesRecordTime() {
		r.Retention, err = stream.RetryTransient(ctx, func() (time.Duration, error) { return s.kafka.Retention(ctx, s.cfg.Kafka.EventsTopic) })
		if err != nil {
			return r, fmt.Errorf("redrive: with kafka.received_from: record the events topic deletes letters that are older than its retention, which has to be known: %w", err)
		}
	}
	if o.dryRun {
		return r, nil
	}
	if tryReadCatalog(ctx, s) == nil {
		return r, errors.New("redrive: the catalog cannot be read, which says what sources are spread: events that were redriven before would come twice; try again when it can")
	}
	r.Events = s.eventsProducer()
	r.Letters = s.topicProducer(s.cfg.Kafka.DeadLettersTopic, deadLetterBytes)
	return r, nil
}

// withLease calls run under a lease, so that nobody else does the same meanwhile, and cancels it
// when the lease is lost. What is being sent at that moment is finished all the same, so another
// run may send those letters, too.
func withLease(ctx context.Context, s *services, name string, run func(context.Context) error) error {
	held, err := s.redis.Acquire(ctx, name, 30*time.Second)
	switch {
	case errors.Is(err, lease.ErrHeld):
		return errors.New("redrive: another one is at work: wait until it has ended (30s, if it was killed)")
	case err != nil:
		return fmt.Errorf("redrive: a lease has one run at a time (redis.url): %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-held.Lost():
			cancel(errors.New("redrive: the lease was lost, so another run may be at work"))
		case <-ctx.Done():
		}
	}()
	err = run(ctx)
	if errors.Is(err, context.Canceled) {
		err = context.Cause(ctx)
	}
	release, done := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer done()
	if rerr := held.Release(release); rerr != nil {
		s.log.WarnContext(ctx, "the lease stays for a while", "name", name, "err", rerr)
	}
	return err
}

// redrivenLetters is the JSON form of the result.
type redrivenLetters struct {
	deadletter.Tally
	DryRun bool `json:"dry_run"`
}

func printRedrivenLetters(out io.Writer, done deadletter.Tally, dryRun bool) error {
	verb := "sent again"
	if dryRun {
		verb = "would be sent again"
	}
	if _, err := fmt.Fprintf(out, "%s of %s %s\n", progress.Count(done.Sent), progress.Plural(done.Found, "dead letter"), verb); err != nil {
		return err
	}
	for _, reason := range slices.Sorted(maps.Keys(done.Left)) {
		if _, err := fmt.Fprintf(out, "%s left: %s, %s\n", progress.Count(done.Left[reason]), reason, deadletter.Describe(reason)); err != nil {
			return err
		}
	}
	if done.Already > 0 {
		_, err := fmt.Fprintf(out, "%s were sent again before\n", progress.Count(done.Already))
		return err
	}
	return nil
}
