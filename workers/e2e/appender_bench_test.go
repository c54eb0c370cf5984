package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/rotator"
)

// benchServersEnv makes a process of the test binary the servers of a
// benchmark, so that their CPU time is not the appender's.
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
	go func() { _ = http.Serve(l, s3) }()
	fmt.Printf("%s http://%s\n", broker.Addr(), l.Addr())
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkAppender measures one appender with its rotator, from Kafka to
// staged files in the ledger, in CPU seconds of this process alone, against
// the bound "append and klauspost gzip level 1" of the same lines in the same
// run, on a part of them right before and after it. cpu-ratio is the bound's CPU
// over the appender's, dedup-cpu-ratio the appender's over that of one that
// leaves duplicates in. With SEALIFT_BENCH_JSON=FILE each run is a line of JSON
// in it, too.
//
//	go test ./workers/e2e -run - -bench Appender -benchtime 1x
func BenchmarkAppender(b *testing.B) {
	for _, sources := range []int{100, 10_000, 100_000} {
		b.Run("sources="+strconv.Itoa(sources), func(b *testing.B) { benchAppender(b, sources, *benchEvents) })
	}
}

var benchEvents = flag.Int("bench.events", 400_000, "events that BenchmarkAppender reads; memory and time grow with them")

func benchAppender(b *testing.B, sources, events int) {
	servers := exec.Command(os.Args[0])
	servers.Env = append(os.Environ(), benchServersEnv+"="+b.TempDir())
	servers.Stderr = os.Stderr
	in, err := servers.StdinPipe()
	require.NoError(b, err)
	out, err := servers.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, servers.Start())
	defer func() { _ = in.Close(); _ = servers.Wait() }()
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	kafka, s3, _ := strings.Cut(strings.TrimSpace(line), " ")

	log := slog.New(slog.DiscardHandler)
	client, err := stream.Open(stream.Config{Brokers: []string{kafka}}, log)
	require.NoError(b, err)
	defer client.Close()
	const partitions = 8
	require.NoError(b, client.EnsureTopics(b.Context(), true,
		stream.Topic{Name: "events", Partitions: partitions}, stream.Topic{Name: "jobs", Partitions: 1}, stream.Topic{Name: "dead", Partitions: 1}))
	total, lines := fill(b, client, sources, events)

	staging := objstore.NewS3(objstore.S3Config{
		Bucket: "staging", Region: "us-east-1", Endpoint: s3, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: "bench", SecretAccessKey: "bench"}, nil
		},
	})
	// run returns what reading all took: CPU, time, peak memory.
	runs := 0
	run := func(dedup time.Duration) (used, took time.Duration, rss int64) {
		runs++
		name := strconv.Itoa(runs)
		rot, err := rotator.New(rotator.Config{Cluster: "sealift-embedded"}, rotator.Deps{
			Staging: staging, Kafka: client, Jobs: client.NewProducer(stream.ProducerConfig{Topic: "jobs"}), Logger: log,
			Owed: func(string) []string { return nil },
		})
		require.NoError(b, err)
		app, err := appender.New(appender.Config{Topic: "events", DataDir: b.TempDir(), Incarnation: name, DedupWindow: dedup}, appender.Deps{
			Log: appender.KafkaLog{Client: client},
			Join: func(worker string) (appender.Membership, error) {
				return client.Join(stream.GroupConfig{ID: "bench" + name, Topics: []string{"events"}, Worker: worker})
			},
			DeadLetters: client.NewProducer(stream.ProducerConfig{Topic: "dead"}), Rotator: rot, Logger: log,
		})
		require.NoError(b, err)
		runtime.GC()
		ctx, cancel := context.WithCancel(b.Context())
		done := make(chan error, 1)
		peak := watchRSS(ctx)
		start, startCPU := time.Now(), processCPU()
		go func() { done <- app.Run(ctx) }()
		for len(app.Partitions()) < partitions {
			time.Sleep(time.Millisecond)
		}
		require.NoError(b, app.SealAll(ctx))
		used, took = processCPU()-startCPU, time.Since(start)
		cancel()
		require.NoError(b, <-done)
		require.EqualValues(b, events, app.Records())
		return used, took, peak.Load()
	}
	for b.Loop() {
		without, _, _ := run(0)
		before := boundCPU(b, lines)
		used, took, rss := run(24 * time.Hour)
		bound := (before + boundCPU(b, lines)) / 2
		perGB := used.Seconds() / (float64(total) / 1e9)
		report(b, map[string]float64{
			"cpu-s/GB": perGB, "bound-cpu-s/GB": bound, "cpu-ratio": bound / perGB,
			"dedup-cpu-ratio": used.Seconds() / without.Seconds(),
			"events/s":        float64(events) / took.Seconds(),
			"peak-rss-MB":     float64(rss) / 1e6,
		})
	}
}

// report tells the figures of one run, as one line of JSON too if asked for.
func report(b *testing.B, figures map[string]float64) {
	b.Helper()
	for unit, v := range figures {
		b.ReportMetric(v, unit)
	}
	path := os.Getenv("SEALIFT_BENCH_JSON")
	if path == "" {
		return
	}
	line, err := json.Marshal(map[string]any{"benchmark": b.Name(), "at": time.Now().UTC(), "figures": figures})
	require.NoError(b, err)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	_, err = f.Write(append(line, '\n'))
	require.NoError(b, errors.Join(err, f.Close()))
}

// boundCPU is what append and gzip level 1 of lines take, in CPU seconds per GB.
func boundCPU(b *testing.B, lines []byte) float64 {
	b.Helper()
	z, err := gzip.NewWriterLevel(io.Discard, 1)
	require.NoError(b, err)
	var buf []byte
	start := processCPU()
	for rest := lines; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		buf = append(append(buf, rest[:n]...), '\n')
		rest = rest[n+1:]
		if len(buf) >= 64<<10 {
			_, _ = z.Write(buf)
			buf = buf[:0]
		}
	}
	_, _ = z.Write(buf)
	_ = z.Close()
	return (processCPU() - start).Seconds() / (float64(len(lines)) / 1e9)
}

// fill writes the events, skewed over the sources, and returns the bytes of
// their lines, and some of the lines.
func fill(b *testing.B, client *stream.Client, sources, events int) (total int, lines []byte) {
	b.Helper()
	producer := client.NewProducer(stream.ProducerConfig{Topic: "events", Compression: "lz4"})
	defer producer.Close()
	g := sample.New(sample.Config{Seed: 1, Sources: 8})
	zipf := rand.NewZipf(rand.New(rand.NewPCG(7, 7)), 1.1, 1, uint64(sources-1))
	now := strconv.FormatInt(time.Now().UnixMilli(), 10)
	var batch []stream.Record
	for i := range events {
		n := uint64(i)
		if i >= sources {
			n = zipf.Uint64()
		}
		r := record(fmt.Sprintf("source%06d", n), now, string(g.Next().Body))
		r.Headers = append(r.Headers, stream.Header{Key: "sealift-line", Value: []byte("1")},
			stream.Header{Key: "sealift-message", Value: fmt.Appendf(nil, "00000000-0000-4000-8000-%012d", i)})
		batch = append(batch, r)
		total += len(r.Value) + 1
		if len(lines) < 32<<20 {
			lines = append(append(lines, r.Value...), '\n')
		}
		if len(batch) == 5_000 || i == events-1 {
			require.NoError(b, producer.Produce(b.Context(), batch...))
			batch = batch[:0]
		}
	}
	return total, lines
}

// watchRSS notes the peak of this process's resident memory until ctx ends.
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

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
