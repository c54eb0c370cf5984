package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	sizing "github.com/sealift/sealift/pkg/plan"
	"github.com/sealift/sealift/pkg/progress"
)

func newPlanCommand(a *app) *cobra.Command {
	load := sizing.DefaultLoad()
	var asJSON bool
	var constants string
	c := &cobra.Command{
		Use:     "plan",
		GroupID: groupOperate,
		Short:   "Estimate what a load needs and costs: partitions, workers, files, requests",
		Long: `Estimate what a load needs before anything is built: partitions, workers of each role with their memory and
disks, files per day, Kafka's disk, requests to S3, KMS and STS and what they cost, and what breaks first.

Files and requests follow from the design. The CPU, memory and disk that a byte or a file takes were measured;
the last lines say where. Memory and disks have room for what the limits in the configuration allow (such as
collector.max_in_flight, or appender.disk_free and a quarter more), and an appender's also for the files of one
that is down.`,
		Example: `  sealift plan --events-per-second 50000 --sources 2000 --destinations 300
  sealift plan --events-per-second 1e6 --sources 100000 --destinations 10000 --cores 16 --json`,
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(*cobra.Command, []string) error {
			measured, err := sizing.Default()
			if err == nil && constants != "" {
				var text []byte
				if text, err = os.ReadFile(constants); err == nil {
					measured, err = sizing.Decode(text)
				}
			}
			if err != nil {
				return err
			}
			p, err := sizing.Estimate(load, measured)
			if err != nil {
				return usageError(err.Error())
			}
			if asJSON {
				return a.printJSON(p)
			}
			return printPlan(a.stdout, p)
		},
	}
	f := c.Flags()
	f.Float64Var(&load.EventsPerSecond, "events-per-second", load.EventsPerSecond, "events per second, on average")
	f.Float64Var(&load.Peak, "peak", load.Peak, "load of the busiest hour, as a multiple of the average")
	f.Float64Var(&load.EventBytes, "event-bytes", load.EventBytes, "size of a stored line in bytes, on average")
	f.IntVar(&load.Sources, "sources", load.Sources, "number of sources")
	f.IntVar(&load.Destinations, "destinations", load.Destinations, "number of destinations")
	f.Float64Var(&load.Copies, "copies", load.Copies, "number of destinations that a file is owed to, on average")
	f.Float64Var(&load.Skew, "skew", load.Skew, "how unevenly sources share the events: exponent of Zipf's law; 0: evenly")
	f.IntVar(&load.Spread, "spread", load.Spread, "partitions over which a source that is too much for one is spread (spread in the catalog)")
	f.Float64Var(&load.KMSShare, "kms-share", load.KMSShare, "share of the files that go to buckets with a KMS key and no bucket key, 0 to 1")
	f.DurationVar(&load.RollEvery, "roll-every", load.RollEvery, "appender.roll_every")
	f.DurationVar(&load.DedupWindow, "dedup-window", load.DedupWindow, "appender.dedup_window")
	f.DurationVar(&load.KafkaRetention, "kafka-retention", load.KafkaRetention, "retention of the events topic")
	f.IntVar(&load.Replication, "replication", load.Replication, "number of replicas of the events topic")
	f.DurationVar(&load.StagingRetention, "staging-retain", load.StagingRetention, "staging.retain")
	f.DurationVar(&load.DeliverWithin, "deliver-within", load.DeliverWithin, "how soon after the turn of the hour all files are to be delivered")
	f.DurationVar(&load.S3Latency, "s3-latency", load.S3Latency, "duration of one request to S3")
	f.IntVar(&load.Concurrency, "copier-concurrency", load.Concurrency, "copier.concurrency")
	f.Float64Var(&load.Cores, "cores", load.Cores, "number of cores of a worker")
	f.Float64Var(&load.Utilisation, "utilisation", load.Utilisation, "how busy cores may be at the peak, 0 to 1")
	f.StringVar(&constants, "measured", "", "file with the constants of your own benchmark (make bench-plan)")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

func printPlan(out io.Writer, p sizing.Plan) error {
	l := p.Load
	fmt.Fprintf(out, "%s events/s of %.0f B, peak x%g; %s, %s, skew %g; the largest source has %.2g %%; workers of %g cores, %.3g %% busy\n", formatCount(l.EventsPerSecond), l.EventBytes, l.Peak,
		progress.Plural(int64(l.Sources), "source"), progress.Plural(int64(l.Destinations), "destination"), l.Skew, 100*p.HottestShare, l.Cores, 100*l.Utilisation)
	fmt.Fprintf(out, "a day: %s of lines, %s of gzip in %s files, %s deliveries, %s ledger entries\n\n", formatSize(p.BytesPerDay), formatSize(p.GzipPerDay),
		formatCount(p.FilesPerDay), formatCount(p.DeliveriesPerDay), formatCount(p.EntriesPerDay))

	var tables strings.Builder
	w := tabwriter.NewWriter(&tables, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "WORKERS\tBUSY CORES\tCOUNT\tMEMORY EACH\tDISK EACH")
	for _, r := range p.Workers {
		fmt.Fprintf(w, "%s\t%.1f\t%d\t%s\t%s\n", r.Role, r.Busy, r.Count, formatSize(r.MemoryBytes), formatSize(r.DiskBytes))
	}
	fmt.Fprintf(w, "\t\t\t\t\nKAFKA\tPARTITIONS\tPEAK\tDISK OF %d REPLICAS\t\n", l.Replication)
	fmt.Fprintf(w, "events topic\t%d\t%s/s\t%s\t\n", p.Kafka.Partitions, formatSize(p.Kafka.BytesPerSecond), formatSize(p.Kafka.DiskBytes))
	fmt.Fprintln(w, "\t\t\t\t\nREQUESTS\tA DAY\tA DELIVERY\tUSD A MONTH\tPAID BY")
	for _, r := range p.Requests {
		if r.PerDay > 0 {
			fmt.Fprintf(w, "%s\t%s\t%.3f\t%.2f\t%s\n", r.Kind, formatCount(r.PerDay), r.PerFile, r.USD, r.Payer)
		}
	}
	fmt.Fprintf(w, "staging, %s\t\t\t%.2f\toperator\n", formatSize(p.StagedBytes), p.StorageUSD)
	fmt.Fprintf(w, "sum\t\t%.3f\t%.2f\toperator\n\t\t\t%.2f\tcustomers\n", p.RequestsPerFile, p.OperatorUSD, p.CustomersUSD)
	if err := w.Flush(); err != nil {
		return err
	}
	for line := range strings.Lines(tables.String()) {
		fmt.Fprintln(out, strings.TrimRight(line, " \n")) // empty cells keep the tables aligned
	}
	for _, n := range p.Notes {
		fmt.Fprintf(out, "\n! %s\n", n)
	}
	m := p.Measured
	fmt.Fprintf(out, "\nCPU, memory and gzip (level %d) as measured on %s on %s, commit %s (%s)\n", m.Level, m.Time[:min(10, len(m.Time))], m.Machine, m.Commit, m.Command)
	_, err := fmt.Fprintf(out, "%s\n", p.PriceSource)
	return err
}

func formatCount(x float64) string { return progress.Count(int64(x + 0.5)) }
func formatSize(x float64) string  { return progress.Bytes(int64(x + 0.5)) }
