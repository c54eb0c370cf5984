//go:build stack

package collector

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// sdkRun is what scripts/sdk/run.sh writes for one SDK.
type sdkRun struct {
	SDK, Version, Library string
	Messages              []map[string]any
}

// TestRealSDKs sends messages through Segment's own SDKs, installed from
// their registries, and compares every field that was given to an SDK with
// the stored line. In the second run requests fail, before or after their
// effect: what the SDKs retry must all arrive, and only as the same message.
func TestRealSDKs(t *testing.T) {
	for name, flaky := range map[string]bool{"kafka_healthy": false, "kafka_flaky": true} {
		t.Run(name, func(t *testing.T) {
			topic := &flakyTopic{memoryTopic: newTopic(), seen: map[string]bool{}, flaky: flaky}
			b := newBench(t, Config{Listen: "127.0.0.1:0"}, func(d *Deps) { d.Producer = topic })
			url, stop := running(t, b)
			runs := runSDKs(t, url)
			require.NoError(t, stop())

			lines := map[string]map[string]any{}
			doubled := 0
			for _, record := range topic.take() {
				require.Equal(t, "server", string(record.Key))
				line := decode(t, record.Value)
				id := line["messageId"].(string)
				if _, ok := lines[id]; ok {
					doubled++
				}
				lines[id] = line
			}
			total := 0
			for _, run := range runs {
				require.NotEmpty(t, run.Messages, run.SDK)
				for _, sent := range run.Messages {
					line := lines[sent["messageId"].(string)]
					require.NotNil(t, line, "%s %s: lost %v", run.SDK, run.Version, sent["messageId"])
					compare(t, run, sent, line)
				}
				total += len(run.Messages)
				t.Logf("%s %s: %d messages, no differences", run.SDK, run.Version, len(run.Messages))
			}
			require.Len(t, lines, total, "something was stored that was not sent")
			t.Logf("%d messages sent, %d stored, %d of them again after a lost answer; %d requests failed before and %d after their effect",
				total, len(lines)+doubled, doubled, topic.before, topic.after)
			if !flaky {
				require.Zero(t, doubled)
			} else {
				require.Positive(t, topic.before)
				require.Positive(t, topic.after)
			}
		})
	}
}

func runSDKs(t *testing.T, url string) []sdkRun {
	t.Helper()
	script, err := filepath.Abs("../../scripts/sdk/run.sh")
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), "sent.json")
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	run := exec.CommandContext(ctx, script, url, "wk_server", out)
	var printed bytes.Buffer
	run.Stdout, run.Stderr = &printed, &printed
	require.NoError(t, run.Run(), "%s", &printed)
	text, err := os.ReadFile(out)
	require.NoError(t, err)
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var runs []sdkRun
	require.NoError(t, dec.Decode(&runs))
	require.Len(t, runs, 5)
	return runs
}

func decode(t *testing.T, text []byte) map[string]any {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v map[string]any
	require.NoError(t, dec.Decode(&v))
	return v
}

// compare holds a line against what its SDK was told to send.
func compare(t *testing.T, run sdkRun, sent, line map[string]any) {
	t.Helper()
	id := sent["messageId"]
	for name, want := range sent {
		switch name {
		case "timestamp":
			require.WithinDuration(t, at(t, want), at(t, line["originalTimestamp"]), 0, "%v", id)
		case "context": // the SDK adds to it
			for member, value := range want.(map[string]any) {
				require.Equal(t, exact(value), exact(line["context"].(map[string]any)[member]), "%v: context.%s", id, member)
			}
		default:
			require.Equal(t, exact(want), exact(line[name]), "%v: %s", id, name)
		}
	}
	library := line["context"].(map[string]any)["library"].(map[string]any)
	require.Equal(t, run.Library, library["name"], "%v", id)
	require.NotEmpty(t, library["version"], "%v", id)

	received, sentAt, original := at(t, line["receivedAt"]), at(t, line["sentAt"]), at(t, line["originalTimestamp"])
	require.WithinDuration(t, received.Add(original.Sub(sentAt)), at(t, line["timestamp"]), time.Millisecond, "%v", id)
	require.WithinDuration(t, time.Now(), received, 10*time.Minute, "%v", id)
	require.Equal(t, "server", line["projectId"])
	require.Equal(t, "server", line["channel"])
	require.Equal(t, json.Number("2"), line["version"])
	require.NotContains(t, line, "writeKey")
	require.NotContains(t, line["context"], "ip")
}

// exact makes numbers comparable by value, digit for digit: 14.990 is 14.99
// and 2^53+1 is not 2^53.
func exact(v any) any {
	switch v := v.(type) {
	case json.Number:
		r, ok := new(big.Rat).SetString(v.String())
		if !ok {
			return v
		}
		return r.RatString()
	case map[string]any:
		out := map[string]any{}
		for name, value := range v {
			out[name] = exact(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = exact(v[i])
		}
		return out
	}
	return v
}

func at(t *testing.T, v any) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339Nano, v.(string))
	require.NoError(t, err)
	return parsed
}

// flakyTopic fails some requests when it first sees them: a third before they
// take effect, a third after.
type flakyTopic struct {
	*memoryTopic
	flaky bool

	mu            sync.Mutex
	seen          map[string]bool // by first messageId; guarded by mu
	before, after int             // guarded by mu
}

var errFlaky = errors.New("the leader has moved")

func (f *flakyTopic) Produce(ctx context.Context, records ...stream.Record) error {
	_, id, _ := strings.Cut(string(records[0].Value), `"messageId":"`)
	id, _, _ = strings.Cut(id, `"`)
	h := fnv.New32a()
	_, _ = h.Write([]byte(id))
	f.mu.Lock()
	fate := uint32(2)
	if f.flaky && !f.seen[id] {
		f.seen[id] = true
		fate = h.Sum32() % 3
	}
	switch fate {
	case 0:
		f.before++
	case 1:
		f.after++
	}
	f.mu.Unlock()
	if fate == 0 {
		return errFlaky
	}
	if err := f.memoryTopic.Produce(ctx, records...); err != nil {
		return err
	}
	if fate == 1 {
		return errFlaky
	}
	return nil
}
