package stream

import (
	"context"
	"fmt"
	"io"
	"net"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/stretchr/testify/require"
)

func TestRetryTransient(t *testing.T) {
	for name, c := range map[string]struct {
		fails error // error of the first calls
		times int
		want  error
		takes time.Duration // at most
	}{
		"leader_changed":  {fmt.Errorf("fetch: %w", kafka.NotLeaderForPartition), 3, nil, time.Second},
		"broker_restarts": {&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, 10, nil, 40 * time.Second},
		"hung_up":         {fmt.Errorf("broker kafka-1:9092: %w", io.EOF), 1, nil, time.Second},
		"silent_broker":   {context.DeadlineExceeded, 2, nil, time.Second},
		"away_for_good":   {syscall.ECONNREFUSED, 1000, syscall.ECONNREFUSED, maxRetryTime + 6*time.Second},
		"out_of_range":    {ErrOffsetOutOfRange, 1, ErrOffsetOutOfRange, 0},
		"damaged":         {ErrBatch, 1, ErrBatch, 0},
		"cut_short":       {fmt.Errorf("%w: gzip: %w", ErrBatch, io.ErrUnexpectedEOF), 1000, ErrBatch, 0},
		"no_topic":        {ErrNoTopic, 1, ErrNoTopic, 0},
		"denied":          {kafka.TopicAuthorizationFailed, 1, kafka.TopicAuthorizationFailed, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, left := time.Now(), c.times
				got, err := RetryTransient(t.Context(), func() (int, error) {
					if left--; left >= 0 {
						return 0, c.fails
					}
					return 7, nil
				})
				require.ErrorIs(t, err, c.want)
				require.LessOrEqual(t, time.Since(began), c.takes)
				if c.want == nil {
					require.Equal(t, 7, got)
				}
			})
		})
	}
}

func TestRetryTransientEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := RetryTransient(ctx, func() (int, error) { return 0, kafka.LeaderNotAvailable })
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}
