package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/flock"
	"github.com/sealift/sealift/pkg/shell"
)

// devOptions are the flags of `sealift dev`.
type devOptions struct {
	data                          string
	http, s3, kafka, redis, admin address
	catalog                       string // file, or "": the default workspace
	rollEvery                     time.Duration
}

// endpoints is the content of DIR/endpoints.json, for scripts and tests.
type endpoints struct {
	Collector   string `json:"collector"` // URL
	S3          string `json:"s3"`        // URL, also of STS
	S3AccessKey string `json:"s3_access_key"`
	S3SecretKey string `json:"s3_secret_key"`
	S3Region    string `json:"s3_region"`
	Kafka       string `json:"kafka"` // host:port
	Redis       string `json:"redis"` // URL
	Admin       string `json:"admin"` // URL
}

// demoWorkspace is the catalog of `sealift dev` unless another is named: one source, whose write
// key is "demo", and one bucket, which is written with a role.
const demoWorkspace = `
workspace: ws_demo0000000000000000
sources:
  - id: demo
    name: demo
    write_keys: [demo]
destinations:
  - name: demo
    sources: [demo]
    bucket: demo-logs
    role_arn: arn:aws:iam::123456789012:role/demo-logs
`

// runDev runs everything in this process until ctx ends, with its data in o.data.
func runDev(ctx context.Context, cfg config.Config, o devOptions, out io.Writer, log *slog.Logger) (err error) {
	lock, err := lockDir(o.data)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	if _, err := os.Stat(o.configFile()); err == nil && !writtenByDev(o.configFile()) {
		return fmt.Errorf("%q was not written by sealift dev, and would be replaced: choose another directory with --data", o.configFile())
	}
	file := filepath.Join(o.data, "endpoints.json")
	o.reusePorts(file)
	// Whoever waits for the file must not read one from an earlier run.
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	s, err := startStack(stackConfig{
		dir: o.data, s3: o.s3, kafka: o.kafka, redis: o.redis,
		trimGroups: append(copierConfig(cfg).ConsumerGroups(), cfg.Kafka.Group),
	}, log)
	if err != nil {
		return fmt.Errorf("start the embedded services in %q: %w", o.data, err)
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.s3.CreateBucket(cfg.Staging.Bucket); err != nil {
		return err
	}
	s.configure(&cfg)
	devConfigure(&cfg, o)
	if cfg.Collector.Listen, err = o.http.pickFree(log); err != nil {
		return err
	}
	if cfg.Admin.Listen, err = o.admin.pickFree(log); err != nil {
		return err
	}
	if err := cfg.Validate(); err != nil {
		return err
	}

	c := &devCatalog{stack: s, file: o.catalog, log: log}
	ctx, stop := context.WithCancel(ctx)
	defer func() { stop(); c.watchers.Wait() }()
	return runProcess(ctx, cfg, processOptions{
		roles:       allRoles,
		credentials: s.credentials,
		onLoaded:    c.start,
		onReady: func(p *process) {
			e := endpoints{
				Collector: baseURL(p.collector.Addr()), Admin: baseURL(p.admin.Addr()),
				S3: s.s3URL, S3AccessKey: s.key.AccessKeyID, S3SecretKey: s.key.SecretAccessKey.Reveal(), S3Region: embeddedRegion,
				Kafka: s.kafka.Addr(), Redis: s.redis.URL(),
			}
			cfg.Admin.Listen = p.admin.Addr() // :0 says nothing to healthcheck
			b, err := json.MarshalIndent(e, "", "  ")
			if err == nil {
				err = errors.Join(writeFile(o.configFile(), operatorConfig(cfg)), writeFile(file, append(b, '\n')))
			}
			if err != nil {
				log.Error("write endpoints", "file", file, "err", err)
			}
			printDev(out, o, e, c.example)
		},
	}, log)
}

// configFile is the name of the configuration for operators' commands.
func (o devOptions) configFile() string { return filepath.Join(o.data, "sealift.yaml") }

// lockDir creates the directory, and locks it for this process.
func lockDir(dir string) (*flock.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the data directory: %w; choose one that can be written with --data", err)
	}
	lock, err := flock.Open(filepath.Join(dir, "lock"))
	if errors.Is(err, flock.ErrHeld) {
		return nil, fmt.Errorf("%q is in use by another sealift: stop it, or choose another directory with --data", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w; choose one that can be written with --data", err)
	}
	return lock, nil
}

// reusePorts replaces "any free port" by the port of the previous run, so that clients find a
// restarted process where it was. If that port is taken, any other will do.
func (o *devOptions) reusePorts(file string) {
	var e endpoints
	b, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(b, &e) != nil {
		return
	}
	for previousURL, a := range map[string]*address{e.Collector: &o.http, e.S3: &o.s3, "kafka://" + e.Kafka: &o.kafka, e.Redis: &o.redis, e.Admin: &o.admin} {
		host, port, err := net.SplitHostPort(a.at)
		u, perr := url.Parse(previousURL)
		if err == nil && perr == nil && port == "0" && u.Port() != "" {
			a.at, a.chosen = net.JoinHostPort(host, u.Port()), false
		}
	}
}

// devConfigure sets what suits one machine and one person. Most keys that were set explicitly stay.
func devConfigure(cfg *config.Config, o devOptions) {
	preset := func(key string, set func()) {
		if cfg.Origin(key) == "default" {
			set()
		}
	}
	// The addresses that dev prints and writes are local and without TLS. A fleet's spool holds
	// events that are not dev's to send.
	cfg.Collector.TLS, cfg.Collector.PublicHost, cfg.Collector.DrainDelay = config.ServerTLS{}, "", 0
	if cfg.Collector.Spool.Dir != "" {
		cfg.Collector.Spool.Dir = filepath.Join(o.data, "collector-spool")
	}
	cfg.Appender.DataDir = filepath.Join(o.data, "appender")
	cfg.Appender.RollEvery = o.rollEvery // a fleet's value is too long to wait for
	preset("kafka.session_timeout", func() { cfg.Kafka.SessionTimeout = 10 * time.Second })
	preset("appender.grace", func() { cfg.Appender.Grace = time.Second })
	cfg.Appender.Grace = min(cfg.Appender.Grace, o.rollEvery)
	preset("appender.disk_free", func() { cfg.Appender.DiskFree = 256 << 20 }) // 256 MiB
	preset("copier.spool_dir", func() { cfg.Copier.SpoolDir = filepath.Join(o.data, "spool") })
	preset("copier.retry_tiers", func() {
		cfg.Copier.RetryTiers = []time.Duration{5 * time.Second, 30 * time.Second, 5 * time.Minute}
	})
	preset("auditor.every", func() { cfg.Auditor.Every = time.Minute })
	preset("auditor.grace", func() { cfg.Auditor.Grace = 30 * time.Second })
}

// example is what the printed commands contain, so that they can be pasted.
type example struct{ key, source, bucket, region string }

// exampleOf returns the example for the first destination that has sources. Write keys are not
// shown, because they may be those of real sources.
func exampleOf(workspaces []catalog.Workspace) example {
	for _, w := range workspaces {
		for _, d := range w.Destinations {
			if len(d.Sources) > 0 {
				return example{key: "WRITE_KEY", source: d.Sources[0], bucket: d.Bucket, region: cmp.Or(d.Region, embeddedRegion)}
			}
		}
	}
	return example{key: "WRITE_KEY", bucket: "BUCKET", region: embeddedRegion}
}

func printDev(out io.Writer, o devOptions, e endpoints, ex example) {
	keyHint := ""
	if ex.source != "" {
		keyHint = fmt.Sprintf(" (WRITE_KEY: one of source %s in %s)", ex.source, o.catalog)
	}
	self := "sealift"
	if _, err := exec.LookPath(self); err != nil {
		self = shell.QuoteIfNeeded(os.Args[0]) // so that the printed commands can be pasted
	}
	fmt.Fprintf(out, `Sealift is running; its data is in %s. Ctrl-C stops it and keeps the data.

Send an event%s:

  curl -u %s: %s/v1/track -H 'Content-Type: application/json' \
    -d '{"userId":"me","event":"Hello","properties":{"answer":42}}'

List and read the files (an event is in one within %v):

  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=%s
  %s files ls  --endpoint %s --region %s --bucket %s
  %s files cat --endpoint %s --region %s --bucket %s

Run other commands (in a shell with these variables):

  %s --config %s destinations status

Admin: %s/readyz  %s/metrics   Kafka: %s   all addresses: %s
`, o.data, keyHint, ex.key, e.Collector, 2*o.rollEvery+2*time.Second, e.S3AccessKey, e.S3SecretKey,
		self, e.S3, ex.region, ex.bucket, self, e.S3, ex.region, ex.bucket, self, shell.QuoteIfNeeded(o.configFile()), e.Admin, e.Admin, e.Kafka, filepath.Join(o.data, "endpoints.json"))
}
