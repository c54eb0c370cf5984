package copier

import (
	"context"
	"io"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/meter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

// deadKafka returns one job and then never answers again.
type deadKafka struct{ job delivery.Job }

func (k deadKafka) Join(cfg stream.GroupConfig) (Membership, error) {
	return member{cfg.Topics[0]}, nil
}
func (k deadKafka) Producer(string) Producer       { return unanswered{} }
func (k deadKafka) Fetcher(string, int) Fetcher    { return k }
func (k deadKafka) Ping(ctx context.Context) error { return unanswered{}.Close(ctx) }

func (k deadKafka) Bounds(ctx context.Context, _ string, _ ...int) (map[int]stream.Bounds, error) {
	return nil, unanswered{}.Close(ctx)
}

func (k deadKafka) Fetch(ctx context.Context, offset int64, _ stream.FetchOptions) (stream.Fetched, error) {
	if offset == 0 {
		return stream.Fetched{Records: []stream.Record{{Value: k.job.Encode()}}, Next: 1, HighWatermark: 1}, nil
	}
	return stream.Fetched{}, unanswered{}.Close(ctx)
}

// member owns partition 0 of a topic.
type member struct{ topic string }

func (m member) Next(context.Context) (*stream.Generation, error) {
	commit := func(ctx context.Context, _ string, _ map[int]stream.Mark) error { return unanswered{}.Close(ctx) }
	return stream.GenerationForTesting(1, map[string][]stream.Assignment{m.topic: {{Partition: 0}}}, nil, commit), nil
}

func (member) Close(ctx context.Context) error { return unanswered{}.Close(ctx) }

type unanswered struct{}

func (unanswered) Produce(ctx context.Context, _ ...stream.Record) error {
	<-ctx.Done()
	return ctx.Err()
}
func (unanswered) Close(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// TestCopierStopsInTimeIfNothingAnswers: a copier stops within 45 s, after which workers/sealift
// abandons a role, even if nothing answers.
func TestCopierStopsInTimeIfNothingAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		job := delivery.Job{Version: 1, File: delivery.FileRef{Topic: "events", Incarnation: "1", Seq: 1}, Destination: acmeTwo}
		c, err := New(Config{Worker: "copier-1", SpoolDir: t.TempDir(), ReplayConcurrency: -1}, Deps{
			Kafka: deadKafka{job}, Staging: hangingStore{objstore.NewMemory("staging")}, Catalog: catalog.NewLive(), Log: slog.New(slog.DiscardHandler),
		})
		require.NoError(t, err)
		var begun atomic.Int64
		c.attemptOnce = func(ctx context.Context, _ attempt) error {
			begun.Add(1)
			<-ctx.Done()
			time.Sleep(releaseTimeout) // Redis does not answer either
			return ctx.Err()
		}
		c.book.Count(acmeTwo, meter.Counts{Puts: 1})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- c.Run(ctx) }()
		time.Sleep(time.Second)
		require.EqualValues(t, 1, begun.Load())
		stopped := time.Now()
		cancel()
		require.NoError(t, <-ended)
		took := time.Since(stopped)
		require.Greater(t, took, 20*time.Second, "copies were cut off before DrainTimeout")
		require.Less(t, took, 45*time.Second)
	})
}

// hangingStore is a store whose PUTs never return.
type hangingStore struct{ objstore.Store }

func (h hangingStore) Put(ctx context.Context, key string, _ io.ReadSeeker, _ objstore.PutOptions) (objstore.Info, error) {
	<-ctx.Done()
	return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Kind: objstore.ErrUnavailable, Err: ctx.Err()}
}
