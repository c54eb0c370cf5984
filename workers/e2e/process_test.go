package e2e

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/collector/collectortest"
)

// built is the directory of the binary if this run built it.
var built string

// binary builds bin/sealift once per run, or returns the one that SEALIFT_BIN names.
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
	if settings := os.Getenv(bareServerEnv); settings != "" {
		bareServer(settings)
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
	t     testing.TB
	name  string
	args  []string
	env   []string
	admin string // host:port of its admin listener
	log   string // file with everything that it wrote, over all its lives

	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	err  error         // from Wait, valid after done
}

// newProcess describes a process, which start then starts. Its log goes to dir, and to the test's
// own log if the test fails.
func newProcess(t testing.TB, dir, name, admin string, env []string, args ...string) *process {
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

func (p *process) start() error {
	bin, err := binary()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	cmd, done := exec.Command(bin, p.args...), make(chan struct{})
	through := struct{ io.Writer }{out} // a pipe, so that limits on the process's files do not apply to its log
	cmd.Stdout, cmd.Stderr = through, through
	cmd.Env = append(environ(), p.env...)
	if err := cmd.Start(); err != nil {
		_ = out.Close()
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	p.cmd, p.done = cmd, done
	go func() {
		p.err = cmd.Wait()
		_ = out.Close()
		close(done)
	}()
	return nil
}

// ready waits until the process reports that its dependencies answer.
func (p *process) ready(ctx context.Context) error {
	last := errors.New("not asked")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/readyz", nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			var body bytes.Buffer
			_, _ = body.ReadFrom(resp.Body)
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
			err = fmt.Errorf("%s: %s", resp.Status, body.String())
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready: %w", p.name, p.err)
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready: %w", p.name, last)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// alive returns an error if the process has ended by itself.
func (p *process) alive() error {
	select {
	case <-p.done:
		return fmt.Errorf("%s ended by itself: %w", p.name, p.err)
	default:
		return nil
	}
}

// signal sends a signal to a running process.
func (p *process) signal(s syscall.Signal) error {
	if err := p.alive(); err != nil {
		return err
	}
	return p.cmd.Process.Signal(s)
}

// kill is kill -9. It returns when the process has ended.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate sends SIGTERM and requires a clean end: exit code 0 within limit.
func (p *process) terminate(limit time.Duration) error {
	if err := p.signal(syscall.SIGTERM); err != nil {
		return err
	}
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s did not end cleanly on SIGTERM: %w", p.name, p.err)
		}
		return nil
	case <-time.After(limit):
		// SIGQUIT makes the Go runtime write all stacks to the log.
		_ = p.cmd.Process.Signal(syscall.SIGQUIT)
		<-p.done
		return fmt.Errorf("%s did not end within %v of SIGTERM", p.name, limit)
	}
}

// metrics returns the process's metrics, each summed over its labels.
func (p *process) metrics(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.admin+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	sums, lines := map[string]float64{}, bufio.NewScanner(resp.Body)
	for lines.Scan() {
		line := lines.Text()
		if strings.HasPrefix(line, "#") {
			continue
		}
		v, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("%s measures %q: %w", p.name, line, err)
		}
		sums[line[:strings.IndexAny(line, " {")]] += v
	}
	return sums, lines.Err()
}

// metric returns one metric, which must exist.
func (p *process) metric(ctx context.Context, name string) (float64, error) {
	sums, err := p.metrics(ctx)
	v, ok := sums[name]
	if err == nil && !ok {
		err = fmt.Errorf("%s has no metric %s", p.name, name)
	}
	return v, err
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

// sealift runs a command of the binary until it ends or ctx does, and returns its output.
func sealift(ctx context.Context, env []string, args ...string) (string, error) {
	bin, err := binary()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Env = append(environ(), env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("sealift %s: %w\n%s", strings.Join(args, " "), err, problems.String())
	}
	return out.String(), nil
}

// postUntilTaken posts a body, and again while Kafka is slow, as clients do.
func postUntilTaken(ctx context.Context, t *testing.T, to string, body []byte) {
	t.Helper()
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
		require.NoError(t, err)
		answer, err := http.DefaultClient.Do(r)
		require.NoError(t, err)
		slow, said, err := collectortest.KafkaIsSlow(answer)
		require.NoError(t, err)
		if !slow {
			require.Equal(t, http.StatusOK, answer.StatusCode, "%s", said)
			return
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		}
	}
}

// environ is this process's environment without SEALIFT_ variables: those of the tests are not
// configuration.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "SEALIFT_") })
}
