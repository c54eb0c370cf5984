package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/stream"
)

// BenchmarkAppender measures one appender with its rotator, from Kafka to staged files in the
// ledger, in CPU seconds of this process alone. It compares them with the lower bound "append and
// klauspost gzip level 1" for the same lines in the same run, measured on a part of them right
// before and after. cpu-ratio is the bound's CPU over the appender's; dedup-cpu-ratio is the
// appender's over that of an appender that keeps duplicates. With SEALIFT_BENCH_JSON=FILE each run
// also adds a line of JSON to that file.
//
//	go test ./workers/e2e -run - -bench Appender -benchtime 1x
func BenchmarkAppender(b *testing.B) {
	for _, sources := range []int{100, 10_000, 100_000} {
		b.Run("sources="+strconv.Itoa(sources), func(b *testing.B) { benchAppender(b, sources, *benchEvents) })
	}
}

var (
	benchEvents = flag.Int("bench.events", 400_000, "events that BenchmarkAppender reads; memory and time grow with them")
	benchLevel  = flag.Int("bench.level", 6, "gzip level of the appender's files; the bound's is always 1")
)

func benchAppender(b *testing.B, sources, events int) {
	r := newAppenderBench(b, "events")
	zipf := rand.NewZipf(rand.New(rand.NewPCG(7, 7)), 1.1, 1, uint64(sources-1))
	total, lines := r.fill(stream.ProducerConfig{Topic: "events"}, events, func(i int) string {
		n := uint64(i)
		if i >= sources {
			n = zipf.Uint64()
		}
		return fmt.Sprintf("source%06d", n)
	})
	for b.Loop() {
		without, _, _ := r.run("events", events, 0)
		before := boundCPU(b, lines)
		used, took, rss := r.run("events", events, 24*time.Hour)
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

// BenchmarkHotSource measures an appender with a source that has four fifths of all events, in one
// of 8 partitions or spread over all of them, alternating in one run. speed-ratio is events/s with
// spreading over events/s without, and cpu-ratio the CPU time with it over that without.
//
//	go test ./workers/e2e -run - -bench HotSource -benchtime 3x
func BenchmarkHotSource(b *testing.B) {
	r := newAppenderBench(b, "one", "spread")
	events := *benchEvents
	source := func(i int) string {
		if i%5 == 4 {
			return fmt.Sprintf("source%06d", i%500)
		}
		return "hot"
	}
	r.fill(stream.ProducerConfig{Topic: "one"}, events, source)
	r.fill(stream.ProducerConfig{Topic: "spread", Spread: func(r *stream.Record) (over int, by []byte) {
		if string(r.Key) == "hot" {
			over = 8
		}
		id, _ := r.Header("sealift-message")
		return over, id
	}}, events, source)
	var cpu, took [2]time.Duration
	for b.Loop() {
		for i, topic := range []string{"one", "spread"} {
			c, t, _ := r.run(topic, events, 24*time.Hour)
			cpu[i], took[i] = cpu[i]+c, took[i]+t
		}
	}
	n := float64(b.N * events)
	report(b, map[string]float64{
		"events/s": n / took[0].Seconds(), "spread-events/s": n / took[1].Seconds(), "speed-ratio": took[0].Seconds() / took[1].Seconds(),
		"cpu-s": cpu[0].Seconds() / float64(b.N), "spread-cpu-s": cpu[1].Seconds() / float64(b.N), "cpu-ratio": cpu[1].Seconds() / cpu[0].Seconds(),
	})
}

// report reports the figures of one run, and writes them as a line of JSON if asked to.
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

// boundCPU returns what append and gzip level 1 take for the lines, in CPU seconds per GB.
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

func processCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
