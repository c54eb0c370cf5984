package collector

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// heapBytes returns the bytes in use after garbage collection.
func heapBytes() int64 {
	runtime.GC()
	runtime.GC() // pools release at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestOverloadIsShedBeforeMemoryGrows: many large requests arrive at once, over sockets, while
// Kafka accepts nothing. What fits the bound is held, all others are refused with Retry-After, and
// the heap stays near the bound. When Kafka is back, everything is as before and no acknowledged
// event is missing.
func TestOverloadIsShedBeforeMemoryGrows(t *testing.T) {
	const bound, clients, each = 16 << 20, 64, 3
	b := newFixture(t, Config{Listen: "127.0.0.1:0", MaxInFlight: bound, AnswerWithin: 300 * time.Millisecond}, func(d *Deps) { d.Producer = deafProducer{d.Producer} })
	url, stop := startServing(t, b)
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	filler := strings.Repeat("x", 30<<10)
	// send sends a batch of 15 events, 450 KB in all, with ids of their own.
	send := func(name string) (status int, retryAfter string, err error) {
		var body strings.Builder
		body.WriteString(`{"writeKey":"wk_web","batch":[`)
		for i := range 15 {
			fmt.Fprintf(&body, `{"messageId":"%s-%d","p":"%s"},`, name, i, filler)
		}
		body.WriteString(`{}]}`)
		res, err := client.Post(url+"/v1/batch", "", strings.NewReader(body.String()))
		if err != nil {
			return 0, "", err
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res.StatusCode, res.Header.Get("Retry-After"), nil
	}
	var mu sync.Mutex
	acknowledged := map[string]bool{}
	round := func(label string) (statuses map[int]int) {
		statuses = map[int]int{}
		var sending sync.WaitGroup
		for c := range clients {
			sending.Go(func() {
				for i := range each {
					name := fmt.Sprint(label, "-", c, "-", i)
					status, after, err := send(name)
					mu.Lock()
					statuses[status]++
					acknowledged[name] = status == http.StatusOK
					mu.Unlock()
					if err != nil || status != http.StatusOK && after == "" {
						t.Errorf("status %d, Retry-After %q, %v", status, after, err)
					}
				}
			})
		}
		sending.Wait()
		return statuses
	}
	before := heapBytes()
	release := b.topic.stall()
	statuses := round("away")
	require.Equal(t, map[int]int{http.StatusServiceUnavailable: clients * each}, statuses)
	require.Positive(t, b.metric(t, "sealift_collector_refused_total", "reason", "overload"))
	require.Greater(t, b.inFlight.used.Load(), int64(bound/2), "the bound was not nearly reached")
	require.LessOrEqual(t, b.inFlight.used.Load(), int64(bound))
	grown := heapBytes() - before
	t.Logf("%d requests of 450 KB, bound %d KiB, heap grown by %d KiB", clients*each, bound>>10, grown>>10)
	require.Less(t, grown, int64(2*bound), "all of it would be 86 MB")

	release()
	require.Eventually(t, func() bool { return b.inFlight.used.Load() == 0 }, 10*time.Second, time.Millisecond)
	for statuses = map[int]int{}; statuses[http.StatusOK] < clients*each; { // some may be refused again
		for status, n := range round(fmt.Sprint("back-", len(acknowledged))) {
			statuses[status] += n
		}
	}
	there := map[string]int{}
	for _, id := range ids(b.topic.take()) {
		if cut := strings.LastIndex(id, "-"); cut > 0 {
			there[id[:cut]]++
		}
	}
	for name, ok := range acknowledged {
		if n := there[name]; ok && n < 15 {
			t.Errorf("batch %s was acknowledged, but %d of its events are stored", name, n)
		}
	}
	client.CloseIdleConnections()
	require.NoError(t, stop())
}

// TestConnectionsWhileDraining: a request in progress is finished and its connection closed, an
// idle connection is closed at once, and new ones are not accepted. None gets half an answer.
func TestConnectionsWhileDraining(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0"})
	url, stop := startServing(t, b)
	addr := strings.TrimPrefix(url, "http://")
	const request = "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n" + `{"writeKey":"wk_web"}`
	dial := func() net.Conn {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
		_, err = io.WriteString(conn, request)
		require.NoError(t, err)
		return conn
	}
	idle := dial()
	answer := make([]byte, 4<<10)
	n, err := idle.Read(answer)
	require.NoError(t, err)
	require.Contains(t, string(answer[:n]), "200 OK")

	release := b.topic.stall()
	busy := dial()
	<-b.topic.entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	rest, err := io.ReadAll(idle)
	require.NoError(t, err)
	require.Empty(t, rest, "the idle connection was sent something")
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, 10*time.Second, time.Millisecond, "refused")
	_, err = io.WriteString(busy, request) // one more request behind the one in progress
	require.NoError(t, err)
	release()
	rest, err = io.ReadAll(busy)
	if err != nil {
		require.ErrorContains(t, err, "reset") // for the second request, after the answer to the first
	}
	require.Equal(t, 1, strings.Count(string(rest), "HTTP/1.1 "), string(rest))
	require.Contains(t, string(rest), "200 OK")
	require.Contains(t, string(rest), "Connection: close")
	require.NoError(t, <-stopped)
	require.Len(t, b.topic.take(), 2)
	_, _ = idle.Close(), busy.Close()
}
