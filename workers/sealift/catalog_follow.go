package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/stream"
)

// followCatalog keeps the catalog as its topic says until ctx ends. A record that cannot be read is
// logged, and leaves its workspace as it was. The catalog is published when the topic has been read
// to its end, and after every fetch from then on.
func (s *services) followCatalog(ctx context.Context) error {
	bad := map[string]error{} // by workspace
	loaded := false
	return s.kafka.Follow(ctx, s.cfg.Kafka.CatalogTopic, func(records []stream.Record) error {
		for _, r := range records {
			delete(bad, string(r.Key))
			if err := s.catalog.Apply(string(r.Key), r.Value); err != nil {
				bad[string(r.Key)] = err
				s.log.Error("catalog record ignored", "partition", r.Partition, "offset", r.Offset, "err", err)
			}
		}
		if loaded {
			s.catalog.Publish()
		}
		return nil
	}, func() {
		s.catalog.Publish()
		s.catalogErr = errors.Join(slices.Collect(maps.Values(bad))...)
		loaded = true
		close(s.catalogLoaded)
	})
}

// checkCatalogRead returns an error if these roles must not start because a workspace could not be
// read, for instance because a later release wrote it. A collector would refuse its events, with an
// answer after which SDKs drop them. An appender would seal its files as owed to nobody, for good.
func (s *services) checkCatalogRead(roles []string) error {
	if s.catalogErr == nil || !slices.Contains(roles, appenderRole) && !slices.Contains(roles, collectorRole) {
		return nil
	}
	return fmt.Errorf("read the catalog: events of a workspace that is not understood would be refused, and its files owed to nobody; run the release that wrote it, or apply it again with this one: %w", s.catalogErr)
}

// checkCatalogNotEmptied returns an error if an appender would start with an empty catalog although
// files of the events topic were delivered before. This happens if kafka.catalog_topic is misspelt,
// or the topic was deleted: it is then created again, empty, and all files would be owed to nobody.
func (s *services) checkCatalogNotEmptied(ctx context.Context, roles []string) error {
	if !slices.Contains(roles, appenderRole) || len(s.catalog.Snapshot().Workspaces()) > 0 {
		return nil
	}
	k := s.cfg.Kafka
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	page, err := s.staging.List(ctx, delivery.TopicReceiptsPrefix(k.EventsTopic), "", 1)
	switch {
	case err != nil:
		return fmt.Errorf("ask whether files of topic %q were delivered before, for catalog topic %q is empty: %w", k.EventsTopic, k.CatalogTopic, err)
	case len(page) > 0:
		return fmt.Errorf("catalog topic %q has no workspace, but files of topic %q were delivered before: each file that is sealed now would be owed to nobody, for good; "+
			"correct kafka.catalog_topic, or apply the customers' documents again (sealift catalog apply), and start again", k.CatalogTopic, k.EventsTopic)
	}
	return nil
}
