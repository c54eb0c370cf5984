package collector

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// delayedTopic is a topic that takes some milliseconds to answer.
type delayedTopic struct{ to *memoryTopic }

func (r delayedTopic) Produce(ctx context.Context, records ...stream.Record) error {
	time.Sleep(20 * time.Millisecond)
	return r.to.Produce(ctx, records...)
}

// TestSpoolIsLeftWhileClientsSend: although something is always on its way into or out of the
// spool, it is out of use for good soon after Kafka is back. Neither an event that the disk refused
// nor dead letters that Kafka does not accept prevent that.
func TestSpoolIsLeftWhileClientsSend(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{}, dir, 64<<20)
		defer s.close()
		s.deps.Producer, s.deps.Refill = delayedTopic{s.topic}, delayedTopic{s.topic}
		s.topic.fail(errAway)
		end := s.unspool()
		require.NoError(t, os.Rename(dir, dir+".away"))
		require.Equal(t, http.StatusServiceUnavailable, s.send("refused"))
		require.NoError(t, os.Rename(dir+".away", dir))
		s.dead.fail(errAway)
		require.NoError(t, s.spoolParcel(parcel{dead: []stream.Record{{Key: []byte("web"), Value: []byte("{}")}}}, time.Now()))
		var stopped atomic.Bool
		var sending sync.WaitGroup
		for c := range 8 {
			sending.Go(func() {
				for i := 0; !stopped.Load(); i++ {
					if code := s.send(fmt.Sprint(c, " ", i)); code != http.StatusOK {
						t.Errorf("status %d", code)
					}
					time.Sleep(3 * time.Millisecond)
				}
			})
		}
		time.Sleep(5 * time.Second)
		require.False(t, s.spool.Empty())
		s.topic.fail(nil)
		time.Sleep(longestPause + time.Second)
		for range 100 {
			require.True(t, s.spool.Empty())
			time.Sleep(7 * time.Millisecond)
		}
		stopped.Store(true)
		sending.Wait()
		require.False(t, s.letters.Empty())
		end()
	})
}

// TestFailedHandoverDelaysRequestsOnce: Kafka goes away again while the end of the spool is on
// its way; requests wait for that only once.
func TestFailedHandoverDelaysRequestsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpoolFixture(t, Config{}, t.TempDir(), 64<<20)
		defer s.close()
		s.topic.fail(errAway)
		require.Equal(t, http.StatusOK, s.send("outage"))
		s.handover.begin()
		start := time.Now()
		require.Equal(t, http.StatusOK, s.send("waits"))
		require.Equal(t, handoverTimeout, time.Since(start))
		require.Equal(t, http.StatusOK, s.send("does not"))
		require.Equal(t, handoverTimeout, time.Since(start))
		s.topic.fail(nil)
		end := s.unspool()
		synctest.Wait()
		end()
		require.Equal(t, []string{"outage", "waits", "does not"}, ids(s.topic.take()))
	})
}
