package e2e

import (
	"context"
	"log/slog"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/copier"
)

// createJobTopics creates the topics that copiers read.
func (p *pipeline) createJobTopics(cfg copier.Config) {
	for _, name := range cfg.Topics() {
		require.NoError(p.t, p.client.EnsureTopics(p.t.Context(), true, stream.Topic{Name: name, Partitions: 2}))
	}
}

// startCopier starts a copier with its own Redis, which runs until the test ends.
func (p *pipeline) startCopier(cfg copier.Config, live *catalog.Live, bucket func(catalog.Target) objstore.Store) {
	redis, err := embedded.StartRedis("127.0.0.1:0")
	require.NoError(p.t, err)
	leases, err := lease.Open(redis.URL(), nil)
	require.NoError(p.t, err)
	cfg.Worker, cfg.SpoolDir = "c", p.t.TempDir()
	c, err := copier.New(cfg, copier.Deps{
		Kafka: copier.NewKafka(p.client), Leases: leases, Staging: p.staging, Roles: anyRole{}, Catalog: live, Log: slog.New(slog.DiscardHandler),
		Open: func(t catalog.Target, _ func(context.Context) (objstore.Credentials, error)) objstore.Store {
			return bucket(t)
		},
	})
	require.NoError(p.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	p.t.Cleanup(func() {
		cancel()
		require.NoError(p.t, <-done)
		require.NoError(p.t, leases.Close())
		require.NoError(p.t, redis.Close())
	})
}

// anyRole lets every role be assumed.
type anyRole struct{}

func (anyRole) Credentials(context.Context, assumerole.Request) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: "role"}, nil
}
func (anyRole) VerifyTrust(context.Context, assumerole.Request) error { return nil }
func (anyRole) Forget(assumerole.Request)                             {}
