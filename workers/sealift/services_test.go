package main

import (
	"context"
	"net"
	"testing"
	"time"

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

// A broker that takes connections and never answers must not hold up the end
// of a process.
func TestClosingDoesNotWaitForBrokersThatAreAway(t *testing.T) {
	silence, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silence.Close()
	was := closeWithin
	closeWithin = 50 * time.Millisecond
	defer func() { closeWithin = was }()
	cfg := config.Default()
	cfg.Kafka.Brokers = []string{silence.Addr().String()}
	s, err := open(cfg, identity{credentials: testCredentials}, false, silent, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	require.Error(t, s.producer("t", 0).Produce(ctx, stream.Record{Value: []byte("x")}))
	began := time.Now()
	require.NoError(t, s.close())
	require.Less(t, time.Since(began), 3*time.Second)
}

func TestFleetsOfOtherLedgersShareARedis(t *testing.T) {
	a := config.Staging{Bucket: "staging"}
	names := map[string]bool{ledgerName(a): true}
	for _, c := range []config.Staging{{Bucket: "staging2"}, {Bucket: "staging", Prefix: "b"}, {Bucket: "staging", Endpoint: "https://s3.example"}} {
		names[ledgerName(c)] = true
	}
	require.Len(t, names, 4)
	a.Region = "eu-west-1" // is not part of the place
	require.True(t, names[ledgerName(a)])
}
