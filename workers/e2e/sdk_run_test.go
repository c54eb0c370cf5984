//go:build stack

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http/httptest"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// sdkRun is one SDK as a process that sends to the collector.
type sdkRun struct {
	name, source string
	wire         *wire
	half         chan struct{}             // closed when it has made half of its calls
	sent         map[string]map[string]any // what the SDK was told, by messageId; valid after done
	order        []string                  // messageIds, in the order in which they were told
	done         chan struct{}             // closed when the process has ended
	err          error                     // valid after done
	stdin        io.WriteCloser
	stderr       bytes.Buffer
}

// sdkScript is scripts/sdk/run.sh; it ends with the context.
func sdkScript(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "../../scripts/sdk/run.sh", args...)
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// start starts the SDK's driver, with a wire of its own to the collector.
func (r *sdkRun) start(ctx context.Context, t *testing.T, collector string) {
	t.Helper()
	r.wire = newWire(t, collector, !sdks[r.name].sleepy)
	server := httptest.NewServer(r.wire)
	t.Cleanup(server.Close)
	r.half, r.done, r.sent = make(chan struct{}), make(chan struct{}), map[string]map[string]any{}
	cmd := sdkScript(ctx, r.name, server.URL, writeKey(r.source))
	cmd.Stderr = &r.stderr
	cmd.Cancel = func() error { return r.stdin.Close() } // it may have to end processes of its own
	var err error
	r.stdin, err = cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	go func() {
		defer close(r.done)
		read := r.read(stdout)
		if r.err = cmd.Wait(); r.err == nil {
			r.err = read
		}
	}()
	t.Cleanup(func() {
		_ = r.stdin.Close()
		<-r.done
	})
}

// read reads what the driver prints.
func (r *sdkRun) read(stdout io.Reader) error {
	lines := bufio.NewScanner(stdout)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var said struct {
			Call map[string]any
			Half bool
		}
		if err := decodeExactly(lines.Bytes(), &said); err != nil {
			return fmt.Errorf("%s said %q: %w", r.name, lines.Text(), err)
		}
		if said.Half {
			close(r.half)
			continue
		}
		id, _ := said.Call["messageId"].(string)
		r.sent[id] = said.Call
		r.order = append(r.order, id)
	}
	return lines.Err()
}

// decodeExactly keeps the digits of numbers.
func decodeExactly(text []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(v)
}

// await waits for a channel to close.
func (r *sdkRun) await(ctx context.Context, t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-ctx.Done():
		require.Fail(t, "timed out waiting for "+what, "%s: %s\n%s", r.name, r.wire, &r.stderr)
	case <-r.done:
		select {
		case <-c:
		default:
			require.Fail(t, "ended before "+what, "%s: %v\n%s", r.name, r.err, &r.stderr)
		}
	}
}

// until waits until the condition holds for what has passed the wire.
func (r *sdkRun) until(ctx context.Context, t *testing.T, what string, enough func(*wire) bool) {
	t.Helper()
	for !r.wire.check(enough) {
		select {
		case <-r.wire.news:
		case <-ctx.Done():
			require.Fail(t, "timed out waiting for "+what, "%s: %s", r.name, r.wire)
		}
	}
}

// goOn lets the driver make the second half of its calls.
func (r *sdkRun) goOn(t *testing.T) {
	t.Helper()
	_, err := io.WriteString(r.stdin, "\n")
	require.NoError(t, err)
}

// end ends the driver, which must report success.
func (r *sdkRun) end(ctx context.Context, t *testing.T) {
	t.Helper()
	_ = r.stdin.Close() // already closed if the driver ended by itself
	r.await(ctx, t, r.done, "its end")
	require.NoError(t, r.err, "%s: %s\n%s", r.name, r.wire, &r.stderr)
}

// complete tells whether every message was answered with success. The caller holds the wire's
// mutex.
func (r *sdkRun) complete(w *wire) bool { return len(w.answered) == sdkMessages }
