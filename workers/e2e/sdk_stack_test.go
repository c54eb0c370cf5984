//go:build stack

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

// sdkMessages is the number of messages sent with each SDK: twenty rounds of the calls in
// scripts/sdk/calls.json.
const sdkMessages = 20 * 16

// sdkOutage is how long Kafka is away in the middle of each SDK's run.
const sdkOutage = 20 * time.Second

// TestRealSDKs sends messages with real SDKs of the Tracking API, installed from their registries,
// all concurrently, and reads them back from the customer's bucket. Each SDK loses one answer, and
// Kafka goes away when half of the messages are sent. Everything must arrive once, and every field
// must be what the SDK was told, except for what sdks says about it.
func TestRealSDKs(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	began := time.Now()
	step := func(what string) { t.Logf("%5.1f s: %s", time.Since(began).Seconds(), what) }
	installed := make(chan error, 1)
	go func() {
		out, err := sdkScript(ctx, "install").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("scripts/sdk/run.sh install: %w\n%s", err, out)
		}
		installed <- err
	}()

	on := stackServers(t)
	s := newSystem(t, on, 0, fleet{collectors: 1, appenders: 1, copiers: 1, auditors: 1, appender: "roll_every: 5s, grace: 1s"})
	bucket := &destination{name: "main", bucket: "e2e-" + s.tag + "-sdks"}
	runs := map[string]*sdkRun{} // by source
	packages := sdkPackages(ctx, t)
	require.Equal(t, sorted(packages), sorted(sdks))
	for name := range sdks {
		source := name + "-" + s.tag
		bucket.sources = append(bucket.sources, source)
		runs[source] = &sdkRun{name: name, source: source}
	}
	s.workspaces = []workspace{{id: "ws_e2esdks" + strings.Repeat("0", 16), sources: bucket.sources, destinations: []*destination{bucket}}}
	s.start(ctx)
	require.NoError(t, <-installed)
	step("the SDKs are installed, the roles run")

	//  1. Half of the messages: each SDK sees some of them acknowledged, and loses the answer to
	//     one request.
	for _, run := range runs {
		run.start(ctx, t, "http://"+s.listen[0])
	}
	for _, run := range runs {
		run.await(ctx, t, run.half, "half of the calls")
		run.until(ctx, t, "an answer, or a lost one", func(w *wire) bool { return w.lost > 0 || !w.loses && len(w.answered) > 0 })
	}
	step("half of the calls are made, of each SDK a request was answered")

	//  2. The other half, without Kafka.
	brokers := strings.Count(on.kafka, ",") + 1
	for i := range brokers {
		require.NoError(t, stack(ctx, "pause", fmt.Sprint("kafka-", i+1)))
	}
	back := time.After(sdkOutage)
	for _, run := range runs {
		run.wire.kafkaAway(true)
		run.goOn(t)
	}
	select {
	case <-back:
	case <-ctx.Done():
		require.NoError(t, ctx.Err())
	}
	for _, run := range runs {
		run.wire.kafkaAway(false)
	}
	for i := range brokers {
		require.NoError(t, stack(ctx, "resume", fmt.Sprint("kafka-", i+1)))
	}
	step("Kafka is back")

	//  3. The SDKs retry until everything is acknowledged.
	for _, run := range runs {
		run.until(ctx, t, "all to be answered", run.complete)
		run.end(ctx, t)
	}
	step("everything was answered 200")

	//  4. One more event of each source: when it arrives, everything before it in its partition has
	//     been through deduplication.
	owed := newExpectations(s)
	for source, run := range runs {
		owed.acknowledge(source, postLast(ctx, t, "http://"+s.listen[0], source))
		for id := range run.sent {
			owed.acknowledge(source, id)
		}
	}
	filed := owed.finish(ctx, t, s, newDeliveryCounter(s))
	step("everything is delivered")

	//  5. The judge, and then a comparison field by field.
	report, err := owed.expected[bucket].Check(objects(ctx, store(on, bucket.bucket)), check.Rules{})
	require.NoError(t, err)
	t.Log(report)
	require.True(t, report.OK())
	stored := readLines(ctx, t, on, bucket)
	messages, retries := 0, 0
	for _, name := range sorted(sdks) {
		run := runs[name+"-"+s.tag]
		lines := stored[run.source]
		delete(lines, "last")
		if len(lines) != len(run.sent) {
			require.Fail(t, "messages are missing, or were never sent", "%s: %d are stored of %d", name, len(lines), len(run.sent))
		}
		t.Run(name, func(t *testing.T) { sdks[name].compare(t, run, lines) })
		messages += len(lines)
		retries += run.wire.retries
		t.Logf("%s, %s: %d messages in %d requests: %s", name, packages[name], len(lines), run.wire.requests, run.wire)
	}
	t.Logf("%d SDKs, %d messages stored once each, %d records in the topic, %d requests were tries again", len(runs), messages, filed.records, retries)
}

// sdkPackages returns the package of each SDK.
func sdkPackages(ctx context.Context, t *testing.T) map[string]string {
	t.Helper()
	list, err := sdkScript(ctx, "list").Output()
	require.NoError(t, err)
	packages := map[string]string{}
	for line := range strings.Lines(string(list)) {
		fields := strings.Fields(line)
		require.Len(t, fields, 2)
		packages[fields[0]] = fields[1]
	}
	return packages
}

// postLast sends the last event of a source.
func postLast(ctx context.Context, t *testing.T, collector, source string) (messageID string) {
	t.Helper()
	messageID = "last"
	body := fmt.Sprintf(`{"messageId":%q,"writeKey":%q,"userId":"last","event":"Last","integrations":{"All":false}}`, messageID, writeKey(source))
	postUntilTaken(ctx, t, collector+"/v1/track", []byte(body))
	return messageID
}

// readLines returns the lines in a bucket by source and messageId.
func readLines(ctx context.Context, t *testing.T, on servers, d *destination) map[string]map[string][]byte {
	t.Helper()
	stored := map[string]map[string][]byte{}
	from := store(on, d.bucket)
	for info, err := range objstore.All(ctx, from, "") {
		require.NoError(t, err)
		body, _, err := from.Get(ctx, info.Key)
		require.NoError(t, err)
		text := gziptest.Unzip(t, body)
		require.NoError(t, body.Close())
		source := strings.Split(info.Key, "/")[1]
		if stored[source] == nil {
			stored[source] = map[string][]byte{}
		}
		for line := range bytes.Lines([]byte(text)) {
			var id struct{ MessageID string }
			require.NoError(t, json.Unmarshal(line, &id))
			require.Nil(t, stored[source][id.MessageID], "message %s of %s is stored twice", id.MessageID, source)
			stored[source][id.MessageID] = bytes.TrimSuffix(line, []byte("\n"))
		}
	}
	return stored
}
