package collector

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
)

// batchOf returns a batch of n events with a key of its own.
func batchOf(key string, n int) *http.Request {
	r := post("/v1/batch", text(fmt.Sprintf(`{"writeKey":%q,"batch":[%s{}]}`, key, strings.Repeat("{},", n-1))))
	r.Header.Del("Authorization")
	return r
}

func TestRateLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type step struct {
			after  time.Duration
			key    string
			events int
			want   string // status, and how long the client is told to wait
		}
		for hazard, c := range map[string]struct {
			limit Limit
			steps []step
		}{
			"no_limit": {Limit{}, []step{{0, "wk_web", 2500, "200"}, {0, "wk_web", 2500, "200"}}},
			"key_is_limited_and_refills": {Limit{PerKey: 1000, Burst: 5 * time.Second}, []step{
				{0, "wk_web", 2500, "200"},
				{0, "wk_web", 2500, "200"},
				{0, "wk_web", 1, "429 1s"},
				{0, "wk_web", 2500, "429 3s"},
				{2500 * time.Millisecond, "wk_web", 2500, "200"},
				{0, "wk_web", 1, "429 1s"},
			}},
			"other_keys_are_unaffected": {Limit{PerKey: 10}, []step{
				{0, "wk_web", 2500, "200"}, {0, "wk_web", 10, "429 1s"},
				{0, "wk_server", 2500, "200"}, {0, "wk_server2", 2500, "200"}, {0, "wk_other", 2500, "200"},
			}},
			"workspace_counts_all_its_keys": {Limit{PerWorkspace: 100}, []step{
				{0, "wk_web", 2000, "200"}, {0, "wk_server", 500, "200"},
				{0, "wk_server2", 300, "429 3s"}, {0, "wk_web", 1, "429 1s"}, {0, "wk_other", 2500, "200"},
			}},
			"refused_requests_cost_nothing": {Limit{PerKey: 1000, PerWorkspace: 1}, []step{
				{0, "wk_web", 2400, "200"},
				{0, "wk_web", 2000, "429 1900s"}, {0, "wk_web", 2000, "429 1900s"}, {0, "wk_server", 100, "200"},
			}},
			"a_full_batch_fits_any_limit": {Limit{PerKey: 1, Burst: time.Second}, []step{{0, "wk_web", 2500, "200"}, {0, "wk_web", 2500, "429 2500s"}}},
		} {
			b := newFixture(t, Config{Limit: c.limit})
			w := append(workspaces(), catalog.Workspace{ID: "ws_otherabcdefghijklmn", Sources: []catalog.Source{{ID: "other", WriteKeys: []string{"wk_other"}}}})
			snapshot, err := catalog.NewSnapshot(w)
			require.NoError(t, err)
			b.live.Set(snapshot)
			for i, s := range c.steps {
				time.Sleep(s.after) // synctest's clock
				r := b.do(batchOf(s.key, s.events))
				got := strconv.Itoa(r.Code)
				if after := r.Header().Get("Retry-After"); after != "" {
					got += " " + after + "s"
					require.Equal(t, after, r.Header().Get("X-RateLimit-Reset"), "%s: analytics.js waits for so many seconds", hazard)
				}
				require.Equal(t, s.want, got, "%s, step %d", hazard, i)
				require.Equal(t, r.Code == http.StatusOK, len(b.topic.take()) == s.events, "%s: the request was accepted in part", hazard)
			}
			require.Zero(t, b.inFlight.used.Load())
		}
	})
}

// TestEachEventIsChargedToItsKey: in a batch without a key, each event is charged to its own.
func TestEachEventIsChargedToItsKey(t *testing.T) {
	b := newFixture(t, Config{Limit: Limit{PerKey: 1}})
	mixed := func(web, server int) *http.Request {
		events := strings.Repeat(`{"writeKey":"wk_web"},`, web) + strings.Repeat(`{"writeKey":"wk_server"},`, server)
		r := post("/v1/batch", text(`{"batch":[`+strings.TrimSuffix(events, ",")+`]}`))
		r.Header.Del("Authorization")
		return r
	}
	require.Equal(t, http.StatusOK, b.do(mixed(2000, 100)).Code)
	require.Equal(t, http.StatusTooManyRequests, b.do(mixed(2000, 100)).Code)
	require.Equal(t, http.StatusOK, b.do(mixed(400, 2000)).Code, "the refused batch was charged")
	require.InDelta(t, 1, b.metric(t, "sealift_collector_refused_total", "reason", "rate_limit_key"), 0)
}

// TestRetriesAfter429LoseNothing sends as SDKs do: what is refused is sent again after
// Retry-After, and in the end everything is there once.
func TestRetriesAfter429LoseNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{Limit: Limit{PerKey: 500, Burst: time.Second}})
		var clients sync.WaitGroup
		for client := range 8 {
			clients.Go(func() {
				for n := range 20 {
					for {
						id := fmt.Sprintf("m-%d-%d", client, n)
						w := b.do(post("/v1/batch", text(fmt.Sprintf(`{"batch":[{"messageId":%q}%s]}`, id, strings.Repeat(",{}", 99)))))
						if w.Code == http.StatusOK {
							break
						}
						if w.Code != http.StatusTooManyRequests {
							t.Errorf("status %d", w.Code)
							return
						}
						after, err := strconv.Atoi(w.Header().Get("Retry-After"))
						if err != nil || after < 1 {
							t.Errorf("Retry-After: %q", w.Header().Get("Retry-After"))
							return
						}
						time.Sleep(time.Duration(after) * time.Second) // synctest's clock
					}
				}
			})
		}
		start := time.Now()
		clients.Wait()
		took := time.Since(start)
		ids := map[string]int{}
		records := b.topic.take()
		for _, r := range records {
			if id, _ := r.Header("sealift-message"); strings.HasPrefix(string(id), "m-") {
				ids[string(id)]++
			}
		}
		require.Equal(t, 16_000, len(records)) //nolint:testifylint // Len prints all of them
		require.Len(t, ids, 160, "each once")
		require.GreaterOrEqual(t, took, 27*time.Second, "2,500 at once, then 500 a second")
		require.Less(t, took, 40*time.Second)
		require.Positive(t, b.metric(t, "sealift_collector_refused_total", "reason", "rate_limit_key"))
	})
}

// TestARefusedBatchOfTwoKeysTakesNothing: a refused batch takes nothing from the limits, even if
// its 2,500 events alternate between two keys of one workspace.
func TestARefusedBatchOfTwoKeysTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{Limit: Limit{PerWorkspace: 1000, Burst: time.Second}})
		mixed := func() (status int, after string) {
			events := strings.Repeat(`{"writeKey":"wk_web"},{"writeKey":"wk_server"},`, 1250)
			r := post("/v1/batch", text(`{"batch":[`+strings.TrimSuffix(events, ",")+`]}`))
			r.Header.Del("Authorization")
			w := b.do(r)
			return w.Code, w.Header().Get("Retry-After")
		}
		require.Equal(t, http.StatusOK, b.do(batchOf("wk_web", 500)).Code)
		for range 10 {
			status, after := mixed()
			require.Equal(t, "429 1", fmt.Sprint(status, " ", after))
		}
		require.Equal(t, http.StatusOK, b.do(batchOf("wk_server2", 2000)).Code, "what is left of the limit")
		status, after := mixed()
		require.Equal(t, "429 3", fmt.Sprint(status, " ", after))
		time.Sleep(3 * time.Second) // synctest's clock
		status, _ = mixed()
		require.Equal(t, http.StatusOK, status)
	})
}

func TestRequestsRefusedAtOnceTakeNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(Limit{PerKey: 1, PerWorkspace: 1, Burst: time.Second})
		require.Nil(t, l.take(map[charge]int{{"web", "ws"}: 500}))
		var clients sync.WaitGroup
		for range 8 {
			clients.Go(func() {
				for range 1000 {
					if refused := l.take(map[charge]int{{"web", "ws"}: 2001}); refused == nil || refused.after != time.Second {
						t.Errorf("%+v", refused)
						return
					}
				}
			})
		}
		clients.Wait()
		require.Nil(t, l.take(map[charge]int{{"web", "ws"}: 2000}), "what is left of the limit")
	})
}

// TestUnacceptedEventsAreNotCharged: a client that is answered 503 sends its events again,
// and is within its limit then.
func TestUnacceptedEventsAreNotCharged(t *testing.T) {
	for hazard, c := range map[string]struct {
		cfg   Config
		spoil func(b *fixture) (mend func())
	}{
		"kafka_is_away": {Config{}, func(b *fixture) func() {
			b.topic.fail(errAway)
			return func() { b.topic.fail(nil) }
		}},
		"no_room_for_its_lines": {Config{MaxInFlight: 8 << 20}, func(b *fixture) func() {
			b.inFlight.used.Add(7 << 20)
			return func() { b.inFlight.used.Add(-7 << 20) }
		}},
	} {
		t.Run(hazard, func(t *testing.T) {
			c.cfg.Limit = Limit{PerKey: 1, PerWorkspace: 2}
			synctest.Test(t, func(t *testing.T) {
				b := newFixture(t, c.cfg)
				mend := c.spoil(b)
				for range 3 {
					require.Equal(t, http.StatusServiceUnavailable, b.do(batchOf("wk_web", 2000)).Code)
				}
				mend()
				require.Equal(t, http.StatusOK, b.do(batchOf("wk_web", 2000)).Code)
				require.Equal(t, http.StatusTooManyRequests, b.do(batchOf("wk_web", 501)).Code, "the charge was returned twice")
				require.Equal(t, http.StatusOK, b.do(batchOf("wk_web", 500)).Code)
			})
		})
	}
}

// TestDisconnectedClientIsCharged: otherwise a client could send without limit by not waiting for
// answers.
func TestDisconnectedClientIsCharged(t *testing.T) {
	b := newFixture(t, Config{Limit: Limit{PerKey: 1}})
	ctx, leave := context.WithCancel(t.Context())
	leave()
	b.do(batchOf("wk_web", 2500).WithContext(ctx))
	require.Equal(t, http.StatusTooManyRequests, b.do(batchOf("wk_web", 100)).Code)
}

func TestRateLimitMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(Limit{PerKey: 1000, PerWorkspace: 1_000_000, Burst: 10 * time.Second})
		for round := range 20 { // 10,000 keys at a time, different ones each minute
			for i := range 10_000 {
				require.Nil(t, l.take(map[charge]int{{fmt.Sprint(round, "-", i), "ws"}: 1}))
			}
			require.LessOrEqual(t, len(l.keys.by), 20_000)
			time.Sleep(time.Minute) // synctest's clock
		}
		require.Len(t, l.workspaces.by, 1)
	})
}

func TestSweepKeepsBucketsInDebt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimits(Limit{PerKey: 1, Burst: time.Second})
		require.Nil(t, l.take(map[charge]int{{key: "noisy"}: 2500}))
		for i := range 5 * firstSweep {
			require.Nil(t, l.take(map[charge]int{{key: fmt.Sprint(i)}: 1}))
			time.Sleep(10 * time.Millisecond) // synctest's clock
		}
		refused := l.take(map[charge]int{{key: "noisy"}: 2500})
		require.NotNil(t, refused)
		require.InDelta(t, 2500-51.2, refused.after.Seconds(), 1)
		require.Less(t, len(l.keys.by), 3*firstSweep)
	})
}

func TestPixelOverTheLimitIsCounted(t *testing.T) {
	b := newFixture(t, Config{Limit: Limit{PerKey: 1}})
	require.Equal(t, http.StatusOK, b.do(batchOf("wk_web", 2500)).Code)
	b.topic.take()
	r := post("/v1/pixel/track?writeKey=wk_web&event=x", nil)
	r.Method = http.MethodGet
	require.Equal(t, http.StatusOK, b.do(r).Code)
	require.Empty(t, b.topic.take())
	require.InDelta(t, 1, b.metric(t, "sealift_collector_refused_total", "reason", "rate_limit_key"), 0)
}

func BenchmarkLimit(b *testing.B) {
	l := newLimits(Limit{PerKey: 1e9, PerWorkspace: 1e9})
	charges := map[charge]int{{"wk_0123456789abcdefghijklmnop", "ws_0123456789abcdefghij"}: 1}
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if l.take(charges) != nil {
				panic(errors.New("limited"))
			}
		}
	})
}
