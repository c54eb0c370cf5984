package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/plan"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/stream"
)

// fleetRun is one run with its own topics, buckets and disks.
type fleetRun struct {
	b    testing.TB
	on   servers
	tag  string
	size fleetSize
	dir  string
	data dataset
	s3   string // the counting proxy

	listen string // address of the collector
}

// fleetSize says what is run, and how much of it.
type fleetSize struct {
	events, sources, destinations, hours, partitions int
	appenders, copiers                               int
	collector                                        bool // events are sent to a collector, and nothing else runs
	level                                            int  // gzip level
	set                                              []string
	label, commit                                    string
	data                                             string // directory of the datasets: the stack's
}

func runFleet(b testing.TB, on servers, size fleetSize) plan.Run {
	f := &fleetRun{b: b, on: on, size: size, tag: fmt.Sprintf("bench-%x", time.Now().UnixNano()&0xffffffffff), dir: b.TempDir()}
	client, err := stream.Open(stream.Config{Brokers: strings.Split(on.kafka, ",")}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	defer client.Close()
	require.NoError(b, on.makeBucket(f.tag+"-staging"))
	require.NoError(b, on.makeBucket(f.tag))
	counted, proxy := countRequests(b, on.s3, f.tag+"-staging")
	f.s3 = proxy
	run := plan.Run{
		Label: f.size.label, Commit: f.size.commit, Time: time.Now().UTC().Format(time.RFC3339), Machine: machine(),
		Events: int64(f.size.events), Sources: f.size.sources, Destinations: f.size.destinations, Hours: f.size.hours,
		Partitions: f.size.partitions, Level: f.size.level, Roles: map[string]plan.Role{},
	}
	if f.size.collector {
		f.data.Topic = f.tag + ".events"
		f.applyCatalog()
		began := time.Now()
		fleet := f.start("collector", 1)
		run.Bytes = sendDataset(b, f.listen, f.size.events, f.size.sources)
		run.WallSeconds = time.Since(began).Seconds()
		run.Roles["collector"] = f.stop(fleet)
		run.KafkaBytes = topicBytes(b, f.size.data, f.data.Topic)
		return run
	}

	f.data = newDataset(b, f.size.data, client, f.size)
	run.Bytes, run.KafkaBytes = f.data.Bytes, f.data.KafkaBytes
	f.applyCatalog()
	watch, done := context.WithCancel(b.Context())
	disk := diskUse(watch, filepath.Join(f.dir, "disks"))
	began := time.Now()
	appenders, copiers := f.start("appender", f.size.appenders), f.start("copier", f.size.copiers)
	f.await("records in files", float64(f.size.events), appenders, "sealift_rotator_records_total")
	sealed := f.metric(appenders, "sealift_rotator_files_total")
	f.await("files delivered", sealed, copiers, "sealift_copier_files_total")
	run.WallSeconds = time.Since(began).Seconds()
	done()
	run.Requests = counted.all() // does not include the requests made while stopping
	run.Roles["appender"], run.Roles["copier"] = f.stop(appenders), f.stop(copiers)
	role := run.Roles["appender"]
	role.DiskBytes = disk()
	run.Roles["appender"] = role
	f.verify(&run)
	return run
}

// verify has the result confirmed, and takes counts from the report.
func (f *fleetRun) verify(run *plan.Run) {
	text, err := sealift(f.b.Context(), f.env(), "verify", "--json", "--config", f.config("verify", f.on.s3, ""), "--endpoint", f.on.s3)
	require.NoError(f.b, err)
	var report struct {
		Chains, Entries, Files, Records, Bytes, Problems, Pending, Parked int64
		Unread                                                            []string
	}
	require.NoError(f.b, json.Unmarshal([]byte(text), &report))
	require.Equal(f.b, run.Events, report.Records, "records in files")
	require.Zero(f.b, report.Problems+report.Pending+report.Parked, text)
	require.Empty(f.b, report.Unread)
	run.Files, run.Entries, run.GzipBytes = report.Files, report.Entries, report.Bytes
	run.Claims = report.Chains // the appenders took each partition once
}

func (f *fleetRun) start(role string, n int) (all []*process) {
	for i := range n {
		name, admin := fmt.Sprintf("%s-%d", role, i), porttest.Free(f.b)
		disk := filepath.Join(f.dir, "disks", name)
		require.NoError(f.b, os.MkdirAll(disk, 0o700))
		f.listen = porttest.Free(f.b)
		section := map[string]string{
			"appender": fmt.Sprintf("appender: {data_dir: %q, level: %d}\n", disk, f.size.level), "collector": fmt.Sprintf("collector: {listen: %q}\n", f.listen), "copier": fmt.Sprintf("copier: {spool_dir: %q}\n", disk),
		}[role]
		args := []string{role, "--config", f.config(name, f.s3, section), "--set", "admin.listen=" + admin}
		for _, kv := range f.size.set {
			args = append(args, "--set", kv)
		}
		p := newProcess(f.b, f.dir, name, admin, f.env(), args...)
		require.NoError(f.b, p.start())
		all = append(all, p)
	}
	if role == "collector" {
		f.await("collector ready", 1, all, "go_info")
	}
	return all
}

// stop ends processes and returns what they used.
func (f *fleetRun) stop(all []*process) plan.Role {
	sum := plan.Role{Processes: len(all)}
	for _, p := range all {
		rss, err := procPeak(p.cmd.Process.Pid)
		require.NoError(f.b, err, p.log)
		sum.SumRSS += rss
		sum.PeakRSS = max(sum.PeakRSS, rss)
		require.NoError(f.b, p.signal(syscall.SIGTERM))
	}
	for _, p := range all {
		<-p.done
		require.NoError(f.b, p.err, p.log)
		used := p.cmd.ProcessState.SysUsage().(*syscall.Rusage)
		sum.CPUSeconds += time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
	}
	return sum
}

// await waits until the sum of a metric over the processes has reached a value.
func (f *fleetRun) await(what string, want float64, all []*process, name string) {
	f.b.Helper()
	for deadline := time.Now().Add(time.Hour); ; time.Sleep(500 * time.Millisecond) {
		got := f.metric(all, name)
		if got >= want {
			return
		}
		require.True(f.b, time.Now().Before(deadline), "%s: %.0f of %.0f", what, got, want)
		for _, p := range all {
			require.NoError(f.b, p.alive())
		}
	}
}

// metric sums a metric over the running processes.
func (f *fleetRun) metric(all []*process, name string) (sum float64) {
	for _, p := range all {
		if values, err := p.metrics(f.b.Context()); err == nil {
			sum += values[name]
		}
	}
	return sum
}

func (f *fleetRun) env() []string {
	return (&system{servers: f.on}).env()
}

// config writes a configuration with S3 at that endpoint.
func (f *fleetRun) config(name, s3, section string) string {
	_, host, _ := strings.Cut(f.s3, "://")
	text := fmt.Sprintf(`kafka: {brokers: [%[1]s], events_topic: %[2]s, jobs_topic: %[3]s.jobs, dead_letters_topic: %[3]s.dead, catalog_topic: %[3]s.catalog, group: %[3]s, partitions: %[4]d, session_timeout: 6s}
redis: {url: %[5]s}
staging: {bucket: %[3]s-staging, region: %[6]s, endpoint: %[7]s, force_path_style: true}
sts: {endpoint: %[7]s, verify_trust: false}
destinations: {allowed_endpoints: [%[8]s]}
log: {format: json, level: warn}
%[9]s`, f.on.kafka, f.data.Topic, f.tag, f.size.partitions, f.on.redis, f.on.region, s3, host, section)
	file := filepath.Join(f.dir, name+".yaml")
	require.NoError(f.b, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// applyCatalog declares one workspace whose sources are distributed over destinations, which are
// folders of one bucket.
func (f *fleetRun) applyCatalog() {
	sources := make([]map[string]any, f.size.sources)
	owed := make([][]string, f.size.destinations)
	for i := range sources {
		id := sourceID(i)
		sources[i] = map[string]any{"id": id, "write_keys": []string{writeKey(id)}}
		owed[i%len(owed)] = append(owed[i%len(owed)], id)
	}
	var destinations []map[string]any
	for i, of := range owed {
		if len(of) > 0 {
			destinations = append(destinations, map[string]any{
				"name": fmt.Sprintf("d%d", i), "sources": of, "bucket": fmt.Sprintf("%s/d%d", f.tag, i), "region": f.on.region, "endpoint": f.s3,
			})
		}
	}
	text, err := json.Marshal(map[string]any{"workspace": "ws_bench" + strings.Repeat("0", 20), "sources": sources, "destinations": destinations})
	require.NoError(f.b, err)
	file := filepath.Join(f.dir, "catalog.yaml")
	require.NoError(f.b, os.WriteFile(file, text, 0o600))
	_, err = sealift(f.b.Context(), f.env(), "catalog", "apply", "--config", f.config("apply", f.on.s3, ""), "-f", file)
	require.NoError(f.b, err)
}

// machine describes the machine of the measurement.
func machine() string {
	model := runtime.GOARCH
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	return fmt.Sprintf("%d x %s, %s", runtime.NumCPU(), cmp.Or(model, "?"), runtime.Version())
}

// appendLine adds a line of JSON to a file of results.
func appendLine(b testing.TB, file string, line []byte) {
	b.Helper()
	out, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(b, err)
	_, err = fmt.Fprintf(out, "%s\n", line)
	require.NoError(b, err)
	require.NoError(b, out.Close())
}
