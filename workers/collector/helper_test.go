package collector

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errAway = errors.New("no broker answers")

// memoryTopic is an in-memory events topic with faults.
type memoryTopic struct {
	mu      sync.Mutex
	records []stream.Record
	err     error         // guarded by mu; Produce fails with it
	hold    chan struct{} // guarded by mu; Produce waits for it to close
	entered chan struct{} // receives for each Produce that waits
}

func newTopic() *memoryTopic { return &memoryTopic{entered: make(chan struct{}, 10_000)} }

func (l *memoryTopic) Produce(ctx context.Context, records ...stream.Record) error {
	l.mu.Lock()
	err, hold := l.err, l.hold
	l.mu.Unlock()
	if hold != nil {
		l.entered <- struct{}{}
		select {
		case <-hold:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records = append(l.records, records...)
	return nil
}

func (l *memoryTopic) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// stall makes Produce wait until the returned function is called.
func (l *memoryTopic) stall() (release func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	hold := make(chan struct{})
	l.hold = hold
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.hold = nil
		close(hold)
	}
}

// take returns what was produced since the last call.
func (l *memoryTopic) take() []stream.Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	produced := l.records
	l.records = nil
	return produced
}

// fixture is a collector under test.
type fixture struct {
	*Collector
	t        testing.TB
	topic    *memoryTopic
	dead     *memoryTopic // dead letters
	live     *catalog.Live
	registry *prometheus.Registry
	logged   *logtest.Buffer
}

func workspaces() []catalog.Workspace {
	return []catalog.Workspace{{ID: "ws_0123456789abcdefghij", Sources: []catalog.Source{
		{ID: "web", WriteKeys: []string{"wk_web"}},
		{ID: "server", WriteKeys: []string{"wk_server", "wk_server2"}},
	}}}
}

func newFixture(t testing.TB, cfg Config, change ...func(*Deps)) *fixture {
	t.Helper()
	b := &fixture{t: t, topic: newTopic(), dead: newTopic(), live: catalog.NewLive(), registry: prometheus.NewRegistry(), logged: &logtest.Buffer{}}
	snapshot, err := catalog.NewSnapshot(workspaces())
	require.NoError(t, err)
	b.live.Set(snapshot)
	deps := Deps{
		Catalog: b.live, Producer: b.topic, DeadLetters: b.dead, Metrics: b.registry,
		Log: logTo(b.logged),
	}
	for _, f := range change {
		f(&deps)
	}
	cfg.Topic = "sealift.events"
	b.Collector, err = New(cfg, deps)
	require.NoError(t, err)
	return b
}

func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// do serves one request without a network. Whatever the answer is, the API's document has to list
// it.
func (b *fixture) do(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	if err := checkRecorded(r, w); err != nil {
		b.t.Error(err)
	}
	return w
}

// post makes a request with that body and the key of source web, in Basic authentication.
func post(path string, body io.Reader) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.SetBasicAuth("wk_web", "")
	return r
}

func text(s string) io.Reader { return strings.NewReader(s) }

// metric returns the sum of a metric over the series that have all of these labels, given as name,
// value, name, value.
func (b *fixture) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	families, err := b.registry.Gather()
	require.NoError(t, err)
	sum := 0.0
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			have := map[string]string{}
			for _, l := range m.GetLabel() {
				have[l.GetName()] = l.GetValue()
			}
			match := true
			for i := 0; i < len(labels); i += 2 {
				match = match && have[labels[i]] == labels[i+1]
			}
			if match {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}
