package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/logtest"
	"github.com/sealift/sealift/pkg/porttest"
)

// addOutput keeps what was written, for the search. allowed are the secrets that it is supposed to
// show.
func (w *canaryRig) addOutput(name, text string, allowed ...string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outputs = append(w.outputs, output{name, text, allowed})
}

// findLeaks returns which secrets leaked, and where.
func (w *canaryRig) findLeaks() []string {
	var leaks []string
	for _, o := range w.outputs {
		for _, leak := range w.leaks(o.text, o.allowed...) {
			leaks = append(leaks, o.name+" shows the "+leak)
		}
	}
	return leaks
}

// outputContains reports whether any output contains the text.
func (w *canaryRig) outputContains(text string) bool {
	return slices.ContainsFunc(w.outputs, func(o output) bool { return strings.Contains(o.text, text) })
}

// command runs a command to its end, and interrupts it after limit. What it writes is kept.
func (w *canaryRig) command(name string, env []string, limit time.Duration, c canaryRun) (stdout, stderr string) {
	cmd := exec.Command("sealift", c.args...)
	cmd.Dir, cmd.Env, cmd.Stdin = w.dir, env, strings.NewReader(c.stdin)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		w.addOutput(name, "")
		return "", err.Error()
	}
	timer := time.AfterFunc(limit, func() { _ = cmd.Process.Signal(os.Interrupt) })
	kill := time.AfterFunc(limit+20*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // many are supposed to fail
	timer.Stop()
	kill.Stop()
	w.addOutput(name+" stdout", out.String(), c.shows...)
	w.addOutput(name+" stderr", errOut.String())
	return out.String(), errOut.String()
}

// daemon is a running role.
type daemon struct {
	name, admin, collector string
	cmd                    *exec.Cmd
	out                    logtest.Buffer
	done                   chan error
}

func (w *canaryRig) daemon(t *testing.T, name, role, format string, env []string) *daemon {
	t.Helper()
	d := &daemon{name: name, admin: porttest.Free(t), collector: porttest.Free(t), cmd: exec.Command("sealift", role), done: make(chan error, 1)}
	d.cmd.Dir = w.dir
	d.cmd.Env = append(env[:len(env):len(env)], "SEALIFT_ADMIN_LISTEN="+d.admin, "SEALIFT_COLLECTOR_LISTEN="+d.collector, "SEALIFT_LOG_LEVEL=debug", "SEALIFT_LOG_FORMAT="+format)
	d.cmd.Stdout, d.cmd.Stderr = &d.out, &d.out
	require.NoError(t, d.cmd.Start())
	go func() { d.done <- d.cmd.Wait() }()
	t.Cleanup(func() { _ = d.cmd.Process.Kill(); <-d.done })
	return d
}

func (d *daemon) await(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(readyz(d.admin), text) }, 2*time.Minute, 50*time.Millisecond, "%s: want %q", d.name, text)
}

// pages are all pages of the admin listener.
var pages = []string{"/", "/metrics", "/healthz", "/readyz", "/version", "/debug/pprof/", "/debug/pprof/cmdline", "/debug/pprof/goroutine?debug=2", "/debug/pprof/heap?debug=1", "/debug/pprof/allocs?debug=1"}

// endAndRead reads the pages, ends the process with the signal (SIGQUIT makes it dump
// its goroutines, as a panic does) and keeps all that it wrote.
func (w *canaryRig) endAndRead(t *testing.T, d *daemon, s syscall.Signal) {
	t.Helper()
	for _, page := range pages {
		resp, err := http.Get("http://" + d.admin + page)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		w.addOutput(d.name+" "+page, fmt.Sprint(resp.Header, string(b)))
		if page == "/debug/pprof/goroutine?debug=2" {
			require.Contains(t, string(b), "goroutine 1 ")
		}
	}
	require.NoError(t, d.cmd.Process.Signal(s))
	err := <-d.done
	d.done <- err
	if s == syscall.SIGQUIT {
		require.Contains(t, d.out.String(), "goroutine 1 ")
	}
	require.Contains(t, d.out.String(), "admin listener", d.name)
	w.addOutput(d.name, d.out.String())
}

// sendTraffic sends events that name their source in every possible way, and requests that are
// refused.
func (w *canaryRig) sendTraffic(t *testing.T, url string) {
	t.Helper()
	post := func(path, user, body string, header ...string) int {
		req, err := http.NewRequest(http.MethodPost, url+path, strings.NewReader(body))
		require.NoError(t, err)
		if user != "" {
			req.SetBasicAuth(user, "")
		}
		for i := 0; i < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		resp, err := doUntilTaken(req)
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		w.addOutput("answer to "+path, fmt.Sprint(resp.Header, string(b)))
		return resp.StatusCode
	}
	event := fmt.Sprintf(`{"type":"track","userId":"u","event":"e","properties":{"x":%q},"context":{"traits":{"email":%q}}}`, w.body, w.email)
	require.Equal(t, 200, post("/v1/track", w.writeKey, event))
	require.Equal(t, 200, post("/v1/batch", "", `{"writeKey":"`+w.writeKey+`","batch":[`+event+`]}`))
	require.Equal(t, 200, post("/v1/track", "", `{"writeKey":"`+w.writeKey+`","type":"track","userId":"u","event":"e"}`, "Authorization", "Bearer "+w.writeKey))
	require.Equal(t, 200, post("/v1/page", w.writeKey, fmt.Sprintf(`{"type":"page","name":%q}`, w.refused)), "an event without a user becomes a dead letter")
	w.markUsed("write key", "refused event")
	require.NotEqual(t, 200, post("/v1/track", w.unknownKey, event))
	w.markUsed("unknown write key")
	require.Equal(t, 400, post("/v1/track", w.writeKey, `{"userId":"u",`+w.malformed))
	w.markUsed("malformed body")
	post("/v1/track", w.writeKey, event, "Content-Encoding", "gzip")
	post("/v1/nonsense/"+w.writeKey, "", event)
	for _, path := range []string{"/v1/pixel/track?data=" + w.body, "/v1/pixel/track?writeKey=" + w.unknownKey, "/v1/projects/" + w.unknownKey + "/settings", "/v1/projects/" + w.writeKey + "/settings"} {
		resp, err := http.Get(url + strings.ReplaceAll(path, " ", "+"))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
	}
}
