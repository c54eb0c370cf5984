package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/workers/auditor"
)

// demoOptions are the arguments of `sealift demo`.
type demoOptions struct {
	file   string   // NDJSON, or "": the built-in sample
	in     *os.File // the file, which demo opens
	events int      // how many events of the sample are sent
	data   string   // directory, which is kept; "": a temporary one
	out    io.Writer
	errOut io.Writer // progress and complaints
}

// demoCatalog has two customers. The first has two buckets that are written with roles; one of them
// has a prefix and gets one source only. The other has a bucket that is written without a role.
const demoCatalog = `
workspace: ws_acme0000000000000000
sources:
  - {id: web, name: web, write_keys: [wk_web]}
  - {id: ios, name: ios, write_keys: [wk_ios]}
  - {id: android, name: android, write_keys: [wk_android]}
destinations:
  - name: lake
    sources: [web, ios, android]
    bucket: acme-logs
    role_arn: arn:aws:iam::111111111111:role/acme-logs
  - name: archive
    sources: [web]
    bucket: acme-archive/raw/events
    role_arn: arn:aws:iam::111111111111:role/acme-archive
---
workspace: ws_globex00000000000000
sources:
  - {id: server, name: server, write_keys: [wk_server]}
  - {id: backend, name: backend, write_keys: [wk_backend]}
destinations:
  - name: classic
    sources: [server, backend]
    bucket: globex-logs
`

// demoSources are the sources of demoCatalog, indexed like those of the sample.
var demoSources = []string{"web", "ios", "android", "server", "backend"}

// errNotDelivered is the error of a demo whose check failed.
var errNotDelivered = errors.New("the buckets do not hold what was sent")

// runDemo runs the whole system in this process, sends events through it, and
// judges the buckets.
func runDemo(ctx context.Context, o demoOptions, log *slog.Logger) (err error) {
	if o.file != "" {
		if o.in, err = os.Open(o.file); err != nil {
			return err
		}
		defer o.in.Close()
	}
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "sealift-demo-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if kept, err := os.ReadDir(dir); err == nil && len(kept) > 0 {
		return fmt.Errorf("%q is not empty, and what is in its buckets would be counted with what is sent now: name a new directory with --data", dir)
	}
	anywhere := address{at: ":0"}
	s, err := startStack(stackConfig{dir: dir, s3: anywhere, kafka: anywhere, redis: anywhere}, log)
	if err != nil {
		return fmt.Errorf("start the embedded services: %w", err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	cfg := config.Default()
	s.configure(&cfg)
	demoConfigure(&cfg, dir)
	if err := s.s3.CreateBucket(cfg.Staging.Bucket); err != nil {
		return err
	}
	workspaces, err := catalog.Parse([]byte(demoCatalog))
	if err != nil {
		return err
	}

	rctx, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan *process, 1), make(chan error, 1)
	go func() {
		err := runProcess(rctx, cfg, processOptions{
			roles:       allRoles,
			credentials: s.credentials,
			onLoaded: func(ctx context.Context, services *services) error {
				if err := applyCatalog(ctx, services, workspaces); err != nil {
					return err
				}
				return s.provision(services.catalog.Snapshot())
			},
			onReady: func(p *process) { ready <- p },
		}, log)
		stop() // so that nothing waits for a process that has ended
		ended <- err
	}()
	select {
	case p := <-ready:
		err = (&demonstration{demoOptions: o, process: p, stack: s}).run(rctx)
	case err := <-ended:
		return cmp.Or(err, ctx.Err())
	}
	stop()
	return errors.Join(err, <-ended)
}

func demoConfigure(cfg *config.Config, dir string) {
	cfg.Collector.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Collector.Validation = "none" // a file's events are delivered, whatever they are
	cfg.Kafka.SessionTimeout = 10 * time.Second
	cfg.Appender.DataDir = filepath.Join(dir, "appender")
	cfg.Appender.Memory = 128 << 20   // 128 MiB
	cfg.Appender.DiskFree = 256 << 20 // 256 MiB
	cfg.Copier.SpoolDir = filepath.Join(dir, "spool")
	cfg.Copier.RetryTiers = []time.Duration{2 * time.Second, 10 * time.Second}
}

// demonstration is a running demo, once its system is ready.
type demonstration struct {
	demoOptions
	*process
	stack *stack
}

func (d *demonstration) run(ctx context.Context) error {
	fmt.Fprintf(d.out, "Kafka, Redis, S3 and every role of Sealift run in this process: %d sources of 2 workspaces, 3 buckets (2 by AssumeRole with ExternalId, 1 without a role).\n", len(demoSources))
	begin := time.Now()
	sent, err := d.feed(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "Sent %s events over HTTP in %v.\n", progress.Count(sent.acked), time.Since(begin).Round(10*time.Millisecond))
	sent.printNotes(d.out)

	begin = time.Now()
	if err := d.seal(ctx); err != nil {
		return err
	}
	sealed := time.Since(begin)
	begin = time.Now()
	if err := d.awaitDelivered(ctx); err != nil {
		return err
	}
	fmt.Fprintf(d.out, "Sealed in %v, delivered in another %v.\n\n", sealed.Round(10*time.Millisecond), time.Since(begin).Round(10*time.Millisecond))
	return d.judge(ctx, sent)
}

// seal seals everything that was sent, and returns when it is in the ledger.
func (d *demonstration) seal(ctx context.Context) error {
	for len(d.appender.Partitions()) < d.cfg.Kafka.Partitions { // the group is still forming
		if err := sleep.For(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	if err := d.appender.SealAll(ctx); err != nil {
		return fmt.Errorf("seal what was sent: %w", err)
	}
	return nil
}

// deliveryTimeout is how long to wait without any delivery before giving up with an error.
const deliveryTimeout = 2 * time.Minute

// awaitDelivered returns when every file that the ledger owes has a receipt.
func (d *demonstration) awaitDelivered(ctx context.Context) error {
	cfg := auditor.StatusConfig{Topic: d.cfg.Kafka.EventsTopic, Incarnation: d.cfg.Kafka.Incarnation}
	bar := progress.Start(d.errOut, "delivering", 0, progress.Count)
	defer bar.Finish()
	var owed, closed int64 // files at destinations: all, and those with a receipt
	for last := time.Now(); ; {
		status, err := auditor.ReadStatus(ctx, cfg, d.staging, nil)
		if err != nil {
			return err
		}
		owedBefore, closedBefore := owed, closed
		owed, closed = 0, 0
		for _, s := range status.Destinations {
			closed += s.Delivered.Files + s.GivenUp.Files
			owed += s.Undelivered().Files
		}
		owed += closed
		bar.Grow(owed - owedBefore)
		bar.Add(closed - closedBefore)
		if owed == closed {
			return nil
		}
		if closed > closedBefore {
			last = time.Now()
		}
		if time.Since(last) > deliveryTimeout {
			return fmt.Errorf("%s not delivered, and none was in %v: the log says why", progress.Plural(owed-closed, "file"), deliveryTimeout)
		}
		if err := sleep.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}
