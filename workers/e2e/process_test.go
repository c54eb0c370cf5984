package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// built is the directory of the binary that this run built, if it did.
var built string

// binary builds bin/sealift once per run, or takes the one that SEALIFT_BIN
// names.
var binary = sync.OnceValues(func() (_ string, err error) {
	if bin := os.Getenv("SEALIFT_BIN"); bin != "" {
		return filepath.Abs(bin)
	}
	if built, err = os.MkdirTemp("", "sealift-e2e-"); err != nil {
		return "", err
	}
	bin := filepath.Join(built, "sealift")
	cmd := exec.Command("go", "build", "-o", bin, "github.com/sealift/sealift/workers/sealift")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build sealift: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	if dir := os.Getenv(benchServersEnv); dir != "" {
		benchServers(dir)
		return
	}
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// process is one role as a process of the binary.
type process struct {
	t     *testing.T
	name  string
	args  []string
	env   []string
	admin string // host:port of its admin listener
	log   string // file with all that it wrote, over all its lives

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // of Wait, valid after done
}

// newProcess describes a process; start it. Its log goes to dir, and to the
// test's own log if the test fails.
func newProcess(t *testing.T, dir, name, admin string, env []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, name: name, args: args, env: env, admin: admin, log: filepath.Join(dir, name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			p.printLog()
		}
	})
	return p
}

func (p *process) start() {
	p.t.Helper()
	bin, err := binary()
	require.NoError(p.t, err)
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(p.t, err)
	defer out.Close()
	p.cmd = exec.Command(bin, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(environ(), p.env...)
	require.NoError(p.t, p.cmd.Start(), "start %s", p.name)
	p.done = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) {
		p.err = cmd.Wait()
		close(done)
	}(p.cmd, p.done)
}

// ready waits until the process says that its dependencies answer.
func (p *process) ready(ctx context.Context) {
	p.t.Helper()
	last := errors.New("not asked")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
		require.NoError(p.t, err)
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			var body bytes.Buffer
			_, _ = body.ReadFrom(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
			err = fmt.Errorf("%s: %s", resp.Status, body.String())
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			require.Fail(p.t, "the process ended before it was ready", "%s: %v", p.name, p.err)
		case <-ctx.Done():
			require.Fail(p.t, "the process is not ready", "%s: %v", p.name, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// alive fails the test if the process ended by itself.
func (p *process) alive() {
	p.t.Helper()
	select {
	case <-p.done:
		require.Fail(p.t, "the process ended by itself", "%s: %v", p.name, p.err)
	default:
	}
}

// kill is kill -9. It returns when the process has ended.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM and demands a clean end: exit code 0 within limit.
func (p *process) terminate(limit time.Duration) {
	p.t.Helper()
	p.alive()
	began := time.Now()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-p.done:
		require.NoError(p.t, p.err, "%s did not end cleanly on SIGTERM", p.name)
		p.t.Logf("%s drained in %v", p.name, time.Since(began).Round(time.Millisecond))
	case <-time.After(limit):
		// SIGQUIT makes the Go runtime write all stacks to the log.
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
		require.Fail(p.t, "the process did not end on SIGTERM", "%s, within %v", p.name, limit)
	}
}

func (p *process) printLog() {
	const tail = 60
	text, err := os.ReadFile(p.log)
	if err != nil {
		return
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	p.t.Logf("%s: the last of %d lines of %s:\n%s", p.name, len(lines), p.log, strings.Join(lines[max(0, len(lines)-tail):], "\n"))
}

// sealift runs a command of the binary to its end and returns what it printed.
func sealift(t *testing.T, env []string, args ...string) string {
	t.Helper()
	bin, err := binary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(environ(), env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	require.NoError(t, cmd.Run(), "sealift %s\n%s%s", strings.Join(args, " "), out.String(), problems.String())
	return out.String()
}

// environ is this process's environment without Sealift's variables: those of
// the tests are not configuration.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEALIFT_") })
}

// freeAddr returns a loopback address for a process that is about to listen:
// below the ports that the kernel gives to outgoing connections, so that it
// stays free until then, and for a restart.
func freeAddr(t *testing.T) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(10_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			require.NoError(t, l.Close())
			return addr
		}
	}
	require.Fail(t, "no free port")
	return ""
}
