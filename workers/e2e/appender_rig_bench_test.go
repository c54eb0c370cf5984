package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/rotator"
)

// benchServersEnv makes a process of the test binary run the servers of a benchmark, so that their
// CPU time is separate from the appender's.
const benchServersEnv = "SEALIFT_BENCH_SERVERS"

// benchServers serves Kafka and S3 from dir until its standard input ends.
func benchServers(dir string) {
	log := slog.New(slog.DiscardHandler)
	broker, err := embedded.StartKafka(embedded.KafkaConfig{Dir: filepath.Join(dir, "kafka"), Log: log})
	if err != nil {
		panic(err)
	}
	s3, err := s3server.Open(s3server.Config{Dir: filepath.Join(dir, "s3"), AccessKey: "bench", SecretKey: "bench", Log: log})
	if err != nil {
		panic(err)
	}
	if err := s3.CreateBucket("staging"); err != nil {
		panic(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		_ = http.Serve(l, &benchS3{Handler: s3, requests: requests{staging: "staging", counts: map[string]int64{}}})
	}()
	fmt.Printf("%s http://%s\n", broker.Addr(), l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// appenderBench is a broker and a staging bucket in a separate process.
type appenderBench struct {
	b       *testing.B
	client  *stream.Client
	staging objstore.Store
	runs    int
}

const benchPartitions = 8

// startBenchServers starts a broker and an S3 server in a separate process, with their data in dir,
// and returns their addresses.
func startBenchServers(b testing.TB, dir string) (kafka, s3 string) {
	b.Helper()
	servers := exec.Command(os.Args[0])
	servers.Env = append(os.Environ(), benchServersEnv+"="+dir)
	servers.Stderr = os.Stderr
	in, err := servers.StdinPipe()
	require.NoError(b, err)
	out, err := servers.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, servers.Start())
	b.Cleanup(func() { _ = in.Close(); _ = servers.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	kafka, s3, _ = strings.Cut(strings.TrimSpace(line), " ")
	return kafka, s3
}

func benchClient(b testing.TB, kafka string) *stream.Client {
	b.Helper()
	client, err := stream.Open(stream.Config{Brokers: []string{kafka}}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	b.Cleanup(func() { client.Close() })
	return client
}

func newAppenderBench(b *testing.B, topics ...string) *appenderBench {
	b.Helper()
	kafka, s3 := startBenchServers(b, b.TempDir())
	client := benchClient(b, kafka)
	all := []stream.Topic{{Name: "jobs", Partitions: 1}, {Name: "dead", Partitions: 1}}
	for _, topic := range topics {
		all = append(all, stream.Topic{Name: topic, Partitions: benchPartitions})
	}
	require.NoError(b, client.EnsureTopics(b.Context(), true, all...))
	return &appenderBench{b: b, client: client, staging: objstore.NewS3(objstore.S3Config{
		Bucket: "staging", Region: "us-east-1", Endpoint: s3, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: "bench", SecretAccessKey: secret.New("bench")}, nil
		},
	})}
}

// run reads all of a topic, and returns the CPU time, the time and the peak memory that this took.
func (r *appenderBench) run(topic string, events int, dedup time.Duration) (used, took time.Duration, rss int64) {
	b, log, client := r.b, slog.New(slog.DiscardHandler), r.client
	r.runs++
	name := strconv.Itoa(r.runs)
	rot := rotator.New(rotator.Config{Cluster: "sealift-embedded"}, rotator.Deps{
		Staging: r.staging, Kafka: client, Jobs: client.NewProducer(stream.ProducerConfig{Topic: "jobs"}), Logger: log,
		Owed: func(string) []string { return nil },
	})
	app, err := appender.New(appender.Config{Topic: topic, DataDir: b.TempDir(), Incarnation: name, DedupWindow: dedup, Level: *benchLevel}, appender.Deps{
		Log: appender.KafkaLog{Client: client},
		Join: func(worker string) (appender.Membership, error) {
			return client.Join(stream.GroupConfig{ID: "bench" + name, Topics: []string{topic}, Worker: worker})
		},
		DeadLetters: client.NewProducer(stream.ProducerConfig{Topic: "dead"}), Rotator: rot, Logger: log,
	})
	require.NoError(b, err)
	runtime.GC()
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	peak := watchRSS(ctx)
	startCPU := processCPU()
	go func() { done <- app.Run(ctx) }()
	for len(app.Partitions()) < benchPartitions {
		time.Sleep(time.Millisecond)
	}
	start := time.Now() // excludes joining the group, which takes a varying time
	require.NoError(b, app.SealAll(ctx))
	used, took = processCPU()-startCPU, time.Since(start)
	cancel()
	require.NoError(b, <-done)
	require.EqualValues(b, events, app.RecordsForTesting())
	return used, took, peak.Load()
}

// fill writes events of the sources, and returns the number of bytes of their lines, and some of
// the lines.
func (r *appenderBench) fill(cfg stream.ProducerConfig, events int, source func(i int) string) (total int, lines []byte) {
	cfg.Compression = "lz4"
	producer := r.client.NewProducer(cfg)
	defer producer.Close(r.b.Context())
	g := sample.New(sample.Config{Seed: 1, Sources: 8})
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	var batch []stream.Record
	for i := range events {
		e := record(source(i), now, string(g.Next().Body))
		e.Headers = append(e.Headers, stream.Header{Key: "sealift-line", Value: []byte("1")},
			stream.Header{Key: "sealift-message", Value: fmt.Appendf(nil, "00000000-0000-4000-8000-%012d", i)})
		batch = append(batch, e)
		total += len(e.Value) + 1
		if len(lines) < 32<<20 {
			lines = append(append(lines, e.Value...), '\n')
		}
		if len(batch) == 5_000 || i == events-1 {
			require.NoError(r.b, producer.Produce(r.b.Context(), batch...))
			batch = batch[:0]
		}
	}
	return total, lines
}

// watchRSS records the peak of this process's resident memory until ctx ends.
func watchRSS(ctx context.Context) *atomic.Int64 {
	peak := new(atomic.Int64)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			statm, err := os.ReadFile("/proc/self/statm")
			if f := strings.Fields(string(statm)); err == nil && len(f) > 1 {
				pages, _ := strconv.ParseInt(f[1], 10, 64)
				peak.Store(max(peak.Load(), pages*int64(os.Getpagesize())))
			}
			<-tick.C
		}
	}()
	return peak
}
