package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/stream"
)

// dependency is a service that must answer before roles start.
type dependency struct {
	name    string // "kafka"
	address string // without secrets
	key     string // the configuration key that leads there
	probe   func(context.Context) error
	// alive is the probe for /readyz; nil means probe itself.
	alive func(context.Context) error
	// permanent reports whether an error is one that waiting cannot fix; nil means that none is.
	permanent func(error) bool
}

// check is a check for /readyz.
func (d dependency) check(ctx context.Context) error {
	probe := d.probe
	if d.alive != nil {
		probe = d.alive
	}
	if err := probe(ctx); err != nil {
		return fmt.Errorf("%s (%s): %w", d.address, d.key, err)
	}
	return nil
}

// await probes d until it answers. Before the first try and after every failure it tells phase what
// it waits for and which configuration key leads there. It returns ctx's error when ctx ends, and
// the probe's error if that is permanent.
func await(ctx context.Context, log *slog.Logger, d dependency, phase func(string)) error {
	waiting := fmt.Sprintf("waiting for %s at %s (%s)", d.name, d.address, d.key)
	phase(waiting)
	begin, backoff := time.Now(), jitter.Backoff{Min: 250 * time.Millisecond, Max: 10 * time.Second}
	for {
		pctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := d.probe(pctx)
		cancel()
		switch {
		case err == nil:
			if waited := time.Since(begin); waited > time.Second {
				log.Info("service answers", "service", d.name, "address", d.address, "after", waited.Round(time.Millisecond))
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case d.permanent != nil && d.permanent(err):
			return fmt.Errorf("use %s at %s (%s): %w", d.name, d.address, d.key, err)
		}
		phase(waiting + ": " + err.Error())
		wait := backoff.Next().Round(time.Millisecond)
		log.Warn("waiting for a service", "service", d.name, "address", d.address, "key", d.key, "err", err, "again_in", wait)
		if err := sleep.For(ctx, wait); err != nil {
			return err
		}
	}
}

// topics returns the topics that Sealift needs.
func (s *services) topics() []stream.Topic {
	k := s.cfg.Kafka
	topics := []stream.Topic{
		{Name: k.EventsTopic, Partitions: k.Partitions, Replication: k.Replication},
		{Name: k.DeadLettersTopic, Partitions: k.Partitions, Replication: k.Replication, MaxRecordBytes: deadLetterBytes},
		{Name: k.CatalogTopic, Partitions: 1, Replication: k.Replication, Compacted: true, MaxRecordBytes: maxWorkspaceBytes},
	}
	for _, name := range copierConfig(s.cfg).Topics() {
		topics = append(topics, stream.Topic{Name: name, Partitions: k.Partitions, Replication: k.Replication})
	}
	return topics
}

// deadLetterBytes is the size limit of a dead letter: room for what the events topic accepts, and
// for the headers that give the reason.
const deadLetterBytes = 2 << 20

const kafkaName = "kafka"

// topicsName is the dependency that is checked only while the process starts.
const topicsName = "topics"

// dependencies returns the services that must answer before these roles start.
func (s *services) dependencies(roles []string) []dependency {
	brokers := strings.Join(s.cfg.Kafka.Brokers, ",")
	deps := []dependency{{
		name: kafkaName, address: brokers, key: "kafka.brokers",
		probe: s.kafka.Ping,
	}, {
		name: topicsName, address: brokers, key: "kafka.*_topic",
		probe: func(ctx context.Context) error {
			return s.kafka.EnsureTopics(ctx, s.cfg.Kafka.CreateTopics, s.topics()...)
		},
	}}
	if !slices.Equal(roles, []string{collectorRole}) {
		deps = append(deps, dependency{
			name: "staging", address: stagingAddress(s.cfg.Staging), key: "staging.bucket",
			probe: func(ctx context.Context) error { return objstore.Probe(ctx, s.staging) },
			alive: func(ctx context.Context) error { _, err := s.staging.List(ctx, "probe/", "", 1); return err },
			permanent: func(err error) bool {
				return errors.Is(err, objstore.ErrUnconditional) || errors.Is(err, objstore.ErrWrongRegion) || errors.Is(err, objstore.ErrInvalid)
			},
		})
	}
	if slices.Contains(roles, copierRole) && !s.cfg.Copier.WithoutRedis { // auditors work without Redis
		deps = append(deps, dependency{
			name: "redis", address: redisAddress(s.cfg.Redis.URL.Reveal()), key: "redis.url",
			probe: s.redis.Ping,
		})
	}
	return deps
}

// toleratesOutage reports whether roles that are running stay ready while a service is down: a
// collector with a spool works without Kafka.
func (s *services) toleratesOutage(d dependency, roles []string) bool {
	return d.name == kafkaName && s.cfg.Collector.Spool.Dir != "" && slices.Equal(roles, []string{collectorRole})
}

func stagingAddress(c config.Staging) string {
	if c.Endpoint == "" {
		return "s3://" + c.Bucket
	}
	return strings.TrimSuffix(c.Endpoint, "/") + "/" + c.Bucket
}

// redisAddress returns the host and port of the URL, without its secrets.
func redisAddress(rawURL string) string {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "?"
	}
	return u.Host
}
