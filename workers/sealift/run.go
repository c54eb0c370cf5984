package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/progress"
)

// newRoleCommands returns the commands that run one role, or all of them, against real services.
func newRoleCommands(a *app) []*cobra.Command {
	one := func(name, short, long string) *cobra.Command {
		return newRoleCommand(a, name, short, long, []string{name})
	}
	return []*cobra.Command{
		one(collectorRole, "Take events over HTTP into Kafka",
			"Serve Segment's Tracking API and put every event into the events topic. An event is\nanswered 200 only when all in-sync replicas of Kafka have it or, while Kafka is down, the disk\nof collector.spool.dir."),
		one(appenderRole, "Roll events into files, and seal them into the ledger",
			"Read the partitions of the events topic that the group assigns, append every event to\nthe file of its source and hour, and seal files by the hour and by size: stage, ledger,\ncopy jobs. Give each appender a data directory of its own (appender.data_dir)."),
		one(copierRole, "Copy sealed files into customers' buckets, once",
			"Carry out copy jobs: take the file's lease in Redis, assume the customer's role, PUT the file, write the\nreceipt."),
		one(auditorRole, "Compare what is owed with what was delivered",
			"Compare the ledger with the receipts every hour (auditor.every), enqueue again what is missing, and delete\nstaged files that are no longer needed."),
		newRoleCommand(a, "all", "Run all roles in one process",
			"Run collector, appender, copier and auditor in one process, against real services.\nThey stop in this order.", allRoles),
	}
}

func newRoleCommand(a *app, name, short, long string, roles []string) *cobra.Command {
	return &cobra.Command{
		Use:     name,
		GroupID: groupRun,
		Short:   short,
		Long:    long + "\n\nWaits for services that are down; /readyz on the admin listener says which.",
		Example: "  sealift " + name + " --config sealift.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runProcess(cmd.Context(), a.cfg, processOptions{roles: roles}, a.log)
		},
	}
}

func newDevCommand(a *app) *cobra.Command {
	var o devOptions
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupTry,
		Short:   "Run everything on this machine, with nothing to install",
		Long: `Run every role with an embedded Kafka-protocol broker, Redis and S3, durable below --data: a kill -9 and
a restart lose nothing that was answered 200. (A power loss may: nothing is fsynced for each event.) When
ready, it writes DIR/endpoints.json, and DIR/sealift.yaml, the configuration for other commands.

Without --catalog there is one workspace with the source "demo", the write key "demo" and the bucket
"demo-logs". The catalog file is applied again whenever it changes. Its buckets are created in the embedded
S3, and its roles can be assumed only with the workspace's id as ExternalId. "sealift catalog apply" creates
them too, so apply before you run "sealift destinations check". To try "sealift destinations migrate", first
add the new bucket or role to the document as one more destination, with "enabled: false", and apply that.
Addresses without a host listen on loopback only, because nothing asks for a password.

Configuration works as usual, except for the embedded services and appender.roll_every: --roll-every sets
how often files are sealed. What is not configured is set for one machine and one person, mostly shorter times;
"sealift --config DIR/sealift.yaml config print" shows what is in force. That file is for other commands: dev
itself does not read one that dev wrote.`,
		Example:     "  sealift dev\n  sealift dev --data /tmp/s --http :0 --s3 :0 --kafka :0 --redis :0 --admin :0 --roll-every 5s\n  sealift dev --catalog acme.yaml",
		Args:        cobra.NoArgs,
		Annotations: withEmbedded,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for flag, a := range map[string]*address{"http": &o.http, "s3": &o.s3, "kafka": &o.kafka, "redis": &o.redis, "admin": &o.admin} {
				a.flag, a.chosen = "--"+flag, cmd.Flags().Changed(flag)
				if _, _, err := a.hostPort(); err != nil {
					return usageError(err.Error())
				}
			}
			if o.rollEvery < time.Second || o.rollEvery > time.Hour || time.Hour%o.rollEvery != 0 {
				return usageError(fmt.Sprintf("--roll-every %s: want 1s to 1h, a part of an hour like 5s, 1m or 30m", progress.Duration(o.rollEvery)))
			}
			if writtenByDev(a.configFile()) { // it has the settings of a former run, for other commands
				a.file = os.DevNull
				if err := a.load(); err != nil {
					return err
				}
			}
			return runDev(cmd.Context(), a.cfg, o, a.stdout, a.log)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.data, "data", "./sealift-data", "directory in which everything is kept")
	f.StringVar(&o.http.at, "http", ":8080", "address of the collector, host:port; :0 is any free port")
	f.StringVar(&o.s3.at, "s3", ":9000", "address of the embedded S3 and STS")
	f.StringVar(&o.kafka.at, "kafka", ":9092", "address of the embedded Kafka")
	f.StringVar(&o.redis.at, "redis", ":6379", "address of the embedded Redis")
	f.StringVar(&o.admin.at, "admin", ":9090", "address of /metrics, /readyz and the like")
	f.StringVar(&o.catalog, "catalog", "", "catalog file (default: one workspace, source and bucket)")
	f.DurationVar(&o.rollEvery, "roll-every", 10*time.Second, "how often files are sealed, 1s to 1h, must divide an hour; replaces appender.roll_every")
	return cmd
}

func newDemoCommand(a *app) *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:     "demo [FILE.ndjson]",
		GroupID: groupTry,
		Short:   "Send events through the whole system and verify what arrives",
		Long: `Run the whole system in one process with nothing to install, send events through the HTTP collector, wait
until all are delivered, and read the buckets to verify them.

Each line of FILE is one JSON object. A Tracking API call (it has a type) is sent as it is. An object without
a type but with an event and a userId or anonymousId is sent as a track call. Any other object becomes the
properties of a track call named Line; the output says how many. A messageId is kept. Lines that are not
JSON objects are reported and skipped; a file without any event is an error. Without FILE a built-in sample
is sent.

The last line is "delivered N events in M files, 0 lost, 0 duplicated"; only then is the exit code 0.`,
		Example:     "  sealift demo\n  sealift demo events.ndjson",
		Args:        cobra.MaximumNArgs(1),
		Annotations: withEmbedded,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && cmd.Flags().Changed("events"):
				return usageError("--events is the size of the built-in sample: leave it out, or the file")
			case o.events < 1:
				return usageError("--events: want 1 or more")
			case len(args) > 0:
				o.file = args[0]
			}
			o.out, o.errOut = a.stdout, a.stderr
			log := a.log
			if c := a.cfg.Log; a.cfg.Origin("log.level") == "default" { // logs must not bury the report
				c.Level = "warn"
				log = newLogger(a.stderr, c)
			}
			return runDemo(cmd.Context(), o, log)
		},
	}
	cmd.Flags().IntVar(&o.events, "events", 10_000, "number of events in the sample")
	cmd.Flags().StringVar(&o.data, "data", "", "directory in which everything is kept (default: a temporary one)")
	return cmd
}
