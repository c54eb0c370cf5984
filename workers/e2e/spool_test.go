package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/tidwall/gjson"
)

// spoolSection is a collector's configuration section, with a spool below dir.
func spoolSection(dir string) string {
	return fmt.Sprintf("spool: {dir: %q, max_bytes: 1GiB}", filepath.Join(dir, "spool"))
}

// lanes are clients, each with a source of its own, that send one event after another, each until
// it is acknowledged, as SDKs do.
type lanes struct {
	url     string
	client  http.Client
	stopped atomic.Bool
	sending sync.WaitGroup
	acked   []atomic.Int64 // by lane; events 0 to acked-1 are acknowledged
	tries   atomic.Int64   // tries that were not acknowledged
}

// lanePause is how long a lane waits before its next event. Without it, on a busy machine, the lanes
// fill a spool faster than Kafka takes it, and it is never empty.
const lanePause = 10 * time.Millisecond

func startLanes(s *system, n int) *lanes {
	l := &lanes{url: "http://" + s.listen[0] + "/v1/track", client: http.Client{Timeout: 15 * time.Second}, acked: make([]atomic.Int64, n)}
	for lane := range n {
		l.sending.Go(func() {
			for !l.stopped.Load() {
				if l.post(sourceID(lane), l.acked[lane].Load()) {
					l.acked[lane].Add(1)
					time.Sleep(lanePause)
				} else {
					l.tries.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		})
	}
	return l
}

// post sends event i of a source, and tells whether it was acknowledged.
func (l *lanes) post(source string, i int64) bool {
	body := fmt.Sprintf(`{"writeKey":%q,"userId":"u","event":"e","messageId":"m-%d","properties":{"text":%q}}`, writeKey(source), i, strings.Repeat("x", 500))
	answer, err := l.client.Post(l.url, "", strings.NewReader(body))
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	_ = answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func (l *lanes) total() (n int64) {
	for i := range l.acked {
		n += l.acked[i].Load()
	}
	return n
}

// await waits for n more events to be acknowledged.
func (l *lanes) await(ctx context.Context, t *testing.T, n int64) {
	t.Helper()
	for until := l.total() + n; l.total() < until; time.Sleep(time.Millisecond) {
		require.NoError(t, ctx.Err(), "waiting for events to be acknowledged")
	}
}

func (l *lanes) stop() {
	l.stopped.Store(true)
	l.sending.Wait()
	l.client.CloseIdleConnections()
}

// judge requires that every acknowledged event is in the topic, and that the first copies of each
// lane are in the order in which they were sent. It returns the number of further copies.
func (l *lanes) judge(ctx context.Context, t *testing.T, s *system) (copies int) {
	t.Helper()
	next := map[string]int64{}
	dump(ctx, t, s.servers.kafka, s.eventsTopic(), func(r dumped) {
		var i int64
		_, err := fmt.Sscanf(gjson.GetBytes(r.line, "messageId").String(), "m-%d", &i)
		require.NoError(t, err)
		if i < next[r.source] {
			copies++
			return
		}
		require.Equal(t, next[r.source], i, "an event of %s is missing, or later than one that was sent after it", r.source)
		next[r.source]++
	})
	for lane := range l.acked {
		require.GreaterOrEqual(t, next[sourceID(lane)], l.acked[lane].Load(), "lane %d", lane)
	}
	return copies
}

// waitUntilSpoolIsEmpty waits until nothing is left in a collector's spool.
func waitUntilSpoolIsEmpty(ctx context.Context, t *testing.T, p *process) {
	t.Helper()
	for {
		left, err := p.metric(ctx, "sealift_collector_spool_records")
		if err == nil && left == 0 {
			return
		}
		require.NoError(t, ctx.Err(), "%v records are left in the spool: %v", left, err)
		time.Sleep(20 * time.Millisecond)
	}
}

// lanesOnly gives a system a single workspace, whose sources are lanes.
func (s *system) lanesOnly(n int, destinations ...*destination) {
	w := workspace{id: "ws_e2espool" + strings.Repeat("0", 16), destinations: destinations}
	for i := range n {
		w.sources = append(w.sources, sourceID(i))
	}
	for _, d := range destinations {
		d.sources = w.sources
	}
	s.workspaces = []workspace{w}
}
