package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/rotator"
)

func newLedgerLossCommand(a *app) *cobra.Command {
	var (
		partition int
		dryRun    bool
	)
	c := &cobra.Command{
		Use:   "accept-loss --partition N",
		Short: "Let a partition continue after retention removed records that were not read",
		Long: `Let a partition continue that has halted because Kafka removed records before they were in a file. Its ledger
gets an entry that counts them as skipped, lost_in_kafka, and its appender continues at the oldest record that
Kafka has. Other partitions are not touched, and nothing is delivered twice.

Only what no appender has on its disk is lost. Start all appenders first and let them write; if
sealift_appender_left_partitions is not 0 on one of them, stop the others until it has written.`,
		Example: "  sealift ledger accept-loss --partition 3 --dry-run\n  sealift ledger accept-loss --partition 3",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if partition < 0 {
				return usageError("--partition is needed: the appender's log names it")
			}
			return withServices(a, false, func(s *services) error {
				e, err := acceptLoss(c.Context(), s, partition, dryRun)
				if err != nil {
					return fmt.Errorf("partition %d: %w", partition, err)
				}
				verb := "continues"
				if dryRun {
					verb = "would continue"
				}
				_, err = fmt.Fprintf(a.stdout, "partition %d %s at offset %d; lost in Kafka: at most %s\n", partition, verb, e.LowWatermark,
					progress.Plural(e.Skipped[ledger.SkippedLost], "record"))
				return err
			})
		},
	}
	f := c.Flags()
	f.IntVar(&partition, "partition", -1, "the partition that has halted")
	f.BoolVar(&dryRun, "dry-run", false, "only show what would be lost")
	return c
}

func acceptLoss(ctx context.Context, s *services, partition int, dryRun bool) (*ledger.Entry, error) {
	k := s.cfg.Kafka
	bounds, err := stream.BoundsOf(ctx, s.kafka, k.EventsTopic, partition)
	if err != nil {
		return nil, err
	}
	cluster, err := s.kafka.ClusterID(ctx)
	if err != nil {
		return nil, err
	}
	chain := ledger.NewChain(s.staging, ledger.Log{Topic: k.EventsTopic, Incarnation: k.Incarnation, Partition: partition})
	if dryRun {
		head, err := chain.Head(ctx)
		if err != nil {
			return nil, err
		}
		return rotator.LossEntry(head, cluster, bounds, "")
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	return rotator.AcceptLoss(ctx, chain, cluster, bounds, "operator@"+host)
}
