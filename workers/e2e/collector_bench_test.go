package e2e

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/stream"
)

// BenchmarkCollectorServer measures the collector, as a process on real Kafka, and compares it with
// bare handlers. If SEALIFT_BENCH_PEER names its binary, Jitsu's ingest takes part, which has the
// same API but answers before Kafka has acknowledged; if SEALIFT_BENCH_BEFORE names one, so does
// another build of sealift. They take turns in every round. What is compared is the servers' CPU
// time per event, because the machine is shared with the brokers and the load.
//
//	make bench-collector
func BenchmarkCollectorServer(b *testing.B) {
	f := newContest(b)
	for _, s := range []shape{{1, false}, {1, true}, {20, false}, {20, true}, {100, false}, {100, true}} {
		b.Run(strings.ReplaceAll(s.String(), " ", "_"), func(b *testing.B) {
			runs := map[string][]costs{}
			for round := 0; b.Loop(); round++ {
				for i := range f {
					c := f[(i+round)%len(f)]
					runs[c.name] = append(runs[c.name], c.measure(b, s, benchFor()))
				}
			}
			bare := medianCosts(runs["bare"])
			for _, c := range f {
				m := medianCosts(runs[c.name])
				b.Logf("%-9s %-9s %6.1f CPU-s/M events  %6.2f x bare  %8.0f events/s  %5.2f x bare", s, c.name, m.cpu, m.cpu/bare.cpu, m.rate, m.rate/bare.rate)
				b.ReportMetric(m.cpu/bare.cpu, c.name+"-cpu-ratio")
			}
		})
	}
	for _, c := range f {
		c.audit(b)
	}
}

// BenchmarkCollectorLatency offers the collector a half, four fifths and six fifths of its maximum
// rate, at a constant rate, and the bare handler the same.
func BenchmarkCollectorLatency(b *testing.B) {
	f := newContest(b)
	for _, s := range []shape{{1, false}, {20, false}} {
		for _, c := range f {
			if c.name == "split" || c.name == "writer" {
				continue
			}
			b.Run(strings.ReplaceAll(s.String(), " ", "_")+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					requests := s.requests(c.host)
					taken, wall := c.loop(b, s, requests, 3*benchFor())
					capacity := float64(taken) / wall.Seconds()
					for _, part := range []float64{0.5, 0.8, 1.2} {
						l := openLoop(c.host, requests, part*capacity, 9000, 4*benchFor())
						c.acknowledged(s, int64(len(l.ok)))
						time.Sleep(c.settle)
						b.Logf("%-9s %-9s %3.0f %% of %6.0f requests/s: p50 %6.1f  p99 %7.1f  p99.9 %7.1f ms; 200 %6.0f/s, 503 %5.1f %% (p99 %.0f ms), failed %d; peak RSS %d MB",
							s, c.name, part*100, capacity, ms(l.ok, .5), ms(l.ok, .99), ms(l.ok, .999), float64(len(l.ok))/l.wall.Seconds(),
							100*float64(len(l.shed))/float64(max(1, len(l.ok)+len(l.shed)+l.failed)), ms(l.shed, .99), l.failed, c.peakMB(b))
					}
				}
			})
		}
	}
}

func ms(sorted []time.Duration, q float64) float64 {
	return float64(quantile(sorted, q).Microseconds()) / 1000
}

func benchFor() time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("SEALIFT_BENCH_FOR"), "3s"))
	if err != nil {
		panic(err)
	}
	return d
}

// contestant is a server that accepts events.
type contestant struct {
	name, host, topic string
	pid               int
	kafka             string
	settle            time.Duration // how long it continues to work after its answers
	records           func(shape) int64
	acked             int64 // records that the topic must have
}

// costs are what a contestant used for a load.
type costs struct{ cpu, rate float64 } // CPU seconds per million events, events per second

func medianCosts(runs []costs) costs {
	by := func(f func(costs) float64) float64 {
		var all []float64
		for _, c := range runs {
			all = append(all, f(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	return costs{cpu: by(func(c costs) float64 { return c.cpu }), rate: by(func(c costs) float64 { return c.rate })}
}

// connectionsFor returns how many requests are kept in progress: enough to fill batches even if the
// machine is slow.
func connectionsFor(s shape) int { return max(64, 1024/s.events) }

func (c *contestant) measure(b *testing.B, s shape, d time.Duration) costs {
	requests := s.requests(c.host)
	before := c.cpu(b)
	taken, wall := c.loop(b, s, requests, d)
	time.Sleep(c.settle)
	events := float64(taken) * float64(s.events)
	return costs{cpu: (c.cpu(b) - before).Seconds() / events * 1e6, rate: events / wall.Seconds()}
}

func (c *contestant) loop(b *testing.B, s shape, requests [][]byte, d time.Duration) (int64, time.Duration) {
	taken, wall, err := closedLoop(c.host, requests, connectionsFor(s), d)
	require.NoError(b, err, c.name)
	require.Positive(b, taken, c.name)
	c.acknowledged(s, taken)
	return taken, wall
}

func (c *contestant) acknowledged(s shape, requests int64) { c.acked += requests * c.records(s) }

// audit compares what was answered 200 with what the topic has. That is more if requests were
// answered 503 but produced all the same.
func (c *contestant) audit(b *testing.B) {
	client, err := stream.Open(stream.Config{Brokers: strings.Split(c.kafka, ",")}, nil)
	require.NoError(b, err)
	defer client.Close()
	bounds, err := client.Bounds(b.Context(), c.topic)
	require.NoError(b, err)
	var have int64
	for _, of := range bounds {
		have += of.End - of.First
	}
	b.Logf("%s: %d records were answered 200, the topic holds %d", c.name, c.acked, have)
	require.GreaterOrEqual(b, have, c.acked, "%s answered 200 and lost records", c.name)
}

// cpu returns the user and system time that the process has used so far.
func (c *contestant) cpu(b *testing.B) time.Duration {
	stat, err := procStat(c.pid)
	require.NoError(b, err)
	return stat.cpu
}

func (c *contestant) peakMB(b *testing.B) int {
	peak, err := procPeak(c.pid)
	require.NoError(b, err)
	return int(peak >> 20)
}

// newContest starts all contestants.
func newContest(b *testing.B) []*contestant {
	brokers := os.Getenv("SEALIFT_TEST_KAFKA")
	if brokers == "" {
		b.Skip("SEALIFT_TEST_KAFKA is not set: run make bench-collector")
	}
	client, err := stream.Open(stream.Config{Brokers: strings.Split(brokers, ",")}, nil)
	require.NoError(b, err)
	defer client.Close()
	tag := fmt.Sprintf("bench-%x", time.Now().UnixNano()&0xffffffffff)
	var all []*contestant
	for _, c := range []struct {
		name    string
		start   func(b *testing.B, c *contestant)
		records func(shape) int64
		settle  time.Duration
	}{
		{"bare", startBare, func(shape) int64 { return 1 }, 0},
		{"split", startBare, func(s shape) int64 { return int64(s.events) }, 0},
		{"writer", startBare, func(shape) int64 { return 1 }, 0},
		{"before", startCollector, func(s shape) int64 { return int64(s.events) }, 0},
		{"collector", startCollector, func(s shape) int64 { return int64(s.events) }, 0},
		{"jitsu", startJitsu, func(s shape) int64 { return int64(s.events) }, 2500 * time.Millisecond},
	} {
		if needs := map[string]string{"jitsu": "SEALIFT_BENCH_PEER", "before": "SEALIFT_BENCH_BEFORE"}[c.name]; needs != "" && os.Getenv(needs) == "" {
			continue
		}
		n := &contestant{name: c.name, topic: tag + "." + c.name, kafka: brokers, records: c.records, settle: c.settle}
		require.NoError(b, client.EnsureTopics(b.Context(), true, stream.Topic{Name: n.topic, Partitions: systemPartitions}))
		c.start(b, n)
		all = append(all, n)
	}
	return all
}

// run starts a contestant's process, and kills it when the benchmark ends.
func (c *contestant) run(b *testing.B, cmd *exec.Cmd) {
	log, err := os.Create(filepath.Join(b.ArtifactDir(), c.name+".log"))
	require.NoError(b, err)
	cmd.Stderr = log
	if cmd.Stdout == nil {
		cmd.Stdout = log
	}
	require.NoError(b, cmd.Start())
	c.pid = cmd.Process.Pid
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
	})
}

// waitUntilUp waits until a first batch is accepted.
func (c *contestant) waitUntilUp(b *testing.B) {
	ctx, cancel := context.WithTimeout(b.Context(), readyWithin)
	defer cancel()
	for {
		l, err := dialLine(c.host)
		if err == nil {
			status, sendErr := l.send(shape{events: 1}.requests(c.host)[0])
			_ = l.Close()
			if err = sendErr; err == nil && status == http.StatusOK {
				c.acknowledged(shape{events: 1}, 1)
				return
			}
			err = cmp.Or(err, fmt.Errorf("status %d", status))
		}
		select {
		case <-ctx.Done():
			require.NoError(b, err, "%s does not accept events", c.name)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func startBare(b *testing.B, c *contestant) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), bareServerEnv+"="+c.kafka+" "+c.topic+" "+c.name)
	_, err := cmd.StdinPipe()
	require.NoError(b, err)
	out, err := cmd.StdoutPipe()
	require.NoError(b, err)
	c.run(b, cmd)
	url, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	c.host = strings.TrimSpace(strings.TrimPrefix(url, "http://"))
	c.waitUntilUp(b)
}

func startCollector(b *testing.B, c *contestant) {
	dir := b.TempDir()
	doc := "workspace: ws_bench" + strings.Repeat("0", 20) + "\nsources:\n"
	for i := range benchSources {
		doc += fmt.Sprintf("  - {id: %[1]s, name: %[1]s, write_keys: [%[2]s]}\n", sourceID(i), writeKey(sourceID(i)))
	}
	file := filepath.Join(dir, "catalog.yaml")
	require.NoError(b, os.WriteFile(file, []byte(doc), 0o600))
	listen, admin := porttest.Free(b), porttest.Free(b)
	env := []string{
		"SEALIFT_KAFKA_BROKERS=" + c.kafka, "SEALIFT_KAFKA_EVENTS_TOPIC=" + c.topic, "SEALIFT_KAFKA_DEAD_LETTERS_TOPIC=" + c.topic + "-dead",
		"SEALIFT_KAFKA_CATALOG_TOPIC=" + c.topic + "-catalog", "SEALIFT_COLLECTOR_LISTEN=" + listen, "SEALIFT_ADMIN_LISTEN=" + admin, "SEALIFT_ADMIN_PPROF=true",
	}
	_, err := sealift(b.Context(), env, "catalog", "apply", "-f", file)
	require.NoError(b, err)
	bin, err := binary()
	require.NoError(b, err)
	if c.name == "before" {
		bin = os.Getenv("SEALIFT_BENCH_BEFORE")
	}
	cmd := exec.Command(bin, "collector")
	cmd.Env = append(environ(), env...)
	c.run(b, cmd)
	b.Logf("%s profiles: http://%s/debug/pprof/profile", c.name, admin)
	c.host = listen
	c.waitUntilUp(b)
}

// startJitsu starts Jitsu's ingest with its defaults, with all events on one topic.
func startJitsu(b *testing.B, c *contestant) {
	var streams []string
	for i := range benchSources {
		key := writeKey(sourceID(i))
		streams = append(streams, fmt.Sprintf(`{"stream":{"id":%[1]q,"type":"stream","workspaceId":"w","name":%[1]q,"publicKeys":[{"id":%[1]q,"plaintext":%[2]q}],"privateKeys":[{"id":%[1]q,"plaintext":%[2]q}]},"destinations":[{"id":"d","connectionId":"d","destinationType":"s3"}]}`, sourceID(i), key))
	}
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "["+strings.Join(streams, ",")+"]")
	}))
	b.Cleanup(repository.Close)
	c.host = porttest.Free(b)
	_, port, _ := net.SplitHostPort(c.host)
	_, metrics, _ := net.SplitHostPort(porttest.Free(b))
	cmd := exec.Command(os.Getenv("SEALIFT_BENCH_PEER"))
	cmd.Dir = b.TempDir()
	cmd.Env = append(environ(), "GIN_MODE=release", "INGEST_INSTANCE_ID=bench", "INGEST_HTTP_PORT="+port, "INGEST_METRICS_PORT="+metrics, "INGEST_REPOSITORY_URL="+repository.URL,
		"INGEST_SCRIPT_ORIGIN="+repository.URL, "INGEST_KAFKA_BOOTSTRAP_SERVERS="+c.kafka, "INGEST_KAFKA_DESTINATIONS_TOPIC_NAME="+c.topic)
	c.run(b, cmd)
	c.waitUntilUp(b)
}
