package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/stream"
)

// scaleRig is one appender, a process of the binary as operators run it, with servers in a separate
// process, and events that this process produces.
type scaleRig struct {
	testing.TB
	dir, kafka, s3 string
	client         *stream.Client
	appender       *process
	sources        int
	bodies         []string
	made, acked    atomic.Int64 // events
	counting       bool         // look counts requests as well
	passed         float64      // events that earlier processes have read
}

const scalePartitions = 8

func newScaleRig(b testing.TB, sources int) *scaleRig {
	r := &scaleRig{TB: b, dir: b.TempDir(), sources: sources}
	r.kafka, r.s3 = startBenchServers(b, filepath.Join(r.dir, "servers"))
	r.client = benchClient(b, r.kafka)
	require.NoError(b, r.client.EnsureTopics(b.Context(), true, stream.Topic{Name: "sealift.events", Partitions: scalePartitions}))
	g := sample.New(sample.Config{Seed: 1, Sources: 8})
	for range 20_000 { // far more than fits into gzip's window or a batch of lz4
		r.bodies = append(r.bodies, string(g.Next().Body))
	}
	r.applyCatalog()
	return r
}

// applyCatalog declares a hundred customers who share the sources.
func (r *scaleRig) applyCatalog() {
	var text strings.Builder
	const workspaces = 100
	for w := range workspaces {
		var sources []map[string]any
		var ids []string
		for i := w; i < r.sources; i += workspaces {
			ids = append(ids, sourceID(i))
			sources = append(sources, map[string]any{"id": sourceID(i), "write_keys": []string{writeKey(sourceID(i))}})
		}
		doc, err := json.Marshal(map[string]any{
			"workspace": fmt.Sprintf("ws_scale%03d%s", w, strings.Repeat("0", 16)), "sources": sources,
			"destinations": []map[string]any{{"name": "logs", "sources": ids, "bucket": fmt.Sprintf("customer-%03d", w), "region": "us-east-1"}},
		})
		require.NoError(r, err)
		fmt.Fprintf(&text, "---\n%s\n", doc)
	}
	file := filepath.Join(r.dir, "catalog.yaml")
	require.NoError(r, os.WriteFile(file, []byte(text.String()), 0o600))
	_, err := sealift(r.Context(), nil, "catalog", "apply", "--config", r.config(""), "-f", file)
	require.NoError(r, err)
}

func (r *scaleRig) config(section string) string {
	text := fmt.Sprintf(`kafka: {brokers: [%s], partitions: %d, session_timeout: 10s}
staging: {bucket: staging, region: us-east-1, endpoint: %s, force_path_style: true}
sts: {verify_trust: false}
log: {format: json, level: warn}
%s
`, r.kafka, scalePartitions, r.s3, section)
	file := filepath.Join(r.dir, "sealift.yaml")
	require.NoError(r, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// start starts the appender with additional settings in its section of the configuration.
func (r *scaleRig) start(section string) {
	admin := porttest.Free(r)
	config := r.config(fmt.Sprintf("appender: {data_dir: %q, %s}", filepath.Join(r.dir, "appender"), section))
	r.appender = newProcess(r, r.dir, "appender", admin, []string{"AWS_ACCESS_KEY_ID=bench", "AWS_SECRET_ACCESS_KEY=bench"},
		"appender", "--config", config, "--set", "admin.listen="+admin, "--set", "admin.pprof=true")
	require.NoError(r, r.appender.start())
}

// stop ends the appender as operators do.
func (r *scaleRig) stop() {
	if m, ok := r.observe(); ok {
		r.passed = m.read
	}
	require.NoError(r, r.appender.signal(syscall.SIGTERM))
	<-r.appender.done
	require.NoError(r, r.appender.err, r.appender.log)
}

// produce sends n events at that rate per second (0: as fast as possible) until ctx ends. The first
// events are one of every source; the others are skewed.
func (r *scaleRig) produce(ctx context.Context, n int64, rate float64) {
	producer := r.client.NewProducer(stream.ProducerConfig{Topic: "sealift.events", Compression: "lz4"})
	defer producer.Close(context.Background())
	zipf := rand.NewZipf(rand.New(rand.NewPCG(7, uint64(r.made.Load()))), 1.1, 1, uint64(r.sources-1))
	batch := 5_000
	if rate > 0 {
		batch = int(max(1, rate/10))
	}
	group, gctx := errgroup.WithContext(r.Context())
	group.SetLimit(4)
	begin, sent := time.Now(), 0
	for left := n; left > 0 && ctx.Err() == nil && gctx.Err() == nil; {
		records := make([]stream.Record, min(left, int64(batch)))
		now := strconv.FormatInt(time.Now().UnixMilli(), 10)
		for i := range records {
			id := r.made.Add(1) - 1
			source := uint64(id)
			if id >= int64(r.sources) {
				source = zipf.Uint64()
			}
			records[i] = record(sourceID(int(source)), now, r.bodies[id%int64(len(r.bodies))])
			records[i].Headers = append(records[i].Headers, stream.Header{Key: "sealift-line", Value: []byte("1")},
				stream.Header{Key: "sealift-message", Value: fmt.Appendf(nil, "00000000-0000-4000-8000-%012d", id)})
		}
		left -= int64(len(records))
		sent += len(records)
		group.Go(func() error {
			err := producer.Produce(gctx, records...)
			r.acked.Add(int64(len(records)))
			return err
		})
		if rate > 0 {
			time.Sleep(time.Until(begin.Add(time.Duration(float64(sent) / rate * float64(time.Second)))))
		}
	}
	require.NoError(r, group.Wait())
}

// moment is what was observed of the appender at some time.
type moment struct {
	at                time.Time
	acked, read, file float64 // so far
	rss               int64
	handles           int
	staged            int64 // PUTs of files
	cpu               time.Duration
	values            map[string]float64 // its metrics, summed over labels
}

func (m moment) lag() float64 { return m.acked - m.read }

// observe returns what can be observed now; ok is false while there is no answer.
func (r *scaleRig) observe() (m moment, ok bool) {
	pid := strconv.Itoa(r.appender.cmd.Process.Pid)
	m.at, m.acked = time.Now(), float64(r.acked.Load())
	var err error
	if m.values, err = r.appender.metrics(r.Context()); err != nil {
		return m, false
	}
	m.read, m.file = r.passed+m.values["sealift_appender_records_total"], m.values["sealift_rotator_files_total"]
	m.cpu = time.Duration(m.values["process_cpu_seconds_total"] * 1e9)
	statm, err := os.ReadFile("/proc/" + pid + "/statm")
	if f := strings.Fields(string(statm)); err == nil && len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		m.rss = pages * int64(os.Getpagesize())
	}
	names, _ := os.ReadDir("/proc/" + pid + "/fd")
	m.handles = len(names)
	if r.counting {
		m.staged = r.requests(url.Values{})["put staged"]
	}
	return m, true
}

// watch looks four times a second until done returns true for what it sees, and returns everything
// that it saw.
func (r *scaleRig) watch(what string, within time.Duration, done func(moment) bool) (all []moment) {
	r.Helper()
	for deadline := time.Now().Add(within); ; time.Sleep(250 * time.Millisecond) {
		if m, ok := r.observe(); ok {
			all = append(all, m)
			if done(m) {
				return all
			}
		}
		require.NoError(r, r.appender.alive())
		require.True(r, time.Now().Before(deadline), "%s: %v", what, all[max(0, len(all)-1):])
	}
}

func peakRSS(ms []moment) int64 {
	return slices.MaxFunc(ms, func(a, b moment) int { return int(a.rss - b.rss) }).rss
}

func peakHandles(ms []moment) int {
	return slices.MaxFunc(ms, func(a, b moment) int { return a.handles - b.handles }).handles
}

// entries adds figures about the ledger's entries so far.
func (r *scaleRig) entries(figures map[string]any) {
	staging := objstore.NewS3(objstore.S3Config{
		Bucket: "staging", Region: "us-east-1", Endpoint: r.s3, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: "bench", SecretAccessKey: secret.New("bench")}, nil
		},
	})
	var bytes, files, through []int
	sum := 0
	logs, err := ledger.Logs(r.Context(), staging, "sealift.events", "1")
	require.NoError(r, err)
	for _, l := range logs {
		head, err := ledger.NewChain(staging, l).HeadSeq(r.Context())
		require.NoError(r, err)
		for seq := range head + 1 {
			body, _, err := staging.Get(r.Context(), ledger.EntryKey(l, seq))
			require.NoError(r, err)
			text, err := io.ReadAll(body)
			require.NoError(r, err)
			e, err := ledger.Decode(text)
			require.NoError(r, err)
			if len(e.Files) > 0 {
				bytes, files, through = append(bytes, len(text)), append(files, len(e.Files)), append(through, len(e.SealedThrough))
				sum += len(text)
			}
		}
	}
	figures["entries"], figures["entries_MB"] = len(bytes), float64(sum)/1e6
	for name, list := range map[string][]int{"entry_bytes": bytes, "entry_files": files, "entry_through": through} {
		slices.Sort(list)
		if n := len(list); n > 0 {
			figures[name+"_p50"], figures[name+"_p99"], figures[name+"_max"] = list[n/2], list[min(n-1, n*99/100)], list[n-1]
		}
	}
}

// setDelay makes PUTs of staged files take that long from now on, and returns the numbers of
// requests so far, by kind.
func (r *scaleRig) setDelay(delay time.Duration) map[string]int64 {
	return r.requests(url.Values{"delay": {delay.String()}})
}

func (r *scaleRig) requests(form url.Values) (counts map[string]int64) {
	resp, err := http.PostForm(r.s3+benchControl, form)
	require.NoError(r, err)
	defer resp.Body.Close()
	require.NoError(r, json.NewDecoder(resp.Body).Decode(&counts))
	return counts
}

// benchControl is the path of benchS3's own requests.
const benchControl = "/-bench"

// benchS3 counts requests, and is slow if told to be.
type benchS3 struct {
	http.Handler
	requests
	delay atomic.Int64
}

// ServeHTTP implements http.Handler.
func (s *benchS3) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == benchControl {
		if delay, err := time.ParseDuration(r.FormValue("delay")); err == nil {
			s.delay.Store(int64(delay))
		}
		_ = json.NewEncoder(w).Encode(s.all())
		return
	}
	s.count(r)
	if d := s.delay.Load(); d > 0 && r.Method == http.MethodPut && strings.HasPrefix(r.URL.Path, "/staging/data/") {
		time.Sleep(time.Duration(d))
	}
	s.Handler.ServeHTTP(w, r)
}

// recordResult adds a line of JSON to the file named by -scale.out.
func (r *scaleRig) recordResult(name string, figures map[string]any) {
	figures["benchmark"], figures["at"], figures["machine"], figures["commit"] = name, time.Now().UTC().Format(time.RFC3339), machine(), *scaleCommit
	line, err := json.Marshal(figures)
	require.NoError(r, err)
	r.Logf("%s", line)
	if *scaleOut == "" {
		return
	}
	appendLine(r, *scaleOut, line)
}
