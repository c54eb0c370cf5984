package collector

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

func TestKafkaAwayAnswersOnly503(t *testing.T) {
	b := newFixture(t, Config{})
	b.topic.fail(errAway)
	for range 20 {
		w := b.do(post("/v1/track", text(`{}`)))
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
		after, err := strconv.Atoi(w.Header().Get("Retry-After"))
		require.NoError(t, err)
		require.Positive(t, after)
	}
	b.topic.fail(nil)
	require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
	require.Len(t, b.topic.take(), 1)
	require.Equal(t, 1, strings.Count(b.logged.String(), "cannot be produced"), "an outage is logged once")
	require.Contains(t, b.logged.String(), "failed_requests=20")
	require.Zero(t, b.inFlight.used.Load())
}

// deafProducer keeps what it was given until it is done, even if the caller gave up.
type deafProducer struct{ Producer }

func (d deafProducer) Produce(ctx context.Context, records ...stream.Record) error {
	return d.Producer.Produce(context.WithoutCancel(ctx), records...)
}

func TestSlowKafkaIsBoundedInTimeAndMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{MaxInFlight: 1 << 20, AnswerWithin: 10 * time.Second}, func(d *Deps) { d.Producer = deafProducer{d.Producer} })
		release := b.topic.stall()
		start := time.Now()
		var answers sync.WaitGroup
		var mu sync.Mutex
		statuses := map[string]int{}
		for range 500 {
			answers.Go(func() {
				w := b.do(post("/v1/batch", text(`{"batch":[{"p":"`+strings.Repeat("x", 10<<10)+`"}]}`)))
				mu.Lock()
				defer mu.Unlock()
				statuses[fmt.Sprint(w.Code, time.Since(start), w.Header().Get("Retry-After") != "")]++
			})
		}
		answers.Wait()
		shed, waited := statuses["503 0s true"], statuses["503 10s true"]
		require.Equal(t, 500, shed+waited, "%v", statuses)
		require.Greater(t, waited, 50)
		require.Greater(t, shed, 350, "requests beyond the bound were not refused")

		// All requests have been answered, but Kafka's client still holds their bytes.
		used := b.inFlight.used.Load()
		require.Greater(t, used, int64(waited*10<<10))
		require.LessOrEqual(t, used, int64(1<<20))
		release()
		synctest.Wait()
		require.Zero(t, b.inFlight.used.Load())
		require.Equal(t, waited, len(b.topic.take())) //nolint:testifylint // Len prints all of them
		require.Equal(t, http.StatusOK, b.do(post("/v1/track", text(`{}`))).Code)
	})
}

// TestRequestsAnswered503AreNotWrittenLater: what was answered 503 while Kafka was away for longer
// than a request waits is not produced later, because the sender sends all of it again.
func TestRequestsAnswered503AreNotWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{})
		release := b.topic.stall()
		require.Equal(t, http.StatusServiceUnavailable, b.do(post("/v1/track", text(`{}`))).Code)
		time.Sleep(time.Second) // synctest's clock
		require.Zero(t, b.inFlight.used.Load())
		release()
		synctest.Wait()
		require.Empty(t, b.topic.take())
	})
}

// TestClientThatLeavesLosesNothing: net/http cannot tell a client that has gone from one that has
// closed only its own direction, and waits for the answer.
func TestClientThatLeavesLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFixture(t, Config{})
		release := b.topic.stall()
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() { done <- b.do(post("/v1/track", text(`{}`)).WithContext(ctx)).Code }()
		<-b.topic.entered
		leave()
		synctest.Wait()
		require.Empty(t, done, "answered before Kafka")
		release()
		require.Equal(t, http.StatusOK, <-done)
		require.Len(t, b.topic.take(), 1, "the event was not written")
		require.Zero(t, b.inFlight.used.Load())
	})
	b := newFixture(t, Config{Listen: "127.0.0.1:0"})
	url, stop := startServing(t, b)
	require.Equal(t, http.StatusOK, raw(t, url, "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 21\r\n\r\n"+`{"writeKey":"wk_web"}`, true))
	require.Len(t, b.topic.take(), 1)
	require.NoError(t, stop())
}

// startServing serves on a free port until stop is called, which returns Run's error.
func startServing(t *testing.T, b *fixture) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	require.Eventually(t, func() bool { return b.Addr() != "" }, 10*time.Second, time.Millisecond)
	return "http://" + b.Addr(), func() error {
		cancel()
		return <-done
	}
}

func TestRunDrains(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0"})
	url, stop := startServing(t, b)
	release := b.topic.stall()
	answered := make(chan int, 1)
	go func() {
		res, err := http.Post(url+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
		if err != nil {
			answered <- 0
			return
		}
		_ = res.Body.Close()
		answered <- res.StatusCode
	}()
	<-b.topic.entered
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, b.draining.Load, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, b.Ready(t.Context()), "draining")
	release()
	require.Equal(t, http.StatusOK, <-answered)
	require.NoError(t, <-stopped)
	require.Len(t, b.topic.take(), 1)
	_, err := net.Dial("tcp", b.Addr())
	require.Error(t, err)
	http.DefaultClient.CloseIdleConnections()
}

// TestRequestsAreAcceptedDuringDrainDelay: during DrainDelay requests are still accepted, because
// the balancer may not have asked yet whether we are ready.
func TestRequestsAreAcceptedDuringDrainDelay(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0", DrainDelay: time.Hour})
	url, stop := startServing(t, b)
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	require.Eventually(t, func() bool { return b.Ready(t.Context()) != nil }, 10*time.Second, time.Millisecond)
	require.ErrorContains(t, b.Ready(t.Context()), "draining")
	for range 3 { // each on a connection of its own
		res, err := http.Post(url+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		require.Equal(t, http.StatusOK, res.StatusCode)
		http.DefaultClient.CloseIdleConnections()
	}
	require.Len(t, b.topic.take(), 3)
	b.cut() // ends the delay of an hour
	require.NoError(t, <-stopped)
}

func TestDrainIsBounded(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0", Drain: 50 * time.Millisecond})
	url, stop := startServing(t, b)
	b.topic.stall() // forever
	failed := make(chan error, 1)
	go func() {
		res, err := http.Post(url+"/v1/track", "", text(`{"writeKey":"wk_web"}`))
		if err == nil {
			_ = res.Body.Close()
			err = fmt.Errorf("status %d", res.StatusCode)
		}
		failed <- err
	}()
	<-b.topic.entered
	require.NoError(t, stop())
	require.Error(t, <-failed)
	require.Equal(t, http.StatusServiceUnavailable, b.do(post("/v1/track", text(`{}`))).Code, "a request was accepted after shutdown")
}

func TestListenErrorNamesTheKey(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	b := newFixture(t, Config{Listen: l.Addr().String()})
	err = b.Run(t.Context())
	require.ErrorContains(t, err, `listen on collector.listen "`+l.Addr().String()+`"`)
	require.ErrorContains(t, err, "choose another address, like --set collector.listen=:8081")
}

// raw sends bytes over a connection and returns the status of the answer, or 0 if there was none.
func raw(t *testing.T, url string, send string, closeWrite bool) int {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, send)
	require.NoError(t, err)
	if closeWrite {
		require.NoError(t, conn.(*net.TCPConn).CloseWrite())
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func TestBodiesThatDoNotArriveAreRetried(t *testing.T) {
	b := newFixture(t, Config{Listen: "127.0.0.1:0", BodyTimeout: time.Second, HeaderTimeout: time.Second})
	url, stop := startServing(t, b)
	const head = "POST /v1/track HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
	require.Equal(t, http.StatusServiceUnavailable, raw(t, url, head+`{"writeKey":"wk_web",`, false), "slow body")
	require.Equal(t, http.StatusServiceUnavailable, raw(t, url, head+`{"writeKey":"wk_web"}`, true), "cut off body")
	require.Zero(t, raw(t, url, "POST /v1/track HTTP/1.1\r\nHost: x\r\nX-Slow: ", false), "slow header")
	require.Zero(t, b.inFlight.used.Load())
	require.Empty(t, b.topic.take())
	require.NoError(t, stop())
}

func TestSlowBodiesHoldOnlyWhatTheySent(t *testing.T) {
	b := newFixture(t, Config{})
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() {
		r := post("/v1/batch", read)
		r.ContentLength = 500 << 10
		done <- b.do(r).Code
	}()
	_, err := io.WriteString(write, strings.Repeat(" ", 5<<10))
	require.NoError(t, err)
	require.LessOrEqual(t, b.inFlight.used.Load(), int64(8<<10))
	require.NoError(t, write.CloseWithError(errors.New("reset")))
	require.Equal(t, http.StatusServiceUnavailable, <-done)
	require.Zero(t, b.inFlight.used.Load())
}

// TestGzipBodyHoldsNoMoreUntilItIsComplete: a body that starts like gzip holds no more than any
// other until all of it has arrived; only then is memory taken for inflating it.
func TestGzipBodyHoldsNoMoreUntilItIsComplete(t *testing.T) {
	b := newFixture(t, Config{})
	read, write := io.Pipe()
	done := make(chan int, 1)
	go func() { done <- b.do(post("/v1/batch", read)).Code }()
	for _, part := range []string{"\x1f\x8b", "\x08"} { // once the second is read, the first has been processed
		_, err := io.WriteString(write, part)
		require.NoError(t, err)
	}
	require.LessOrEqual(t, b.inFlight.used.Load(), int64(firstBuffer))
	require.NoError(t, write.Close())
	require.Equal(t, http.StatusBadRequest, <-done)
	require.Zero(t, b.inFlight.used.Load())
}

func TestClientReadsTheRefusalOfALargeBody(t *testing.T) {
	b := newFixture(t, Config{})
	server := httptest.NewServer(b.Handler())
	defer server.Close()
	for _, size := range []int{521 << 10, 1 << 20, 2 << 20} {
		res, err := server.Client().Post(server.URL+"/v1/batch", "", text(strings.Repeat("x", size)))
		require.NoError(t, err)
		_ = res.Body.Close()
		require.Equal(t, http.StatusRequestEntityTooLarge, res.StatusCode)
	}
}

// TestRefusedBodiesAreNotAskedFor: a client that asks before it sends a body (Expect: 100-continue)
// is refused at once, and keeps the body.
func TestRefusedBodiesAreNotAskedFor(t *testing.T) {
	b := newFixture(t, Config{})
	server := httptest.NewServer(b.Handler())
	defer server.Close()
	transport := &http.Transport{ExpectContinueTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	for hazard, c := range map[string]struct {
		size     int
		encoding string
		want     int
		sent     bool
	}{
		"taken":            {4 << 10, "", http.StatusBadRequest, true},
		"too_large":        {600 << 10, "", http.StatusRequestEntityTooLarge, false},
		"unknown_encoding": {4 << 10, "br", http.StatusUnsupportedMediaType, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			body := strings.NewReader(strings.Repeat("x", c.size))
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/batch", body)
			require.NoError(t, err)
			r.Header.Set("Expect", "100-continue")
			r.Header.Set("Content-Encoding", c.encoding)
			res, err := (&http.Client{Transport: transport}).Do(r)
			require.NoError(t, err)
			require.NoError(t, res.Body.Close())
			require.Equal(t, c.want, res.StatusCode)
			require.Equal(t, c.sent, body.Len() < c.size)
		})
	}
}

func TestReadyAsksKafka(t *testing.T) {
	away := errors.New("connection refused")
	b := newFixture(t, Config{}, func(d *Deps) { d.Ping = func(context.Context) error { return away } })
	require.ErrorIs(t, b.Ready(t.Context()), away)
}

func TestNewRefusesMissingDeps(t *testing.T) {
	_, err := New(Config{}, Deps{})
	require.Error(t, err)
}
