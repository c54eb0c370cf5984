package send

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// report records what a sender reported about its events.
type report struct {
	mu      sync.Mutex
	acked   map[string]int
	refused map[int64]string
}

func sender(ctx context.Context, url string, cfg Config) (*Sender, *report) {
	t := &report{acked: map[string]int{}, refused: map[int64]string{}}
	cfg.URL, cfg.Log = url, slog.New(slog.DiscardHandler)
	cfg.OnAcked = func(events []Event) {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, e := range events {
			t.acked[e.MessageID]++
		}
	}
	cfg.OnRefused = func(e Event, reason string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.refused[e.Line] = reason
	}
	return New(ctx, cfg), t
}

func call(n int, more string) Event {
	return Event{WriteKey: "wk", MessageID: fmt.Sprint(n), Line: int64(n), Body: fmt.Appendf(nil, `{"type":"track","messageId":"%d"%s}`, n, more)}
}

func TestSend(t *testing.T) {
	var mu sync.Mutex
	var got, requests, overloads int
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _, ok := r.BasicAuth()
		body, err := io.ReadAll(r.Body)
		var b struct{ Batch []map[string]any }
		mu.Lock()
		defer mu.Unlock()
		requests++
		switch {
		case !ok || key != "wk" || r.URL.Path != "/v1/batch" || err != nil || json.Unmarshal(body, &b) != nil:
			w.WriteHeader(http.StatusTeapot)
		case requests == 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		case requests == 2:
			overloads++
			w.WriteHeader(http.StatusTooManyRequests)
		case bytes.Contains(body, []byte("poison")):
			w.WriteHeader(http.StatusBadRequest)
			_, _ = w.Write([]byte(`{"success":false,"message":"poison is not taken"}`))
		default:
			got += len(b.Batch)
			_, _ = w.Write([]byte(`{"success":true}`))
		}
	}))
	defer server.Close()
	s, outcomes := sender(t.Context(), server.URL+"/", Config{BatchEvents: 10, BatchBytes: 300})
	for n := range 100 {
		more := ""
		if n == 33 || n == 34 || n == 99 {
			more = `,"x":"poison"`
		}
		require.NoError(t, s.Send(call(n, more)))
	}
	require.NoError(t, s.Close())
	require.Equal(t, 97, got)
	require.Len(t, outcomes.acked, 97)
	require.Equal(t, map[int64]string{33: "poison is not taken", 34: "poison is not taken", 99: "poison is not taken"}, outcomes.refused)
	require.Positive(t, s.Resent(), "a 503 may have been taken")
	require.Equal(t, 1, overloads)
}

// TestDeadLettersAreReported: events that were answered 200 but are dead letters are reported as
// such, because they will be in no bucket.
func TestDeadLettersAreReported(t *testing.T) {
	for hazard, c := range map[string]struct {
		answer string
		dead   map[int64]string
	}{
		"none":          {`{"success":true}`, map[int64]string{}},
		"some":          {`{"success":true,"dead_letters":{"no_user":[0,2],"message_id_too_long":[9]}}`, map[int64]string{1: "no_user", 3: "no_user", 10: "message_id_too_long"}},
		"out_of_bounds": {`{"success":true,"dead_letters":{"no_user":[-1,10,3]}}`, map[int64]string{4: "no_user"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, c.answer) }))
			defer server.Close()
			for _, dedicated := range []bool{true, false} {
				var mu sync.Mutex
				dead, cfg := map[int64]string{}, Config{}
				if dedicated {
					cfg.OnDead = func(e Event, reason string) {
						mu.Lock()
						defer mu.Unlock()
						dead[e.Line] = reason
					}
				}
				s, outcomes := sender(t.Context(), server.URL, cfg)
				for n := range 10 {
					require.NoError(t, s.Send(call(n+1, "")))
				}
				require.NoError(t, s.Close())
				if !dedicated {
					dead, outcomes.refused = outcomes.refused, nil
				}
				require.Equal(t, c.dead, dead)
				require.Empty(t, outcomes.refused)
				require.Len(t, outcomes.acked, 10-len(dead))
			}
		})
	}
}

// TestOtherServersAcceptNothing: a page that answers 200, or redirects to one, counts as having
// accepted nothing.
func TestOtherServersAcceptNothing(t *testing.T) {
	for name, answer := range map[string]http.HandlerFunc{
		"page":  func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>welcome</html>") },
		"empty": func(http.ResponseWriter, *http.Request) {},
		"login": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				_, _ = io.WriteString(w, `{"success":true}`)
				return
			}
			http.Redirect(w, r, "/login", http.StatusFound)
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(answer)
			defer server.Close()
			s, outcomes := sender(t.Context(), server.URL, Config{})
			require.NoError(t, s.Send(call(1, "")))
			require.ErrorContains(t, s.Close(), "answered")
			require.Empty(t, outcomes.acked)
		})
	}
}

func TestSendGivesUp(t *testing.T) {
	t.Run("on_an_answer_that_will_not_change", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "no such write key", http.StatusUnauthorized)
		}))
		defer server.Close()
		s, outcomes := sender(t.Context(), server.URL, Config{BatchEvents: 1, Workers: 1})
		var err error
		for n := 0; err == nil; n++ {
			err = s.Send(call(n, ""))
		}
		require.ErrorContains(t, err, "answered 401: no such write key")
		require.ErrorContains(t, s.Close(), "no such write key")
		require.Empty(t, outcomes.acked)
	})
	t.Run("when_its_context_ends", func(t *testing.T) {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}))
		defer server.Close()
		ctx, cancel := context.WithCancel(t.Context())
		s, _ := sender(ctx, server.URL, Config{BatchEvents: 1})
		require.NoError(t, s.Send(call(1, "")))
		cancel()
		require.ErrorIs(t, s.Close(), context.Canceled)
	})
}

func TestSendGivesUpAfterRetryFor(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusRequestTimeout)
		_, _ = w.Write([]byte(`{"message":"try again"}`))
	}))
	defer server.Close()
	s, outcomes := sender(t.Context(), server.URL, Config{RetryFor: time.Millisecond})
	require.NoError(t, s.Send(call(1, "")))
	require.ErrorContains(t, s.Close(), "not taken in 1ms: answered 408: try again")
	require.Empty(t, outcomes.acked)
	require.Empty(t, outcomes.refused)
}

func TestGzip(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := gzip.NewReader(r.Body)
		if err != nil || r.Header.Get("Content-Encoding") != "gzip" || json.NewDecoder(body).Decode(new(any)) != nil {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = io.WriteString(w, `{"success":true}`)
	}))
	defer server.Close()
	s, outcomes := sender(t.Context(), server.URL, Config{Gzip: true})
	require.NoError(t, s.Send(call(1, "")))
	require.NoError(t, s.Close())
	require.Len(t, outcomes.acked, 1)
}

// Events that were received before have timestamps that are right. With a time of sending, the
// collector would correct them by all the time since then.
func TestReceivedEventsAreSentWithoutSentAt(t *testing.T) {
	for name, received := range map[string]bool{"new": false, "received": true} {
		t.Run(name, func(t *testing.T) {
			var body struct{ SentAt *string }
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if json.NewDecoder(r.Body).Decode(&body) != nil {
					w.WriteHeader(http.StatusTeapot)
				}
				_, _ = io.WriteString(w, `{"success":true}`)
			}))
			defer server.Close()
			s, outcomes := sender(t.Context(), server.URL, Config{})
			e := call(1, "")
			e.Received = received
			require.NoError(t, s.Send(e))
			require.NoError(t, s.Close())
			require.Len(t, outcomes.acked, 1)
			require.Equal(t, received, body.SentAt == nil)
		})
	}
}

func TestNDJSON(t *testing.T) {
	long := strings.Repeat("x", maxEventBytes)
	in := strings.Join([]string{
		"\xef\xbb\xbf" + `{"type":"page","messageId":"m1","name":"Home"}`,
		``,
		"  \r",
		`{"type":"track","event":"A"}` + "\r",
		`{}`,
		`{"city":"Bern","messageId":"m2"}`,
		`[1,2]`,
		`{"broken":`,
		`"text"`,
		`{"type":"identify","messageId":""}`,
		`{"type":"identify","messageId":7,"type":"alias"}`,
		`{"type":"unheard","messageId":"a\"b"}`,
		`{"type":"track","p":"` + long + `"}`,
		`{"type":"track",` + strings.Repeat(" ", maxEventBytes) + `"messageId":"m3"}`,
		`{"p":"` + strings.Repeat("x", maxLineBytes) + `"}`,
		`{"type":"track","messageId":"old","messageId":"new"}`,
		`{"event":"A","userId":"u"}`,
		`{"event":"A","anonymousId":"a","type":null,"messageId":"m4"}`,
		`{"event":"A","userId":"","messageId":"m5"}`,
		`{"event":7,"userId":"u","messageId":"m6"}`,
		`{"event":"A","userId":42,"messageId":"m9"}`,
		`{"event":"A","anonymousId":0,"messageId":"m10"}`,
		`{"event":"A","userId":true,"messageId":"m11"}`,
		`{"type":"page","messageId":"m12","timestamp":"2020-01-01T00:00:00Z","sentAt":"2020-01-01T00:00:01Z","receivedAt":"2020-01-01T00:00:02Z"}`,
		`{"userId":"u","messageId":"m7"}`,
		`{"event":"A","userId":"u","type":"unheard","messageId":"m8"}`,
	}, "\n")
	wrapped := 0
	var bodies []string
	bad := map[int64]string{}
	for e, err := range NDJSON(strings.NewReader(in), "run") {
		var line *BadLine
		if errors.As(err, &line) {
			bad[line.Line] = line.Reason
			continue
		}
		require.NoError(t, err)
		var fields map[string]any
		require.NoError(t, json.Unmarshal(e.Body, &fields), string(e.Body))
		require.Equal(t, e.MessageID, fields["messageId"])
		bodies = append(bodies, string(e.Body))
		require.Equal(t, fields["event"] == "Line", e.Wrapped)
		if e.Wrapped {
			wrapped++
		}
	}
	require.Equal(t, 8, wrapped)
	require.Equal(t, []string{
		`{"type":"page","messageId":"m1","name":"Home"}`,
		`{"type":"track","event":"A","messageId":"run-4"}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"run-5","properties":{}}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m2","properties":{"city":"Bern","messageId":"m2"}}`,
		`{"type":"identify","messageId":"","messageId":"run-10"}`,
		`{"type":"identify","messageId":7,"type":"alias","messageId":"run-11"}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"a\"b","properties":{"type":"unheard","messageId":"a\"b"}}`,
		`{"type":"track","messageId":"m3"}`,
		`{"type":"track","messageId":"old","messageId":"new"}`,
		`{"event":"A","userId":"u","messageId":"run-17","type":"track"}`,
		`{"event":"A","anonymousId":"a","type":null,"messageId":"m4","type":"track"}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m5","properties":{"event":"A","userId":"","messageId":"m5"}}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m6","properties":{"event":7,"userId":"u","messageId":"m6"}}`,
		`{"event":"A","userId":42,"messageId":"m9","type":"track"}`,
		`{"event":"A","anonymousId":0,"messageId":"m10","type":"track"}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m11","properties":{"event":"A","userId":true,"messageId":"m11"}}`,
		`{"type":"page","messageId":"m12","timestamp":"2020-01-01T00:00:00Z","sentAt":"2020-01-01T00:00:01Z","receivedAt":"2020-01-01T00:00:02Z","sentAt":null}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m7","properties":{"userId":"u","messageId":"m7"}}`,
		`{"type":"track","event":"Line","anonymousId":"run","messageId":"m8","properties":{"event":"A","userId":"u","type":"unheard","messageId":"m8"}}`,
	}, bodies)
	require.Equal(t, "it is not a JSON object", bad[7])
	require.Equal(t, "it is not a JSON object", bad[8])
	require.Equal(t, "it is not a JSON object", bad[9])
	require.Contains(t, bad[13], "more than 32768")
	require.Contains(t, bad[15], "at most 32768")
	require.Len(t, bad, 5)
}

func TestNDJSONOfGzip(t *testing.T) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := io.WriteString(z, `{"type":"track"}`)
	require.NoError(t, errors.Join(err, z.Close()))
	var all []error
	for _, err := range NDJSON(&b, "run") {
		all = append(all, err)
	}
	require.Equal(t, []error{ErrGzip}, all)
}

func TestNDJSONReadingError(t *testing.T) {
	var last error
	for _, err := range NDJSON(iotest.ErrReader(errors.New("disk on fire")), "run") {
		last = err
	}
	require.ErrorContains(t, last, "read line 1: disk on fire")
}

func FuzzNDJSON(f *testing.F) {
	for _, line := range []string{`{"type":"track","messageId":"m"}`, `{"a":1}`, `{"type":"page","messageId":7,"messageId":""}`, "{}\r\n[1]\n", `{"type":"track" }`, `{"messageId":"\ud800"}`, "{\"messageId\":\"\xff\xfem\"}", `{"event":"a","userId":"u"}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		last := int64(0)
		for e, err := range NDJSON(bytes.NewReader(in), "run") {
			if err != nil {
				if errors.Is(err, ErrGzip) {
					return
				}
				var bad *BadLine
				require.ErrorAs(t, err, &bad)
				require.Greater(t, bad.Line, last)
				last = bad.Line
				continue
			}
			require.Greater(t, e.Line, last)
			last = e.Line
			require.LessOrEqual(t, len(e.Body), maxEventBytes)
			require.NotEmpty(t, e.MessageID)
			var fields map[string]json.RawMessage
			require.NoError(t, json.Unmarshal(e.Body, &fields), string(e.Body))
			var id string
			require.NoError(t, json.Unmarshal(fields["messageId"], &id), string(e.Body))
			require.Equal(t, e.MessageID, id, string(e.Body))
		}
	})
}
