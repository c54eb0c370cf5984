package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/stream"
)

// manyWorkspaces returns n customers, each with a source and a destination.
func manyWorkspaces(n int) []catalog.Workspace {
	var ws []catalog.Workspace
	for i := range n {
		source := fmt.Sprintf("source-%06d", i)
		ws = append(ws, catalog.Workspace{
			ID:      fmt.Sprintf("ws_%020d", i),
			Sources: []catalog.Source{{ID: source, WriteKeyHashes: []string{catalog.HashKey(source)}}},
			Destinations: []catalog.Destination{{
				Name: "main", Sources: []string{source}, Bucket: fmt.Sprintf("customer-%d-logs/raw", i),
				RoleARN: fmt.Sprintf("arn:aws:iam::%012d:role/segment-logs", i),
			}},
		})
	}
	return ws
}

// largeWorkspace returns one customer with n sources and destinations.
func largeWorkspace(n int) catalog.Workspace {
	w := catalog.Workspace{ID: "ws_large0000000000000000"}
	for i, one := range manyWorkspaces(n) {
		one.Destinations[0].Name = fmt.Sprintf("main-%d", i)
		w.Sources, w.Destinations = append(w.Sources, one.Sources[0]), append(w.Destinations, one.Destinations[0])
	}
	return w
}

func writeYAML(t *testing.T, ws ...catalog.Workspace) string {
	t.Helper()
	b, err := catalog.MarshalYAML(ws)
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "catalog.yaml")
	require.NoError(t, os.WriteFile(file, b, 0o600))
	return file
}

// broker is a broker whose faults a test chooses.
type broker struct {
	*kfake.Cluster
	env      []string
	produced atomic.Int64 // requests to write
	refuseAt atomic.Int64 // the first request that is refused, as are all after it; 0: none
}

func newBroker(t *testing.T) *broker {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	b := &broker{Cluster: cluster, env: []string{"SEALIFT_KAFKA_BROKERS=" + cluster.ListenAddrs()[0], "SEALIFT_LOG_LEVEL=error"}}
	cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		n, at := b.produced.Add(1), b.refuseAt.Load()
		if at == 0 || n < at {
			return nil, nil, false
		}
		produce := req.(*kmsg.ProduceRequest)
		res := produce.ResponseKind().(*kmsg.ProduceResponse)
		topic := kmsg.NewProduceResponseTopic()
		topic.Topic, topic.TopicID = produce.Topics[0].Topic, produce.Topics[0].TopicID
		partition := kmsg.NewProduceResponseTopicPartition()
		partition.ErrorCode = kerr.TopicAuthorizationFailed.Code
		topic.Partitions = append(topic.Partitions, partition)
		res.Topics = append(res.Topics, topic)
		return res, nil, true
	})
	return b
}

func (b *broker) runSealift(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	return runSealift(t, "", b.env, args...)
}

// One wrong document among many keeps all of them out.
func TestApplyWithAnInvalidDocumentChangesNothing(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	stored := catalog.Workspace{ID: "ws_stored00000000000000", Sources: []catalog.Source{{ID: "web", WriteKeys: []string{"k"}}},
		Destinations: []catalog.Destination{{Name: "main", Sources: []string{"web"}, Bucket: "stored-logs"}}}
	code, _, stderr := b.runSealift(t, "catalog", "apply", "-f", writeYAML(t, stored))
	require.Zero(t, code, stderr)
	written := b.produced.Load()

	const bad = 77
	for name, c := range map[string]struct {
		breaks func(ws []catalog.Workspace)
		edit   [2]string // replacement in the YAML
		want   string
	}{
		"malformed":                    {edit: [2]string{"bucket: customer-77-logs/raw", "bucket: [customer-77-logs/raw"}, want: "line "},
		"unknown_key":                  {edit: [2]string{"bucket: customer-77-logs/raw", "buckt: customer-77-logs/raw"}, want: "buckt: unknown key; the nearest known key is bucket"},
		"unknown_source":               {breaks: func(ws []catalog.Workspace) { ws[bad].Destinations[0].Sources = []string{"web"} }, want: `unknown source "web"`},
		"uri":                          {breaks: func(ws []catalog.Workspace) { ws[bad].Destinations[0].Bucket = "s3://x" }, want: `"s3://x" is a URI`},
		"bucket_of_another_workspace":  {breaks: func(ws []catalog.Workspace) { ws[bad].Destinations[0].Bucket = "customer-1-logs/raw" }, want: "of workspace ws_00000000000000000001 delivers to the same place"},
		"bucket_of_a_stored_workspace": {breaks: func(ws []catalog.Workspace) { ws[bad].Destinations[0].Bucket = "stored-logs" }, want: "of workspace ws_stored00000000000000 delivers to the same place"},
		"source_of_a_stored_workspace": {breaks: func(ws []catalog.Workspace) { ws[bad].Sources[0].ID, ws[bad].Destinations[0].Sources[0] = "web", "web" }, want: "taken by a source of workspace ws_stored00000000000000"},
		"key_of_a_stored_workspace":    {breaks: func(ws []catalog.Workspace) { ws[bad].Sources[0].WriteKeys = []string{"k"} }, want: `source "web" has the same write key`},
		"workspace_twice":              {breaks: func(ws []catalog.Workspace) { ws[bad].ID = ws[0].ID }, want: "another document has the same id"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ws := manyWorkspaces(200)
			if c.breaks != nil {
				c.breaks(ws)
			}
			file := writeYAML(t, ws...)
			if c.edit[0] != "" {
				text, err := os.ReadFile(file)
				require.NoError(t, err)
				require.Contains(t, string(text), c.edit[0])
				require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(text), c.edit[0], c.edit[1], 1)), 0o600))
			}
			code, stdout, stderr := b.runSealift(t, "catalog", "apply", "-f", file)
			require.Equal(t, exitFailure, code)
			require.Contains(t, stderr, c.want)
			require.Less(t, len(stderr), 1000)
			require.Empty(t, stdout)
			require.Equal(t, written, b.produced.Load(), "no record was produced")
			code, stdout, _ = b.runSealift(t, "catalog", "get", "--json")
			require.Zero(t, code)
			require.Equal(t, 1, strings.Count(stdout, `"workspace":`))
		})
	}
}

// withManyKeys gives a workspace a list of write keys that takes n bytes.
func withManyKeys(w catalog.Workspace, n int) catalog.Workspace {
	w.Sources[0].WriteKeyHashes = nil
	for i := range n / 67 {
		w.Sources[0].WriteKeyHashes = append(w.Sources[0].WriteKeyHashes, catalog.HashKey(fmt.Sprint(w.ID, i)))
	}
	return w
}

// If a write fails halfway, what was written stays, the error says how much that is, and the same
// command finishes the rest.
func TestApplyThatFailsHalfwaySaysWhatWasWritten(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	ws := manyWorkspaces(6_000)
	topic := b.openTopic(t, 0)
	written := 0
	for _, refused := range []int64{1, 3, 5} { // the first request of the first try, the second of each later one
		b.refuseAt.Store(refused)
		stored, err := topic.read(t.Context())
		require.NoError(t, err)
		p := newCatalogPlan(stored.Workspaces(), ws)
		require.Equal(t, written, p.unchanged)
		err = topic.write(t.Context(), p.values)
		require.ErrorContains(t, err, "Topic Authorization Failed")
		stored, readErr := topic.read(t.Context())
		require.NoError(t, readErr)
		now := len(stored.Workspaces())
		if refused == 1 {
			require.Zero(t, now)
			require.Equal(t, exitFailure, exitCode(t.Context(), err))
			continue
		}
		require.Greater(t, now, written)
		require.Less(t, now, len(ws))
		require.Equal(t, exitPartial, exitCode(t.Context(), err))
		require.ErrorContains(t, err, fmt.Sprintf("%d of %d workspaces are written and in force, ws_%020d, ", now-written, len(p.values), now))
		require.ErrorContains(t, err, "the same command again writes the rest")
		written = now
	}
	b.refuseAt.Store(0)
	stored, err := topic.read(t.Context())
	require.NoError(t, err)
	require.NoError(t, topic.write(t.Context(), newCatalogPlan(stored.Workspaces(), ws).values))
	stored, err = topic.read(t.Context())
	require.NoError(t, err)
	require.Empty(t, notStored(stored, encodeAll(ws...)))
}

func TestApplyThatWritesNothingFails(t *testing.T) {
	b := newBroker(t)
	b.refuseAt.Store(1)
	code, stdout, stderr := b.runSealift(t, "catalog", "apply", "-f", writeYAML(t, manyWorkspaces(10)...))
	require.Equal(t, exitFailure, code)
	require.Empty(t, stdout, "stdout claims that something was applied")
	require.Contains(t, stderr, "Topic Authorization Failed")
	b.refuseAt.Store(0)
	code, stdout, _ = b.runSealift(t, "catalog", "get", "--json")
	require.Zero(t, code)
	require.Equal(t, "[]\n", stdout)
}

// If the catalog cannot be read after an error, the error does not claim to know what was written.
func TestApplyThatFailsAndCannotReadTheCatalog(t *testing.T) {
	b := newBroker(t)
	b.refuseAt.Store(2)
	previous := catalogTimeout
	catalogTimeout = 5 * time.Second // the first write has to succeed within it
	defer func() { catalogTimeout = previous }()
	b.ControlKey(int16(kmsg.ListOffsets), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		if b.produced.Load() >= 2 {
			return nil, errors.New("away"), true
		}
		return nil, nil, false
	})
	topic := b.openTopic(t, 0)
	err := topic.write(t.Context(), encodeAll(manyWorkspaces(3_000)...))
	require.ErrorContains(t, err, "what was written is not known")
	require.ErrorContains(t, err, "the same command again finishes it")
	require.Equal(t, exitFailure, exitCode(t.Context(), err))
}

func encodeAll(ws ...catalog.Workspace) map[string][]byte {
	values := map[string][]byte{}
	for _, w := range ws {
		values[w.ID] = catalog.Encode(w)
	}
	return values
}

// openTopic creates the catalog topic, with that limit for records (0: the broker's default), and
// opens it.
func (b *broker) openTopic(t *testing.T, maxRecordBytes int) *catalogTopic {
	t.Helper()
	cfg := config.Default()
	cfg.Kafka.Brokers = b.ListenAddrs()
	s, err := openServices(cfg, testCredentials, false, silent, nil)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.close()) })
	for _, topic := range s.topics() {
		if topic.Name == cfg.Kafka.CatalogTopic {
			require.Equal(t, maxWorkspaceBytes, topic.MaxRecordBytes)
			topic.MaxRecordBytes = maxRecordBytes
			require.NoError(t, s.kafka.EnsureTopics(t.Context(), true, topic))
		}
	}
	return &catalogTopic{s}
}

// writeHook is a writer that does something else when it is written to.
type writeHook func()

func (f writeHook) Write(b []byte) (int, error) { f(); return len(b), nil }

// An apply that is overwritten by a command that had read the catalog earlier says so.
func TestApplyReportsAConcurrentOverwrite(t *testing.T) {
	t.Parallel()
	topic := newBroker(t).openTopic(t, maxWorkspaceBytes)
	ours, theirs := manyWorkspaces(2), manyWorkspaces(1)
	theirs[0].Sources[0].Name = "renamed"
	overwrite := writeHook(func() { require.NoError(t, topic.write(t.Context(), encodeAll(theirs...))) })
	err := newCatalogPlan(nil, ours).apply(t.Context(), &app{stdout: overwrite, log: silent}, topic)
	require.ErrorContains(t, err, "somebody else changed "+theirs[0].ID+" at the same time")
	require.NoError(t, newCatalogPlan(nil, ours).apply(t.Context(), &app{stdout: io.Discard, log: silent}, topic))
}

// So does a deletion, after which the workspace would be there again.
func TestDeleteReportsAConcurrentOverwrite(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.openTopic(t, maxWorkspaceBytes)
	ws := manyWorkspaces(1)
	store := func() { require.NoError(t, topic.write(t.Context(), encodeAll(ws...))) }
	store()
	var stderr bytes.Buffer
	args := []string{"catalog", "delete", ws[0].ID, "--yes"}
	require.Equal(t, exitFailure, run(t.Context(), args, b.env, strings.NewReader(""), writeHook(store), &stderr))
	require.Contains(t, stderr.String(), "deleted, but somebody else changed "+ws[0].ID+" at the same time")
	require.Equal(t, exitOK, run(t.Context(), args, b.env, strings.NewReader(""), io.Discard, &stderr))
}

// A topic that was created with the brokers' default limit takes ten thousand workspaces. For a
// large one the limit must be raised; the error says how.
func TestCatalogTopicWithTheDefaultRecordLimit(t *testing.T) {
	t.Parallel()
	b := newBroker(t)
	topic := b.openTopic(t, 0)
	values := encodeAll(append(manyWorkspaces(10_000), withManyKeys(catalog.Workspace{ID: "ws_large0000000000000000", Sources: []catalog.Source{{ID: "large"}}}, 2<<20))...)
	require.ErrorContains(t, topic.write(t.Context(), values), `nothing was written: workspace "ws_large0000000000000000" takes 2.1 MB, and topic "sealift.catalog" takes 1.0 MB a record; `+
		"raise it: kafka-configs.sh --bootstrap-server "+b.ListenAddrs()[0]+" --alter --entity-type topics --entity-name sealift.catalog --add-config max.message.bytes=8388608")
	require.Zero(t, b.produced.Load())
	delete(values, "ws_large0000000000000000")
	require.NoError(t, topic.write(t.Context(), values))
	stored, err := topic.read(t.Context())
	require.NoError(t, err)
	require.Empty(t, notStored(stored, values))
}

// If reading the limit is not permitted, the broker's refusal leads to the same advice, and comes
// before anything else is written.
func TestCatalogTopicWithUnreadableRecordLimit(t *testing.T) {
	b := newBroker(t)
	topic := b.openTopic(t, 0)
	b.ControlKey(int16(kmsg.DescribeConfigs), func(req kmsg.Request) (kmsg.Response, error, bool) {
		b.KeepControl()
		res := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
		resource := kmsg.NewDescribeConfigsResponseResource()
		resource.ErrorCode = kerr.TopicAuthorizationFailed.Code
		res.Resources = append(res.Resources, resource)
		return res, nil, true
	})
	large := withManyKeys(catalog.Workspace{ID: "ws_large0000000000000000", Sources: []catalog.Source{{ID: "large"}}}, 4<<20)
	err := topic.write(t.Context(), encodeAll(append(manyWorkspaces(10), large)...))
	require.ErrorIs(t, err, stream.ErrRecordTooLarge)
	require.ErrorContains(t, err, `workspace "ws_large0000000000000000" takes 4.2 MB; raise it: kafka-configs.sh`)
	stored, err := topic.read(t.Context())
	require.NoError(t, err)
	require.Empty(t, stored.Workspaces())
}

// The topic that Sealift creates takes one workspace with 10,000 sources in one record. A workspace
// that is larger than the limit is refused, with what to do.
func TestWorkspaceWithTenThousandSourcesFits(t *testing.T) {
	t.Parallel()
	topic := newBroker(t).openTopic(t, maxWorkspaceBytes)
	values := encodeAll(largeWorkspace(10_000))
	require.NoError(t, topic.write(t.Context(), values))
	stored, err := topic.read(t.Context())
	require.NoError(t, err)
	require.Empty(t, notStored(stored, values))

	err = topic.write(t.Context(), encodeAll(largeWorkspace(40_000)))
	require.ErrorContains(t, err, "and 8.4 MB is the most; move some of its sources, with their destinations, into a workspace of their own")
}

// Copiers refuse to dial an endpoint that is not allowed; validate, diff and apply already warn of
// it.
func TestCatalogCommandsWarnOfEndpointsNotAllowed(t *testing.T) {
	b := newBroker(t)
	ws := manyWorkspaces(3)
	for i, endpoint := range []string{"http://minio.internal:9000", "http://minio.internal:9000", "https://s3.example.com"} {
		ws[i].Destinations[0].Endpoint = endpoint
	}
	file := writeYAML(t, ws...)
	b.env = append(b.env, "SEALIFT_LOG_LEVEL=warn")
	for _, command := range []string{"validate", "diff", "apply"} {
		code, _, stderr := b.runSealift(t, "catalog", command, "-f", file)
		require.Zero(t, code, stderr)
		require.Equal(t, 1, strings.Count(stderr, "\n"), stderr)
		require.Contains(t, stderr, `"destination":"ws_00000000000000000000/main"`)
		require.Contains(t, stderr, `add \"minio.internal:9000\" to destinations.allowed_endpoints`)
	}
	code, _, stderr := b.runSealift(t, "catalog", "apply", "-f", file, "--set", "destinations.allowed_endpoints=minio.internal:9000")
	require.Zero(t, code)
	require.Empty(t, stderr)
	// A customer has no configuration, so there is no warning about an operator's.
	code, _, stderr = runSealift(t, "", nil, "catalog", "validate", "-f", file)
	require.Zero(t, code)
	require.Empty(t, stderr)
}

// A signal ends a command that waits for a terminal to send a document.
func TestReadingCatalogFromStdinEndsAtASignal(t *testing.T) {
	in, out := io.Pipe()
	defer func() { require.NoError(t, out.Close()) }()
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(interruptedError{os.Interrupt})
	var output bytes.Buffer
	require.Equal(t, exitInterrupted, run(ctx, []string{"catalog", "validate", "-f", "-"}, nil, in, &output, &output), output.String())
}
