package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/collector"
)

// memoryTopic is an events topic in memory; if flaky, each third request fails.
type memoryTopic struct {
	mu    sync.Mutex
	flaky bool
	calls int
	ids   map[string]int
}

func (s *memoryTopic) Produce(_ context.Context, records ...stream.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.calls++; s.flaky && s.calls%3 == 1 {
		return errors.New("no broker answers")
	}
	for _, r := range records {
		var line struct{ MessageID string }
		if err := json.Unmarshal(r.Value, &line); err != nil {
			return err
		}
		s.ids[line.MessageID]++
	}
	return nil
}

func startCollector(t *testing.T) (url string, topic *memoryTopic) {
	t.Helper()
	snapshot, err := catalog.NewSnapshot([]catalog.Workspace{{ID: "ws_0123456789abcdefghij", Sources: []catalog.Source{{ID: "web", WriteKeys: []string{"wk_web"}}}}})
	require.NoError(t, err)
	live := catalog.NewLive()
	live.Set(snapshot)
	topic = &memoryTopic{ids: map[string]int{}}
	c, err := collector.New(collector.Config{Validate: true}, collector.Deps{Catalog: live, Producer: topic, DeadLetters: topic})
	require.NoError(t, err)
	server := httptest.NewServer(c.Handler())
	t.Cleanup(server.Close)
	return server.URL, topic
}

func runSealift(t *testing.T, stdin string, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = run(t.Context(), args, env, strings.NewReader(stdin), &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestSendFile(t *testing.T) {
	url, topic := startCollector(t)
	topic.flaky = true
	var lines strings.Builder
	for n := range 1200 {
		fmt.Fprintf(&lines, `{"type":"track","userId":"u","event":"e","messageId":"m-%d"}`+"\n", n)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	code, out, errOut := runSealift(t, "", nil, "send", file, "--url", url, "--write-key", "wk_web", "--json")
	require.Equal(t, exitOK, code, errOut)
	var counts sendCounts
	require.NoError(t, json.Unmarshal([]byte(out), &counts))
	require.EqualValues(t, 1200, counts.Sent)
	require.Positive(t, counts.Resent)
	require.Len(t, topic.ids, 1200)
}

func TestSendStandardInput(t *testing.T) {
	url, topic := startCollector(t)
	in := `{"type":"page","userId":"u"}` + "\nnot json\n" + `{"city":"Bern"}` + "\n"
	code, out, errOut := runSealift(t, in, []string{writeKeyVariable + "=wk_web"}, "send", "--url", url+"/", "--no-gzip")
	require.Equal(t, exitPartial, code, errOut)
	require.Contains(t, out, "sent 2 events")
	require.Contains(t, out, "\n1 line is not a Segment call; it was sent as a track call named Line\n")
	require.Contains(t, errOut, "line 2 is not sent: it is not a JSON object")
	require.Len(t, topic.ids, 2, "each line gets its own messageId")
}

// TestSendOfSilentInput: lines of a pipe such as tail -f are sent while it stays open, and a signal
// ends the command although nothing more comes.
func TestSendOfSilentInput(t *testing.T) {
	url, topic := startCollector(t)
	in, writer := io.Pipe()
	defer writer.Close()
	ctx, interrupt := context.WithCancelCause(t.Context())
	defer interrupt(nil)
	var out, errOut bytes.Buffer
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"send", "--url", url, "--write-key", "wk_web"}, nil, in, &out, &errOut)
	}()
	_, err := io.WriteString(writer, `{"type":"page","userId":"u","messageId":"m"}`+"\n")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		topic.mu.Lock()
		defer topic.mu.Unlock()
		return len(topic.ids) == 1
	}, 20*time.Second, 10*time.Millisecond)
	interrupt(interruptedError{os.Interrupt})
	select {
	case got := <-code:
		require.Equal(t, exitInterrupted, got)
		require.True(t, strings.HasSuffix(errOut.String(), "sealift: interrupted\n"), errOut.String())
	case <-time.After(20 * time.Second):
		require.Fail(t, "the command waits for its input")
	}
}

// Empty input is fine, since there may be nothing new; input without any event is an error.
func TestSendOfInputWithoutEvents(t *testing.T) {
	url, topic := startCollector(t)
	for in, c := range map[string]struct {
		code int
		want string
	}{
		"":                         {exitOK, "sent 0 events"},
		"[{\"type\":\"page\"}]\n":  {exitFailure, "standard input has no event that can be sent; one JSON object a line is read (`jq -c . FILE`"},
		"{\n\"type\": \"page\"\n}": {exitFailure, "standard input has no event"},
		"\x1f\x8b\x08":             {exitFailure, "it is gzip; unpack it first, with gunzip"},
	} {
		code, out, errOut := runSealift(t, in, nil, "send", "--url", url, "--write-key", "wk_web")
		require.Equal(t, c.code, code, errOut)
		require.Contains(t, out+errOut, c.want)
	}
	require.Empty(t, topic.ids)
}

// TestSendNamesDeadLetters: dead letters are reported by line, because no bucket gets them although
// the collector answers 200.
func TestSendNamesDeadLetters(t *testing.T) {
	url, _ := startCollector(t)
	long := strings.Repeat("m", 101)
	in := `{"type":"track","userId":"u","event":"e"}` + "\n\n" + `{"type":"page"}` + "\n" + `{"type":"track","userId":"u","event":"e","messageId":"` + long + `"}` + "\n" +
		strings.Repeat(`{"type":"track","userId":"u"}`+"\n", maxPrintedLines) + "no JSON\n"
	code, out, errOut := runSealift(t, in, nil, "send", "--url", url, "--write-key", "wk_web")
	require.Equal(t, exitPartial, code, errOut)
	require.Contains(t, out, "sent 1 event in ")
	require.Contains(t, out, "22 dead letters, 1 line refused")
	require.Contains(t, errOut, "line 3 became a dead letter: neither userId nor anonymousId\n")
	require.Contains(t, errOut, "line 4 became a dead letter: a messageId longer than 100 characters\n")
	require.Contains(t, errOut, "line 25 is not sent: it is not a JSON object\n")
	require.Contains(t, errOut, "more lines became dead letters; they are counted\n")
	require.Contains(t, out, "sealift sources status")
	require.NotContains(t, errOut, long)

	code, out, _ = runSealift(t, in, nil, "send", "--url", url, "--write-key", "wk_web", "--json")
	require.Equal(t, exitPartial, code)
	var counts sendCounts
	require.NoError(t, json.Unmarshal([]byte(out), &counts))
	require.Equal(t, []int64{1, 22, 1}, []int64{counts.Sent, counts.DeadLetters, counts.Refused})
}

// TestSendSaysHowToGoOn: batches are answered in any order, so what counts is the first line without
// an answer, and not how many have one.
func TestSendSaysHowToGoOn(t *testing.T) {
	var lines strings.Builder
	for n := range 1200 {
		fmt.Fprintf(&lines, `{"type":"track","userId":"u","event":"e","messageId":"m-%d"}`+"\n", n)
	}
	file := filepath.Join(t.TempDir(), "events.ndjson")
	require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	for hazard, c := range map[string]struct {
		file, concurrency, hangs string // the messageId in the batch that gets no answer
		want                     string
	}{
		"second_batch":          {file, "1", "m-500", "every line before line 501 is done: go on with `tail -n +501 " + file + " | sealift send` and the same flags; of the "},
		"second_batch_of_stdin": {"-", "1", "m-500", "every line before line 501 is done: go on with that one; of the "},
		"first_batch":           {file, "2", "m-0", "line 1 was not answered: begin again; of the "},
	} {
		t.Run(hazard, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			other := make(chan struct{}, 10)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				switch {
				case r.Method == http.MethodGet:
					_, _ = io.WriteString(w, `{"integrations":{}}`)
				case strings.Contains(string(body), `"`+c.hangs+`"`):
					<-other // the other batch has been answered
					cancel(interruptedError{os.Interrupt})
					<-r.Context().Done()
				default:
					_, _ = io.WriteString(w, `{"success":true}`)
					other <- struct{}{}
				}
			}))
			defer server.Close()
			var out, errOut bytes.Buffer
			args := []string{"send", c.file, "--url", server.URL, "--write-key", "wk_web", "--no-gzip", "--concurrency", c.concurrency}
			require.Equal(t, exitInterrupted, run(ctx, args, nil, strings.NewReader(lines.String()), &out, &errOut), errOut.String())
			require.Contains(t, errOut.String(), "sealift: "+c.want)
			require.Contains(t, errOut.String(), "some may have arrived: those with a messageId of their own are delivered once all the same (appender.dedup_window), others twice\nsealift: interrupted\n")
		})
	}
}

func TestSendErrors(t *testing.T) {
	url, topic := startCollector(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	secure := httptest.NewTLSServer(nil)
	defer secure.Close()
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	store := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>`)
	}))
	defer store.Close()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") }))
	defer site.Close()
	moved := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // as balancers send http to https
		http.Redirect(w, r, url+r.URL.Path, http.StatusMovedPermanently)
	}))
	defer moved.Close()
	for hazard, c := range map[string]struct {
		args []string
		code int
		text string
	}{
		"no_write_key":                  {[]string{"--url", url}, exitUsage, "--write-key"},
		"wrong_url":                     {[]string{"--url", "localhost", "--write-key", "wk_web"}, exitUsage, "http://localhost:8080"},
		"unknown_write_key":             {[]string{"--url", url, "--write-key", "wk_sEcReT"}, exitFailure, "knows no source with this write key"},
		"url_of_the_api":                {[]string{"--url", url + "/v1", "--write-key", "wk_web"}, exitFailure, "/v1: the collector there serves nothing below that path; leave the path out"},
		"no_collector":                  {[]string{"--url", closed.URL, "--write-key", "wk_sEcReT"}, exitFailure, "is it running"},
		"http_to_a_tls_server":          {[]string{"--url", strings.Replace(secure.URL, "https", "http", 1), "--write-key", "wk_web"}, exitFailure, "TLS is spoken there; write https://"},
		"https_to_a_plain_server":       {[]string{"--url", strings.Replace(url, "http", "https", 1), "--write-key", "wk_web"}, exitFailure, "plain http is spoken there: write http://"},
		"unknown_certificate_authority": {[]string{"--url", secure.URL, "--write-key", "wk_web"}, exitFailure, "SSL_CERT_FILE=ca.pem"},
		"a_store":                       {[]string{"--url", store.URL, "--write-key", "wk_sEcReT"}, exitFailure, "that is no collector: it answered 403"},
		"a_site":                        {[]string{"--url", site.URL, "--write-key", "wk_sEcReT"}, exitFailure, "that is no collector: it answered 200"},
		"a_redirect":                    {[]string{"--url", moved.URL, "--write-key", "wk_sEcReT"}, exitFailure, "redirects to " + url + "/v1/projects/KEY/settings, and events follow no redirect"},
		"no_file":                       {[]string{"--url", url, "--write-key", "wk_web", "/no/such/file"}, exitFailure, "/no/such/file"},
		"two_files":                     {[]string{"a", "b"}, exitUsage, `"b" is one argument too many; usage: sealift send [FILE] [flags]`},
	} {
		t.Run(hazard, func(t *testing.T) {
			code, out, errOut := runSealift(t, `{"type":"track"}`, nil, append([]string{"send"}, c.args...)...)
			require.Equal(t, c.code, code, errOut)
			require.Contains(t, errOut, c.text)
			require.NotContains(t, out+errOut, "sEcReT")
			require.Empty(t, topic.ids)
		})
	}
}

// Sending goes on if the collector is busy or starting, or if a proxy in front of it lets only
// events through.
func TestProbeCollectorIgnoresTransientAnswers(t *testing.T) {
	a := &app{log: slog.New(slog.DiscardHandler)}
	for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed} {
		busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		require.NoError(t, a.probeCollector(t.Context(), busy.URL, "wk_web"), status)
		busy.Close()
	}
}
