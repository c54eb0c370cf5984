package main

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/stream"
)

// A catalog that is read in part would leave files owed to nobody.
func TestNothingIsSealedOnACatalogThatCannotBeRead(t *testing.T) {
	const whole = "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
	for name, c := range map[string]struct {
		values []string // of one workspace, in order
		says   string
	}{
		"later_release":     {values: []string{`{"version":99}`}, says: whole},
		"superseded":        {values: []string{`{"version":99}`, ""}},
		"good_before":       {values: []string{"", `{"new_field":1}`}, says: "new_field"},
		"empty_and_deleted": {values: []string{""}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			cfg.Kafka.Brokers = []string{freeAddr(t)}
			startKafka(t, cfg.Kafka.Brokers[0])
			s, err := open(cfg, identity{credentials: testCredentials}, false, silent, nil)
			require.NoError(t, err)
			defer func() { require.NoError(t, s.close()) }()
			require.NoError(t, s.kafka.EnsureTopics(t.Context(), true, stream.Topic{Name: cfg.Kafka.CatalogTopic, Partitions: 1, Compacted: true}))
			for _, v := range c.values {
				r := stream.Record{Key: []byte(whole)}
				if v != "" {
					r.Value = []byte(v)
				}
				require.NoError(t, s.producer(cfg.Kafka.CatalogTopic, 0).Produce(t.Context(), r))
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- s.followCatalog(ctx) }()
			<-s.loaded
			require.NoError(t, s.mayOwe([]string{collectorRole, copierRole}))
			if c.says == "" {
				require.NoError(t, s.mayOwe(allRoles))
			} else {
				require.ErrorContains(t, s.mayOwe(allRoles), c.says)
			}
			cancel()
			require.ErrorIs(t, <-ended, context.Canceled)
		})
	}
}
