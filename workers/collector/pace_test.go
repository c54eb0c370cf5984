package collector

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

func TestPace(t *testing.T) {
	const mb = 1 << 20
	synctest.Test(t, func(t *testing.T) {
		p := pace{maxWait: 2 * time.Second}
		p.enter(unpacedBytes - 1)
		require.True(t, p.admits(), "the pace is not known")
		p.enter(1)
		require.False(t, p.admits(), "nothing was acknowledged, and much waits")
		p.leave(unpacedBytes, false)
		require.True(t, p.admits())
		for range 40 { // 20 MB a second
			p.enter(mb)
			time.Sleep(50 * time.Millisecond)
			p.leave(mb, true)
		}
		p.enter(39 * mb)
		require.True(t, p.admits())
		p.enter(2 * mb)
		require.False(t, p.admits(), "it would wait for more than two seconds")
		for range 40 { // half as fast
			time.Sleep(100 * time.Millisecond)
			p.leave(mb, true)
			p.enter(mb)
		}
		p.leave(20*mb, false)
		require.False(t, p.admits(), "21 MB, at 10 MB a second")
		p.leave(2*mb, false)
		require.True(t, p.admits())
	})
}

// stuckProducer never acknowledges.
type stuckProducer struct{}

func (stuckProducer) Produce(ctx context.Context, _ ...stream.Record) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestOverloadIsRefusedAtOnce: what comes faster than Kafka accepts it is refused at once, before
// it is read and without waiting, and is not produced.
func TestOverloadIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newFixture(t, Config{}, func(d *Deps) { d.Producer = stuckProducer{} })
		event := `{"type":"track","event":"e","userId":"u","properties":{"p":"` + strings.Repeat("x", 20_000) + `"}}`
		body := `{"writeKey":"wk_web","batch":[` + strings.Repeat(event+",", 20) + event + `]}`
		var within, after int
		answers := make(chan time.Duration, 40)
		for range cap(answers) {
			go func() {
				start := time.Now()
				w := httptest.NewRecorder()
				c.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/v1/batch", strings.NewReader(body)))
				if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
					t.Errorf("status %d", w.Code)
				}
				answers <- time.Since(start)
			}()
			synctest.Wait()
		}
		for range cap(answers) {
			if took := <-answers; took == 0 {
				within++
			} else {
				require.Equal(t, 4500*time.Millisecond, took, "before the SDK of .NET gives up")
				after++
			}
		}
		require.Equal(t, unpacedBytes/(len(body)+requestOverhead)+1, after)
		require.Equal(t, cap(answers)-after, within)
		time.Sleep(10 * time.Second)
		require.Zero(t, c.pace.waiting.Load())
	})
}
