package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/auditor"
	"github.com/sealift/sealift/workers/collector"
	"github.com/sealift/sealift/workers/copier"
	"github.com/sealift/sealift/workers/rotator"
)

// Names of the roles, in the order in which they stop: that in which data flows through them.
const (
	collectorRole = "collector"
	appenderRole  = "appender"
	copierRole    = "copier"
	auditorRole   = "auditor"
)

var allRoles = []string{collectorRole, appenderRole, copierRole, auditorRole}

// assembly holds the roles of a process. collector and appender are those of them that other code
// calls; they are nil if the process does not run them.
type assembly struct {
	roles     []role
	collector *collector.Collector
	appender  *appender.Appender
}

// assemble builds the named roles on the services.
func assemble(ctx context.Context, s *services, names []string) (*assembly, error) {
	a := &assembly{}
	for _, name := range names {
		var err error
		switch name {
		case collectorRole:
			err = a.addCollector(s)
		case appenderRole:
			err = a.addAppender(ctx, s)
		case copierRole:
			err = a.addCopier(s)
		case auditorRole:
			err = a.addAuditor(s)
		default:
			err = fmt.Errorf("no role %q", name)
		}
		if err != nil {
			return nil, fmt.Errorf("build %s: %w", name, err)
		}
	}
	return a, nil
}

func (a *assembly) add(name string, r interface {
	Run(context.Context) error
	Ready(context.Context) error
}) {
	a.roles = append(a.roles, role{name: name, run: r.Run, ready: r.Ready})
}

func (a *assembly) addCollector(s *services) error {
	c := s.cfg.Collector
	proxies, err := c.Proxies()
	if err != nil {
		return err
	}
	log := s.log.With("role", collectorRole)
	deps := collector.Deps{
		Catalog: s.catalog, Loaded: s.catalogLoaded,
		Producer: s.eventsProducer(), Ping: s.kafka.Ping,
		DeadLetters: s.topicProducer(s.cfg.Kafka.DeadLettersTopic, deadLetterBytes),
		Log:         log, Metrics: s.metrics,
	}
	if c.Spool.Dir != "" {
		if deps.Spool, deps.Letters, err = collector.OpenSpools(c.Spool.Dir, int64(c.Spool.MaxBytes), log); err != nil {
			return fmt.Errorf("collector.spool.dir: %w", err)
		}
		deps.Refill = s.eventsProducer()
	}
	a.collector, err = collector.New(
		collector.Config{
			Listen: c.Listen, Topic: s.cfg.Kafka.EventsTopic, CertFile: c.TLS.CertFile, KeyFile: c.TLS.KeyFile,
			TrustedProxies: proxies, PublicHost: c.PublicHost, MaxInFlight: int64(c.MaxInFlight), DrainDelay: c.DrainDelay, MaxConnections: c.MaxConnections,
			Validate: c.Validation == "segment",
			Limit:    collector.Limit{PerKey: c.RateLimit.PerKey, PerWorkspace: c.RateLimit.PerWorkspace, Burst: c.RateLimit.Burst},
		},
		deps)
	if err != nil {
		if deps.Spool != nil {
			err = errors.Join(err, deps.Spool.Close(), deps.Letters.Close())
		}
		return err
	}
	a.add(collectorRole, a.collector)
	return nil
}

func (a *assembly) addAppender(ctx context.Context, s *services) error {
	cluster, err := s.kafka.ClusterID(ctx)
	if err != nil {
		return err
	}
	log := s.log.With("role", appenderRole)
	rot := rotator.New(rotator.Config{
		Cluster: cluster, Router: ledger.RouterRule(s.cfg.Kafka.SourceFrom, s.cfg.Kafka.ReceivedFrom),
	}, rotator.Deps{
		Staging: s.staging, Kafka: s.kafka, Jobs: s.topicProducer(s.cfg.Kafka.JobsTopic, 0),
		Owed:   func(source string) []string { return s.catalog.Snapshot().Owed(source) },
		Logger: log, Metrics: s.metrics,
	})
	a.appender, err = appender.New(appenderConfig(s.cfg), appender.Deps{
		Log: appender.KafkaLog{Client: s.kafka},
		Join: func(worker string) (appender.Membership, error) {
			return s.kafka.Join(stream.GroupConfig{
				ID: s.cfg.Kafka.Group, Topics: []string{s.cfg.Kafka.EventsTopic},
				Worker: worker, SessionTimeout: s.cfg.Kafka.SessionTimeout,
				// Open files then stay on the disk; another owner would read their records again.
				KeepOnClose: !s.cfg.Appender.SealOnStop,
				MemberFile:  filepath.Join(s.cfg.Appender.DataDir, "member"), // whoever joins has locked the directory
			})
		},
		DeadLetters: s.topicProducer(s.cfg.Kafka.DeadLettersTopic, deadLetterBytes),
		Rotator:     rot, Logger: log, Metrics: s.metrics,
	})
	if err == nil {
		a.add(appenderRole, a.appender)
	}
	return err
}

func appenderConfig(cfg config.Config) appender.Config {
	c := cfg.Appender
	return appender.Config{
		Topic: cfg.Kafka.EventsTopic, Incarnation: cfg.Kafka.Incarnation, DataDir: c.DataDir,
		SourceFrom: cfg.Kafka.SourceFrom, ReceivedFrom: cfg.Kafka.ReceivedFrom,
		RollEvery: c.RollEvery, Grace: cmp.Or(c.Grace, -1), MaxBytes: int64(c.MaxBytes), Memory: int64(c.Memory),
		DiskFree: int64(c.DiskFree), Level: c.Level, SealOnStop: c.SealOnStop,
		DedupWindow: c.DedupWindow, DedupMemory: int64(c.DedupMemory),
	}
}

func (a *assembly) addCopier(s *services) error {
	c, err := copier.New(copierConfig(s.cfg), copier.Deps{
		Kafka: copier.NewKafka(s.kafka), Leases: s.redis, Staging: s.staging, Roles: s.roles, Catalog: s.catalog, Open: s.openBucket,
		Log: s.log.With("role", copierRole), Metrics: s.metrics,
	})
	if err == nil {
		a.add(copierRole, c)
	}
	return err
}

func copierConfig(cfg config.Config) copier.Config {
	c := cfg.Copier
	return copier.Config{
		JobsTopic: cfg.Kafka.JobsTopic, Group: cfg.Kafka.Group, Worker: workerName(copierRole), SessionTimeout: cfg.Kafka.SessionTimeout,
		Concurrency: c.Concurrency, PerDestination: c.PerDestination, LockTTL: c.LockTTL, SpoolDir: c.SpoolDir,
		RetryTiers: c.RetryTiers, ParkAfter: c.ParkAfter, WithoutRedis: c.WithoutRedis,
		ReplayConcurrency: cmp.Or(c.ReplayConcurrency, -1),
	}
}

func (a *assembly) addAuditor(s *services) error {
	aud, err := auditor.New(auditor.Config{
		Topic: s.cfg.Kafka.EventsTopic,
		Every: s.cfg.Auditor.Every, Minute: s.cfg.Auditor.Minute, Grace: s.cfg.Auditor.Grace, Retain: s.cfg.Staging.Retain,
	}, auditor.Deps{
		Staging: objstore.WithReadRetries(s.staging), // an audit makes many requests, and one failure would void much of it
		Jobs:    s.topicProducer(s.cfg.Kafka.JobsTopic, 0), Leases: s.redis, Catalog: s.catalog,
		Unowned: func(ctx context.Context) ([]int, error) {
			return s.kafka.Unowned(ctx, s.cfg.Kafka.Group, s.cfg.Kafka.EventsTopic)
		},
		Log: s.log.With("role", auditorRole), Metrics: s.metrics,
	})
	if err == nil {
		a.add(auditorRole, aud)
	}
	return err
}

// workerName returns a new unique name, for workers that keep no state of partitions.
func workerName(role string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return host + "-" + role + "-" + uuid.NewString()[:8]
}
