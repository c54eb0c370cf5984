package replay

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

const (
	acme = "ws_acme0123456789abcd"
	one  = acme + "/one" // gets web and app
	two  = acme + "/two" // gets web
	// theirs belongs to another workspace, which has the source shop.
	theirs = "ws_other0123456789ab/theirs"

	hour = int64(1_795_356_000_000)
	next = hour + 3_600_000
)

// rig is an in-memory log of a partition, the ledger of what was sealed from it, and a job topic.
type rig struct {
	t              *testing.T
	staging        *objstore.Memory
	log            []stream.Record
	first          int64 // offset at which the log begins
	head           *ledger.Entry
	router         *route.Router
	owed           map[string][]string
	catalog        *catalog.Live
	recordsFetched int // number of records, in total
	failEvery      int // every so many fetches, and every other read of bounds, finds no broker; 0: never
	fetches        int // number of fetches
	onFetch        func(offset int64)
	boundsReads    int // number of reads of bounds

	mu         sync.Mutex // guards jobs
	jobs       []delivery.Job
	enqueuedAt []time.Time
	produceErr error
}

var testLog = ledger.Log{Topic: "events", Incarnation: "1", Partition: 0}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, staging: objstore.NewMemory("staging"), owed: map[string][]string{"web": {one}, "app": {one}, "shop": {theirs}}, catalog: catalog.NewLive()}
	var err error
	r.router, err = route.New("header", "header")
	require.NoError(t, err)
	s, err := catalog.NewSnapshot([]catalog.Workspace{
		{ID: acme, Sources: []catalog.Source{{ID: "web"}, {ID: "app"}}, Destinations: []catalog.Destination{
			{Name: "one", Sources: []string{"web", "app"}, Bucket: "one-logs"}, {Name: "two", Sources: []string{"web"}, Bucket: "two-logs"},
		}},
		{ID: "ws_other0123456789ab", Sources: []catalog.Source{{ID: "shop"}}, Destinations: []catalog.Destination{{Name: "theirs", Sources: []string{"shop"}, Bucket: "their-logs"}}},
	})
	require.NoError(t, err)
	r.catalog.Set(s)
	r.head = ledgertest.Append(t, r.staging, ledgertest.Init(testLog, time.UnixMilli(hour)))
	return r
}

// write appends a record to the log, received at that time.
func (r *rig) write(source string, received int64, value string) {
	r.log = append(r.log, stream.Record{
		Topic: testLog.Topic, Offset: int64(len(r.log)), Value: []byte(value),
		Headers: []stream.Header{{Key: route.HeaderSource, Value: []byte(source)}, {Key: route.HeaderReceived, Value: strconv.AppendInt(nil, received, 10)}},
	})
}

// seal puts what was written since into files of an entry, with at most most records each; drop
// leaves records out, as the appender does with duplicates.
func (r *rig) seal(most int64, drop func(offset int64) bool) *ledger.Entry {
	spool, err := segment.New(segment.Config{Dir: r.t.TempDir()})
	require.NoError(r.t, err)
	defer spool.Discard()
	var sealed []*segment.Sealed
	seal := func(s ledger.Stream) {
		f, err := spool.Seal(s, segment.ReasonTime)
		require.NoError(r.t, err)
		if f != nil {
			sealed = append(sealed, f)
		}
	}
	streams := map[ledger.Stream]int64{}
	for i := range r.log[r.head.LowWatermark:] {
		rec := &r.log[r.head.LowWatermark+int64(i)]
		to, reason := r.router.Route(rec)
		if reason != "" || drop != nil && drop(rec.Offset) {
			continue
		}
		s := ledger.StreamOf(to.Source, to.Received)
		require.NoError(r.t, spool.Append(s, rec.Offset, to.Received, to.Line))
		if streams[s]++; streams[s]%most == 0 {
			seal(s)
		}
	}
	for s := range streams {
		seal(s)
	}
	slices.SortFunc(sealed, func(a, b *segment.Sealed) int { return int(a.First - b.First) })
	var files []ledger.File
	for _, s := range sealed {
		f := s.File()
		f.Owed = r.owed[f.Source]
		f.StagedKey = delivery.StagedKey(testLog, &f)
		_, err := r.staging.Put(r.t.Context(), f.StagedKey, s.Reader(), objstore.PutOptions{})
		require.NoError(r.t, err)
		files = append(files, f)
	}
	e := ledgertest.Next(r.head, files...)
	e.LowWatermark, e.RouterFrom, e.WrittenAt = int64(len(r.log)), r.head.RouterFrom, r.head.WrittenAt+3_600_000
	r.head = ledgertest.Append(r.t, r.staging, e)
	return e
}

// order gives an order for everything that is sealed.
func (r *rig) order(id string, change func(*delivery.Order)) *delivery.Order {
	heads, err := ReadHeads(r.t.Context(), r.staging, testLog.Topic, testLog.Incarnation)
	require.NoError(r.t, err)
	o := &delivery.Order{ID: id, Topic: testLog.Topic, Incarnation: testLog.Incarnation, Heads: heads, From: delivery.FromAuto}
	change(o)
	require.NoError(r.t, WriteOrder(r.t.Context(), r.staging, o))
	return o
}

func everything(*delivery.Order) {}

func (r *rig) run() Run {
	return Run{Staging: storedAtWriteTime{r.staging}, Jobs: r, Catalog: r.catalog.Snapshot(), Kafka: &Rebuilder{
		Bounds: func(context.Context, string, ...int) (map[int]stream.Bounds, error) {
			if r.boundsReads++; r.failEvery > 0 && r.boundsReads%2 == 1 {
				return nil, syscall.ECONNREFUSED
			}
			return map[int]stream.Bounds{0: {First: r.first, End: int64(len(r.log))}}, nil
		},
		Fetcher: func(string, int) Fetcher { return r }, Staging: r.staging, Dir: r.t.TempDir(),
	}}
}

// storedAtWriteTime reports as an entry's time of storage the time at which the entry says it was
// written.
type storedAtWriteTime struct{ *objstore.Memory }

func (s storedAtWriteTime) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	infos, err := s.Memory.List(ctx, prefix, after, limit)
	for i := range infos {
		if l, seq, ok := ledger.ParseEntryKey(infos[i].Key); ok && err == nil {
			var e *ledger.Entry
			if e, err = ledger.NewChain(s.Memory, l).Entry(ctx, seq); err == nil {
				infos[i].LastModified = time.UnixMilli(e.WrittenAt)
			}
		}
	}
	return infos, err
}

// Fetch implements Fetcher: it returns a few records at a time.
func (r *rig) Fetch(_ context.Context, offset int64, _ stream.FetchOptions) (stream.Fetched, error) {
	end := int64(len(r.log))
	if r.onFetch != nil {
		r.onFetch(offset)
	}
	if r.fetches++; r.failEvery > 0 && r.fetches%r.failEvery == 0 {
		return stream.Fetched{}, syscall.ECONNREFUSED
	}
	if offset < r.first || offset > end {
		return stream.Fetched{}, stream.ErrOffsetOutOfRange
	}
	to := min(end, offset+7)
	r.recordsFetched += int(to - offset)
	return stream.Fetched{Records: r.log[offset:to], Next: to, HighWatermark: end}, nil
}

// Produce receives jobs.
func (r *rig) Produce(_ context.Context, records ...stream.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.produceErr != nil {
		return r.produceErr
	}
	for _, rec := range records {
		job, err := delivery.DecodeJob(rec.Value)
		require.NoError(r.t, err)
		r.jobs, r.enqueuedAt = append(r.jobs, job), append(r.enqueuedAt, time.Now())
	}
	return nil
}

// deliver writes the receipts that a copier writes for these jobs.
func (r *rig) deliver(jobs ...delivery.Job) {
	for _, job := range jobs {
		rec := delivery.Receipt{File: job.File, Destination: job.Destination, Outcome: delivery.Delivered, Replay: job.Replay}
		_, err := r.staging.Put(r.t.Context(), delivery.ReplayReceiptKey(job.Replay, job.File, job.Destination), bytes.NewReader(rec.Encode()), objstore.PutOptions{})
		require.NoError(r.t, err)
	}
}

// deleteStaged deletes the staged objects of an entry.
func (r *rig) deleteStaged(e *ledger.Entry) {
	for i := range e.Files {
		require.NoError(r.t, r.staging.Delete(r.t.Context(), e.Files[i].StagedKey))
	}
}

// lines returns the lines of an object.
func (r *rig) lines(key string) string {
	body, _, err := r.staging.Get(r.t.Context(), key)
	require.NoError(r.t, err)
	return gziptest.Unzip(r.t, body)
}

// targets returns the jobs as "source hour→destination".
func (r *rig) targets() (out []string) {
	for _, j := range r.jobs {
		e, err := ledger.NewChain(r.staging, testLog).Entry(r.t.Context(), j.File.Seq)
		require.NoError(r.t, err)
		f := e.Files[j.File.Index]
		out = append(out, fmt.Sprintf("%s %d→%s", f.Source, (f.Hour-hour)/3_600_000, j.Destination[strings.LastIndex(j.Destination, "/")+1:]))
	}
	slices.Sort(out)
	return out
}

// jobsOf returns the jobs by the source of their file.
func (r *rig) jobsOf() map[string][]delivery.Job {
	jobs := map[string][]delivery.Job{}
	for _, job := range r.jobs {
		e, err := ledger.NewChain(r.staging, testLog).Entry(r.t.Context(), job.File.Seq)
		require.NoError(r.t, err)
		source := e.Files[job.File.Index].Source
		jobs[source] = append(jobs[source], job)
	}
	return jobs
}

// subscribeTwo sets the catalog to one destination with these sources.
func (r *rig) subscribeTwo(sources ...string) {
	s, err := catalog.NewSnapshot([]catalog.Workspace{{
		ID: acme, Sources: []catalog.Source{{ID: "web"}, {ID: "app"}},
		Destinations: []catalog.Destination{{Name: "two", Sources: sources, Bucket: "two-logs"}},
	}})
	require.NoError(r.t, err)
	r.catalog.Set(s)
}

// fill writes two hours of three sources, with one entry per hour.
func (r *rig) fill() (first, second *ledger.Entry) {
	for h, at := range []int64{hour, next} {
		for i := range 30 {
			r.write([]string{"web", "app", "shop"}[i%3], at+int64(i), fmt.Sprintf(`{"messageId":"%d-%d"}`, h, i))
		}
		r.write("web", at, "poison")
		e := r.seal(100, nil)
		if h == 0 {
			first = e
		} else {
			second = e
		}
	}
	return first, second
}
