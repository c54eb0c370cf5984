package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/stream"
)

// catalogTimeout limits how long reading the catalog topic, or writing a batch to it, may take. A
// variable for tests.
var catalogTimeout = 30 * time.Second

// catalogTopic accesses the stored catalog on behalf of one command.
type catalogTopic struct{ *services }

// withCatalog calls do with the stored catalog. With create, it creates a missing topic if the
// configuration allows that.
func withCatalog(ctx context.Context, a *app, create bool, do func(*catalogTopic, *catalog.Snapshot) error) error {
	return withConnections(a, false, func(s *services) error {
		t := &catalogTopic{s}
		if err := t.prepare(ctx, create); err != nil {
			return err
		}
		stored, err := t.read(ctx)
		if err != nil {
			return err
		}
		return do(t, stored)
	})
}

func (t *catalogTopic) prepare(ctx context.Context, create bool) error {
	if err := t.kafka.Ping(ctx); err != nil {
		return fmt.Errorf("%w; set kafka.brokers, or start Kafka", err)
	}
	if !create {
		return nil
	}
	for _, topic := range t.topics() {
		if topic.Name == t.cfg.Kafka.CatalogTopic {
			return t.kafka.EnsureTopics(ctx, t.cfg.Kafka.CreateTopics, topic)
		}
	}
	return nil
}

// read returns the stored catalog. It is empty if the topic does not exist.
func (t *catalogTopic) read(ctx context.Context) (*catalog.Snapshot, error) {
	if _, err := t.kafka.Partitions(ctx, t.cfg.Kafka.CatalogTopic); errors.Is(err, stream.ErrNoTopic) {
		return operator(t.cfg).NewLive().Snapshot(), nil
	} else if err != nil { // Follow would wait for brokers that are away, which suits nobody at a prompt
		return nil, fmt.Errorf("read catalog topic %q: %w; set kafka.brokers, or start Kafka", t.cfg.Kafka.CatalogTopic, err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, catalogTimeout, errors.New("it took too long"))
	defer cancel()
	done, finish := context.WithCancel(ctx)
	defer finish()
	live := operator(t.cfg).NewLive()
	caughtUp := false // read only after Follow has returned
	err := t.kafka.Follow(done, t.cfg.Kafka.CatalogTopic, func(records []stream.Record) error {
		for _, r := range records {
			if err := live.Apply(string(r.Key), r.Value); err != nil {
				t.log.Error("catalog record ignored", "partition", r.Partition, "offset", r.Offset, "err", err)
			}
		}
		return nil
	}, func() { caughtUp = true; finish() })
	if !caughtUp {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("read catalog topic %q: %w", t.cfg.Kafka.CatalogTopic, err)
	}
	return live.Publish(), nil
}

func newCatalogGetCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "get [WORKSPACE…]",
		Short:   "Print the applied catalog",
		Long:    "Print the applied catalog as documents that can be applied again. Of write keys, the hashes are shown.",
		Example: "  sealift catalog get > all.yaml\n  sealift catalog get ws_7Qm2Zc9LkTRpV4xWnBsD0a --json",
		RunE: func(c *cobra.Command, args []string) error {
			return withCatalog(c.Context(), a, false, func(_ *catalogTopic, stored *catalog.Snapshot) error {
				if p := stored.Problems(); p != nil {
					a.log.Warn("the stored catalog has problems", "err", p)
				}
				picked, err := pickWorkspaces(stored.Workspaces(), args)
				if err != nil {
					return err
				}
				if asJSON {
					return a.printJSON(picked)
				}
				if len(picked) == 0 {
					_, err = fmt.Fprintln(a.stderr, "no workspace is applied; make one with: sealift catalog new")
					return err
				}
				b, err := catalog.MarshalYAML(picked)
				if err != nil {
					return err
				}
				_, err = a.stdout.Write(b)
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// pickWorkspaces returns the workspaces with these ids, or all if there are none.
func pickWorkspaces(all []catalog.Workspace, ids []string) ([]catalog.Workspace, error) {
	if len(ids) == 0 {
		return append([]catalog.Workspace{}, all...), nil // [], not null
	}
	var out []catalog.Workspace
	for _, id := range ids {
		i := slices.IndexFunc(all, func(w catalog.Workspace) bool { return w.ID == id })
		if i < 0 {
			return nil, fmt.Errorf("no workspace %q is applied; list them with: sealift catalog get", id)
		}
		out = append(out, all[i])
	}
	return out, nil
}
