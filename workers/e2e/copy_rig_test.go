//go:build stack

package e2e

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"hash/crc64"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/plan"
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	copySources      = 50
	copyDestinations = 10
	copyConcurrency  = 16 // the default of copier.concurrency
	copyPartitions   = 8
)

// copyRig has staged files with their ledger entries, and what delivers them.
type copyRig struct {
	*fleetRun
	client  *stream.Client
	staging objstore.Store
	warm    []copyItem
	items   []copyItem
	bytes   int64
	records int64
}

// copyItem is one file with its delivery.
type copyItem struct {
	job  delivery.Job
	file *ledger.File
	body []byte
}

func newCopyRig(b *testing.B, on servers) *copyRig {
	size := fleetSize{sources: copySources, destinations: copyDestinations, partitions: copyPartitions, set: copySettings()}
	r := &copyRig{fleetRun: &fleetRun{b: b, on: on, size: size, tag: fmt.Sprintf("bench-%x", time.Now().UnixNano()&0xffffffffff), dir: b.TempDir()}}
	r.s3 = on.s3
	if *copyDelay > 0 {
		r.s3 = delayed(b, on.s3, *copyDelay)
	}
	var err error
	r.client, err = stream.Open(stream.Config{Brokers: strings.Split(on.kafka, ",")}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, r.client.Close()) })
	for _, bucket := range r.buckets() {
		require.NoError(b, on.makeBucket(bucket))
	}
	r.data.Topic = r.tag + ".events"
	require.NoError(b, r.client.EnsureTopics(b.Context(), true,
		stream.Topic{Name: r.data.Topic, Partitions: copyPartitions}, stream.Topic{Name: r.tag + ".jobs", Partitions: copyPartitions}))
	r.staging = store(on, r.tag+"-staging")
	r.applyCatalog()
	for i := range copyDestinations { // one per destination
		r.warm = append(r.warm, copyItem{job: r.jobOf(i), body: fileOf(1_000, i)})
	}
	for i := range *copyFiles {
		r.items = append(r.items, copyItem{job: r.jobOf(i), body: fileOf(*copyBytes, i)})
		r.bytes += int64(len(r.items[i].body))
	}
	for p := range copyPartitions {
		r.stage(p)
	}
	return r
}

func (r *copyRig) buckets() []string { return []string{r.tag + "-staging", r.tag, r.tag + "-loop"} }

func (r *copyRig) packed() bool { return *copyBytes < delivery.PackedBelow && !*copyAlone }

// jobOf returns the delivery of file i, without its place in the ledger.
func (r *copyRig) jobOf(i int) delivery.Job {
	return delivery.Job{Destination: fmt.Sprintf("ws_bench%s/d%d", strings.Repeat("0", 20), i%copySources%copyDestinations)}
}

// fileOf returns one gzip member of about that size, with incompressible lines.
func fileOf(size, i int) []byte {
	var out bytes.Buffer
	out.Grow(size + 1_000)
	gz, _ := gzip.NewWriterLevel(&out, gzip.NoCompression)
	rest := rand.New(rand.NewPCG(uint64(i), uint64(size)))
	raw := make([]byte, 540)
	for n := 0; n+750 <= size || n == 0; n += 750 {
		for j := 0; j < len(raw); j += 4 {
			v := rest.Uint32()
			raw[j], raw[j+1], raw[j+2], raw[j+3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
		}
		fmt.Fprintf(gz, "{\"messageId\":\"%08d-%07d\",%q:%q}\n", i, n/750, "x", base64.StdEncoding.EncodeToString(raw[:531]))
	}
	_ = gz.Close()
	return out.Bytes()
}

// stage writes a partition's part: its files, as the rotator stages them, and its ledger.
func (r *copyRig) stage(partition int) {
	l := ledger.Log{Topic: r.data.Topic, Incarnation: "1", Partition: partition}
	entry := ledgertest.Append(r.b, r.staging, ledgertest.Init(l, time.Now()))
	for seq, all := range [][]copyItem{r.warm, r.items} {
		var (
			mine  []int
			files []ledger.File
			low   = entry.LowWatermark
		)
		for i := range all {
			if i%copyPartitions == partition {
				mine = append(mine, i)
				files = append(files, r.fileAt(l, low, i, &all[i]))
				low = files[len(files)-1].Last + 1
			}
		}
		if len(mine) == 0 {
			continue
		}
		entry = ledgertest.Next(entry, files...)
		entry.DispatchedThrough = int64(seq)
		r.put(entry, mine, all)
		ledgertest.Append(r.b, r.staging, entry)
		for n, i := range mine {
			all[i].file, all[i].job.File = &entry.Files[n], delivery.Ref(entry, n)
		}
	}
}

// fileAt returns what the ledger says about an item with that first offset.
func (r *copyRig) fileAt(l ledger.Log, first int64, i int, item *copyItem) ledger.File {
	lines := []byte(gziptest.Unzip(r.b, bytes.NewReader(item.body)))
	hour := time.Now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour).UnixMilli()
	records := int64(bytes.Count(lines, []byte("\n")))
	r.records += records
	return ledgertest.File(l, ledger.File{
		Source: sourceID(i % copySources), Hour: hour, First: first, Last: first + records - 1, RawBytes: int64(len(lines)), Owed: []string{item.job.Destination},
		RawCRC64: fmt.Sprintf("%016x", crc64.Checksum(lines, crc64.MakeTable(0x9a6c9329ac4bc9b5))),
	}, item.body)
}

// put stages the files of an entry, small ones in packs.
func (r *copyRig) put(e *ledger.Entry, mine []int, all []copyItem) {
	put := func(key string, body []byte) {
		_, err := r.staging.Put(r.b.Context(), key, bytes.NewReader(body), objstore.PutOptions{IfAbsent: true, ContentType: "text/plain", ContentEncoding: "gzip"})
		require.NoError(r.b, err)
	}
	if !r.packed() {
		for n, i := range mine {
			put(e.Files[n].StagedKey, all[i].body)
		}
		return
	}
	for from := 0; from < len(mine); {
		var pack []byte
		to := from
		for ; to < len(mine) && len(pack)+len(all[mine[to]].body) <= delivery.PackBytes; to++ {
			pack = append(pack, all[mine[to]].body...)
		}
		put(ledgertest.Pack(e.Log(), e.Seq, e.Files[from:to], pack), pack)
		from = to
	}
}

// copier has a copier deliver everything, and measures from when the jobs are written to the last
// receipt. The copier already has connections and knows that its destinations work.
func (r *copyRig) copier() copyRun {
	copier := r.start("copier", 1)
	producer := r.client.NewProducer(stream.ProducerConfig{Topic: r.tag + ".jobs"})
	defer func() { require.NoError(r.b, producer.Close(r.b.Context())) }()
	produce := func(items []copyItem) {
		var records []stream.Record
		for _, item := range items {
			records = append(records, stream.Record{Key: item.job.RecordKey(), Value: item.job.Encode(), Time: time.Now()})
		}
		require.NoError(r.b, producer.Produce(r.b.Context(), records...))
	}
	produce(r.warm)
	r.await("first files delivered", float64(len(r.warm)), copier, "sealift_copier_files_total")

	profiled := r.profile(copier[0])
	pid := copier[0].cmd.Process.Pid
	run := copyRun{What: "copier"}
	begun, cpu, server := time.Now(), cpuSeconds(r.b, pid), r.serverCPU()
	produce(r.items)
	r.await("files delivered", float64(len(r.warm)+len(r.items)), copier, "sealift_copier_files_total")
	run.CPUSeconds, run.ServerCPUSeconds = cpuSeconds(r.b, pid)-cpu, r.serverCPU()-server
	run.WallSeconds = r.lastReceipt().Sub(begun).Seconds() // the wait above polls only twice a second
	profiled()
	r.stop(copier)
	r.verify(&plan.Run{Events: r.records})
	return run
}

// lastReceipt returns when the last receipt was written, by the server's clock, which is this
// machine's.
func (r *copyRig) lastReceipt() (last time.Time) {
	entries := map[delivery.FileRef]bool{} // the first file of each
	for _, item := range slices.Concat(r.warm, r.items) {
		first := item.job.File
		first.Index = 0
		entries[first] = true
	}
	n := 0
	for of := range entries {
		set, err := receipt.List(r.b.Context(), r.staging, of.Log(), of.Seq)
		require.NoError(r.b, err)
		n += len(set)
		for _, found := range set {
			if found.StoredAt.After(last) {
				last = found.StoredAt
			}
		}
	}
	require.Equal(r.b, len(r.warm)+len(r.items), n, "receipts")
	return last
}

// profile starts a profile of the copier, if one is wanted; done waits for it.
func (r *copyRig) profile(p *process) (done func()) {
	if *copyProfile == "" {
		return func() {}
	}
	got := make(chan error, 1)
	go func() {
		resp, err := http.Get("http://" + p.admin + "/debug/pprof/profile?seconds=" + strconv.Itoa(int(copyProfileFor.Seconds())))
		if err != nil {
			got <- err
			return
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err == nil {
			err = os.WriteFile(*copyProfile, text, 0o600)
		}
		got <- err
	}()
	return func() { require.NoError(r.b, <-got) }
}

// copyProfileFor should be longer than a run; the copier is idle after it.
const copyProfileFor = 20 * time.Second

func (r *copyRig) serverCPU() float64 {
	text, err := os.ReadFile(filepath.Join(env(r.b, "SEALIFT_TEST_STACK"), "minio.pid"))
	require.NoError(r.b, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(r.b, err)
	return cpuSeconds(r.b, pid)
}

// cpuSeconds returns what a process has used so far, to a hundredth of a second.
func cpuSeconds(b testing.TB, pid int) float64 {
	stat, err := procStat(pid)
	require.NoError(b, err)
	return stat.cpu.Seconds()
}
