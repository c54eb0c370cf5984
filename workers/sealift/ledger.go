package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/receipt"
)

func newLedgerCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "ledger",
		GroupID: groupOperate,
		Short:   "Show the ledger, and let a halted partition continue",
		Example: "  sealift ledger show\n  sealift ledger show --partition 3",
	}
	c.AddCommand(newLedgerShowCommand(a), newLedgerLossCommand(a))
	return c
}

// ledgerShow is one run of `ledger show`.
type ledgerShow struct {
	*services
	out       io.Writer
	partition int
	entries   int
	seq       int64
	asJSON    bool
}

func newLedgerShowCommand(a *app) *cobra.Command {
	v := ledgerShow{out: a.stdout}
	c := &cobra.Command{
		Use:   "show",
		Short: "Show what was sealed, and how much of it was delivered",
		Long: `Without flags, show the last entry of every partition's chain. With --partition, show its newest entries and
their files: how many records each holds, why it was sealed, and how many of the destinations that it is owed
to have got it.`,
		Example: `  sealift ledger show
  sealift ledger show --partition 3 --entries 5
  sealift ledger show --partition 3 --seq 42 --json`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			switch given := c.Flags().Changed; {
			case given("partition") && v.partition < 0 || given("seq") && v.seq < 0:
				return usageError("--partition and --seq: want 0 or more")
			case v.entries < 1:
				return usageError("--entries: want 1 or more")
			case v.partition < 0 && (given("seq") || given("entries")):
				return usageError("--seq and --entries need --partition")
			}
			return withServices(a, false, func(s *services) error {
				v.services = s
				if v.partition < 0 {
					return v.showHeads(c.Context())
				}
				return v.showChain(c.Context())
			})
		},
	}
	f := c.Flags()
	f.IntVar(&v.partition, "partition", -1, "show the entries of this partition")
	f.IntVar(&v.entries, "entries", 10, "show this many of the newest entries")
	f.Int64Var(&v.seq, "seq", -1, "show only this entry")
	f.BoolVar(&v.asJSON, "json", false, "print one JSON object per line")
	return c
}

// showHeads shows the last entry of each partition.
func (v ledgerShow) showHeads(ctx context.Context) error {
	logs, err := ledger.Logs(ctx, v.staging, v.cfg.Kafka.EventsTopic, v.cfg.Kafka.Incarnation)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	if !v.asJSON {
		if len(logs) == 0 {
			fmt.Fprintf(w, "the ledger of topic %q, incarnation %q is empty\n", v.cfg.Kafka.EventsTopic, v.cfg.Kafka.Incarnation)
			return w.Flush()
		}
		fmt.Fprintln(w, "PARTITION\tENTRY\tKIND\tWRITTEN\tRESUMES AT\tFILES\tOWNER")
	}
	var corrupt []error // they hide no other partition
	for _, l := range logs {
		e, err := ledger.NewChain(v.staging, l).Head(ctx)
		if errors.Is(err, ledger.ErrCorrupt) {
			corrupt = append(corrupt, err)
			continue
		}
		if err != nil {
			return errors.Join(w.Flush(), err)
		}
		if v.asJSON {
			if err := v.printJSON(ctx, e); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(w, "%d\t%d\t%s\t%s\t%d\t%d\t%s\n", l.Partition, e.Seq, e.Kind, formatMillis(e.WrittenAt), e.LowWatermark, len(e.Files), e.Owner)
	}
	err = errors.Join(corrupt...)
	if len(corrupt) < len(logs) {
		err = asPartial(err)
	}
	return errors.Join(w.Flush(), err)
}

// showChain shows entries of one partition, the newest first.
func (v ledgerShow) showChain(ctx context.Context) error {
	l := ledger.Log{Topic: v.cfg.Kafka.EventsTopic, Incarnation: v.cfg.Kafka.Incarnation, Partition: v.partition}
	chain := ledger.NewChain(v.staging, l)
	from, n := v.seq, 1
	if v.seq < 0 {
		var err error
		if from, err = chain.HeadSeq(ctx); err != nil {
			return v.explainNotFound(ctx, err)
		}
		n = v.entries
	}
	shown := false
	var corrupt []error // they hide no other entry
	for seq := from; seq >= 0 && seq > from-int64(n); seq-- {
		e, err := chain.Entry(ctx, seq)
		if errors.Is(err, ledger.ErrCorrupt) {
			corrupt = append(corrupt, err)
			continue
		}
		if err != nil {
			return v.explainNotFound(ctx, err)
		}
		if v.asJSON {
			err = v.printJSON(ctx, e)
		} else {
			err = v.printText(ctx, e)
		}
		if err != nil {
			return err
		}
		shown = true
	}
	err := errors.Join(corrupt...)
	if shown {
		return asPartial(err)
	}
	return err
}

// explainNotFound returns err or, if the ledger has no such partition, an error that says so.
func (v ledgerShow) explainNotFound(ctx context.Context, err error) error {
	if !errors.Is(err, ledger.ErrEmpty) && !errors.Is(err, ledger.ErrNotFound) {
		return err
	}
	topic, incarnation := v.cfg.Kafka.EventsTopic, v.cfg.Kafka.Incarnation
	logs, lerr := ledger.Logs(ctx, v.staging, topic, incarnation)
	if lerr != nil || slices.ContainsFunc(logs, func(l ledger.Log) bool { return l.Partition == v.partition }) {
		return err
	}
	return ledger.NoPartitionError(logs, topic, incarnation, v.partition)
}

func (v ledgerShow) printJSON(ctx context.Context, e *ledger.Entry) error {
	receipts, givenUp, err := v.readReceipts(ctx, e)
	if err != nil {
		return err
	}
	return json.NewEncoder(v.out).Encode(struct {
		*ledger.Entry
		// Receipts are the destinations that have a receipt, by index of the file. GivenUp are
		// those of them to which the file was not delivered.
		Receipts [][]string `json:"receipts"`
		GivenUp  [][]string `json:"given_up"`
	}{e, receipts, givenUp})
}

func (v ledgerShow) printText(ctx context.Context, e *ledger.Entry) error {
	receipts, givenUp, err := v.readReceipts(ctx, e)
	if err != nil {
		return err
	}
	fmt.Fprintf(v.out, "entry %d  %s  %s  by %s  reading resumes at %d", e.Seq, e.Kind, formatMillis(e.WrittenAt), e.Owner, e.LowWatermark)
	for reason, n := range e.Skipped {
		fmt.Fprintf(v.out, "  %s skipped: %s", progress.Count(n), reason)
	}
	fmt.Fprintln(v.out)
	w := tabwriter.NewWriter(v.out, 0, 0, 2, ' ', 0)
	for i := range e.Files {
		f := &e.Files[i]
		fmt.Fprintf(w, "  %s\t%s\t%d-%d\t%s\t%s\t%s\t%s\n", f.Source, time.UnixMilli(f.Hour).UTC().Format("2006-01-02T15h"),
			f.First, f.Last, progress.Plural(f.Records, "record"), progress.Bytes(f.GzipBytes), f.Reason, deliveryText(f, receipts[i], givenUp[i]))
	}
	return w.Flush()
}

// readReceipts returns, for each file, the destinations that have a receipt, and those of them to
// which the file was not delivered.
func (v ledgerShow) readReceipts(ctx context.Context, e *ledger.Entry) (all, givenUp [][]string, err error) {
	all, givenUp = make([][]string, len(e.Files)), make([][]string, len(e.Files))
	for i := range all {
		all[i], givenUp[i] = []string{}, []string{} // [], not null
	}
	if len(e.Files) == 0 {
		return all, givenUp, nil
	}
	receipts, err := receipt.List(ctx, v.staging, e.Log(), e.Seq)
	if err != nil {
		return nil, nil, err
	}
	for pair, found := range receipts {
		i := pair.Index
		if i >= len(all) {
			continue
		}
		all[i] = append(all[i], pair.Destination)
		outcome, err := found.Outcome(ctx, v.staging, pair, e)
		if err != nil {
			return nil, nil, err
		}
		if outcome != delivery.Delivered {
			givenUp[i] = append(givenUp[i], pair.Destination)
		}
	}
	for i := range all {
		slices.Sort(all[i])
		slices.Sort(givenUp[i])
	}
	return all, givenUp, nil
}

// deliveryText says how many of the destinations that are owed the file have got it, and names the
// others. receipts includes the destinations for which the file was given up.
func deliveryText(f *ledger.File, receipts, givenUp []string) string {
	if len(f.Owed) == 0 {
		return "owed to nobody"
	}
	text := fmt.Sprintf("delivered %d/%d", len(receipts)-len(givenUp), len(f.Owed))
	if len(givenUp) > 0 {
		text += "  given up for " + strings.Join(givenUp, ", ")
	}
	if missing := slices.DeleteFunc(slices.Clone(f.Owed), func(dest string) bool { return slices.Contains(receipts, dest) }); len(missing) > 0 {
		text += "  not yet to " + strings.Join(missing, ", ")
	}
	return text
}
