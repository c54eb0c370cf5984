package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/appender"
	"github.com/sealift/sealift/workers/copier"
)

// world is what an installation leaves in its buckets after a day's work, with everything
// delivered. It is made once by the real appender, rotator and copier, and copied for every test
// that damages it.
type world struct {
	t        testing.TB
	staging  *objstore.Memory
	buckets  map[string]*objstore.Memory // by destination
	prefixes map[string]string
	expected map[string]*check.Expected // of the buckets
}

// The world's destinations: one gets all sources, with a prefix and a role; the other gets two of
// them and is classic.
const (
	worldWorkspace = "ws_world00000000000000"
	lake           = worldWorkspace + "/lake"
	archive        = worldWorkspace + "/archive"
	worldSources   = 4
	worldRecords   = 1_200
)

func worldCatalog(t testing.TB) *catalog.Live {
	w := catalog.Workspace{ID: worldWorkspace}
	for i := range worldSources {
		w.Sources = append(w.Sources, catalog.Source{ID: sourceID(i)})
	}
	w.Destinations = []catalog.Destination{
		{Name: "lake", Sources: []string{sourceID(0), sourceID(1), sourceID(2), sourceID(3)}, Bucket: "lake/acme/raw", Region: "eu-west-1", RoleARN: "arn:aws:iam::123456789012:role/logs"},
		{Name: "archive", Sources: []string{sourceID(0), sourceID(1)}, Bucket: "archive", Region: "eu-west-1"},
	}
	s, err := catalog.NewSnapshot([]catalog.Workspace{w})
	require.NoError(t, err)
	live := catalog.NewLive()
	live.Set(s)
	return live
}

// newWorld runs the pipeline on a sample of two days, in three rounds, so that chains have several
// entries, and waits until everything is delivered.
func newWorld(t *testing.T) *world {
	t.Helper()
	p := newPipeline(t)
	live := worldCatalog(t)
	p.owed = func(source string) []string { return live.Snapshot().Owed(source) }
	w := &world{t: t, staging: p.staging, buckets: map[string]*objstore.Memory{lake: objstore.NewMemory("lake"), archive: objstore.NewMemory("archive")},
		prefixes: map[string]string{lake: "acme/raw", archive: ""}, expected: map[string]*check.Expected{lake: {}, archive: {}}}

	copiers := copier.Config{JobsTopic: "jobs", SessionTimeout: 2 * time.Second}
	p.createJobTopics(copiers)
	p.startCopier(copiers, live, func(t catalog.Target) objstore.Store { return w.buckets[t.ID] })
	app := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(app.Partitions()) == pipelinePartitions })
	midnight := time.Now().UTC().Truncate(24 * time.Hour).UnixMilli()
	for round := range 3 {
		w.produce(p, round, midnight)
		p.sealAll(app)
	}
	p.waitFor("everything delivered", func() bool { return w.debts() == 0 })
	app.stop(t)
	return w
}

// produce writes a third of the sample: records of all sources, over hours of yesterday and of the
// day before, and one that is not JSON. The last third is over two hours, so that entries have
// several files.
func (w *world) produce(p *pipeline, round int, midnight int64) {
	w.t.Helper()
	producer := p.client.NewProducer(stream.ProducerConfig{Topic: p.topic})
	defer producer.Close(context.Background())
	var records []stream.Record
	every := int64(5_000)
	if round == 2 {
		every = 10_000
	}
	for i := range worldRecords / 3 {
		n := round*worldRecords/3 + i
		source := sourceID(n % worldSources)
		received := midnight - 26*3_600_000 + int64(round)*3_600_000 + int64(i)*every // across a midnight
		text := time.UnixMilli(received).UTC().Format("2006-01-02T15:04:05.000Z")
		id := fmt.Sprintf("id-%d", n)
		line := fmt.Sprintf(`{"messageId":%q,"receivedAt":%q,"n":%d}`, id, text, n)
		records = append(records, record(source, strconv.FormatInt(received, 10), line))
		for dest, e := range w.expected {
			if dest == lake || n%worldSources < 2 {
				e.Acknowledge(source, id)
				e.Record(source, received, []byte(line))
			}
		}
	}
	records = append(records, record(sourceID(0), strconv.FormatInt(midnight, 10), "no JSON"))
	require.NoError(w.t, producer.Produce(w.t.Context(), records...))
}

// debts counts debts without a receipt.
func (w *world) debts() int {
	n := 0
	for _, e := range w.entries() {
		n += e.Debts() - len(w.receipts(e))
	}
	return n
}

// entries reads the whole ledger, chain by chain.
func (w *world) entries() (all []*ledger.Entry) {
	w.t.Helper()
	logs, err := ledger.Logs(context.Background(), w.staging, "events", "1")
	require.NoError(w.t, err)
	for _, l := range logs {
		chain := ledger.NewChain(w.staging, l)
		head, err := chain.HeadSeq(context.Background())
		require.NoError(w.t, err)
		for e, err := range chain.Entries(context.Background(), 0, head, 4) {
			require.NoError(w.t, err)
			all = append(all, e)
		}
	}
	return all
}

// sealedEntries returns the entries that name files, oldest first, of the chain that has most of
// them.
func (w *world) sealedEntries() []*ledger.Entry {
	w.t.Helper()
	byLog := map[ledger.Log][]*ledger.Entry{}
	var best ledger.Log
	for _, e := range w.entries() {
		if len(e.Files) > 0 {
			byLog[e.Log()] = append(byLog[e.Log()], e)
			if len(byLog[e.Log()]) > len(byLog[best]) {
				best = e.Log()
			}
		}
	}
	require.GreaterOrEqual(w.t, len(byLog[best]), 3, "want a chain with three entries that name files")
	return byLog[best]
}

// lakeOnly returns a file that is owed only to the lake, of a source that goes nowhere else.
func (w *world) lakeOnly() (*ledger.Entry, int) {
	w.t.Helper()
	for _, e := range w.entries() {
		if i := slices.IndexFunc(e.Files, func(f ledger.File) bool { return slices.Equal(f.Owed, []string{lake}) }); i >= 0 {
			return e, i
		}
	}
	require.Fail(w.t, "no file is owed only to the lake")
	return nil, 0
}

// lastFolder returns the last day's folder of a source that has several, at the lake.
func (w *world) lastFolder() string {
	w.t.Helper()
	var days []string
	for info, err := range objstore.All(context.Background(), w.buckets[lake], w.prefixes[lake]+"/segment-logs/"+sourceID(0)+"/") {
		require.NoError(w.t, err)
		days = append(days, info.Key[:strings.LastIndex(info.Key, "/")+1])
	}
	days = slices.Compact(days)
	require.Greater(w.t, len(days), 1)
	return days[len(days)-1]
}

// clone returns a copy that may be damaged.
func (w *world) clone(t testing.TB) *world {
	c := &world{t: t, staging: cloneStore(t, w.staging), buckets: map[string]*objstore.Memory{}, prefixes: w.prefixes, expected: w.expected}
	for dest, b := range w.buckets {
		c.buckets[dest] = cloneStore(t, b)
	}
	return c
}

func cloneStore(t testing.TB, from *objstore.Memory) *objstore.Memory {
	t.Helper()
	to := objstore.NewMemory("copy")
	for info, err := range objstore.All(context.Background(), from, "") {
		require.NoError(t, err)
		body, head := readObject(t, from, info.Key)
		put(t, to, info.Key, body, head)
	}
	return to
}

func readObject(t testing.TB, s *objstore.Memory, key string) ([]byte, objstore.Info) {
	t.Helper()
	r, info, err := s.Get(context.Background(), key)
	require.NoError(t, err)
	b, err := io.ReadAll(r)
	require.NoError(t, err)
	return b, info
}

func put(t testing.TB, s *objstore.Memory, key string, body []byte, like objstore.Info) {
	t.Helper()
	_, err := s.Put(context.Background(), key, bytes.NewReader(body), objstore.PutOptions{
		ContentType: like.ContentType, ContentEncoding: like.ContentEncoding, Metadata: like.Metadata,
	})
	require.NoError(t, err)
}

// The helpers below damage a world.

func (w *world) edit(s *objstore.Memory, key string, change func([]byte) []byte) {
	w.t.Helper()
	body, info := readObject(w.t, s, key)
	put(w.t, s, key, change(slices.Clone(body)), info)
}

func (w *world) remove(s *objstore.Memory, key string) {
	w.t.Helper()
	_, err := s.Head(context.Background(), key)
	require.NoError(w.t, err, "the object to be removed does not exist")
	require.NoError(w.t, s.Delete(context.Background(), key))
}

func (w *world) removeAll(prefix string) {
	w.t.Helper()
	n := 0
	for info, err := range objstore.All(context.Background(), w.staging, prefix) {
		require.NoError(w.t, err)
		w.remove(w.staging, info.Key)
		n++
	}
	require.Positive(w.t, n)
}

func (w *world) copyTo(s *objstore.Memory, from, to string) {
	w.t.Helper()
	require.NotEqual(w.t, from, to)
	body, info := readObject(w.t, s, from)
	put(w.t, s, to, body, info)
}

func (w *world) rename(s *objstore.Memory, from, to string) {
	w.t.Helper()
	w.copyTo(s, from, to)
	w.remove(s, from)
}

func (w *world) editEntry(e *ledger.Entry, change func(*ledger.Entry)) {
	w.t.Helper()
	key := ledger.EntryKey(e.Log(), e.Seq)
	change(e)
	body, err := json.Marshal(e)
	require.NoError(w.t, err)
	_, info := readObject(w.t, w.staging, key)
	put(w.t, w.staging, key, append(body, '\n'), info)
}

// objectKey returns the key of a file at a destination.
func (w *world) objectKey(dest string, e *ledger.Entry, i int) string {
	return delivery.ObjectKey(w.prefixes[dest], e.Log(), &e.Files[i])
}

func replaceOnce(s, from, to string) string { return strings.Replace(s, from, to, 1) }
