package auditor

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var log0 = ledger.Log{Topic: "sealift.events", Incarnation: "1", Partition: 0}

const (
	one = "ws_a/one"
	two = "ws_a/two"
)

// rig is an auditor on an in-memory staging bucket.
type rig struct {
	*Auditor
	t       *testing.T
	staging *objstore.Memory
	redis   *miniredis.Miniredis
	jobs    *fakeJobs
	heads   map[ledger.Log]*ledger.Entry
}

func newRig(t *testing.T, change func(*Config)) *rig {
	r := &rig{t: t, staging: objstore.NewMemory("staging"), redis: miniredis.RunT(t), jobs: &fakeJobs{}, heads: map[ledger.Log]*ledger.Entry{}}
	r.Auditor = r.newAuditor(change)
	return r
}

// newRigWithoutRedis may be used within synctest.
func newRigWithoutRedis(t *testing.T) *rig {
	r := &rig{t: t, staging: objstore.NewMemory("staging"), jobs: &fakeJobs{}, heads: map[ledger.Log]*ledger.Entry{}}
	a, err := New(Config{Grace: 10 * time.Minute, Retain: 24 * time.Hour}, Deps{Staging: r.staging, Jobs: r.jobs, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	r.Auditor = a
	return r
}

func (r *rig) newAuditor(change func(*Config)) *Auditor {
	leases, err := lease.Open("redis://"+r.redis.Addr(), nil)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = leases.Close() })
	cfg := Config{Grace: 10 * time.Minute, Retain: 24 * time.Hour}
	if change != nil {
		change(&cfg)
	}
	a, err := New(cfg, Deps{Staging: r.staging, Jobs: r.jobs, Leases: leases, Catalog: catalog.NewLive(), Log: slog.New(slog.DiscardHandler)})
	require.NoError(r.t, err)
	return a
}

// seal appends an entry, written that long ago, with one file per content.
func (r *rig) seal(l ledger.Log, ago time.Duration, owed []string, contents ...string) *ledger.Entry {
	at := time.Now().Add(-ago)
	head := r.heads[l]
	if head == nil {
		head = ledgertest.Append(r.t, r.staging, ledgertest.Init(l, at))
	}
	var files []ledger.File
	for i, content := range contents {
		f := ledgertest.File(l, ledger.File{First: head.LowWatermark + int64(i), Received: at.UnixMilli(), Owed: owed}, []byte(content))
		r.stage(f.StagedKey, content)
		files = append(files, f)
	}
	e := ledgertest.Next(head, files...)
	e.WrittenAt = at.UnixMilli()
	r.heads[l] = ledgertest.Append(r.t, r.staging, e)
	return e
}

// pack is like seal, with all files in one object.
func (r *rig) pack(l ledger.Log, ago time.Duration, owed []string, contents ...string) *ledger.Entry {
	e := r.seal(l, ago, owed, contents...)
	for _, f := range e.Files {
		require.NoError(r.t, r.staging.Delete(r.t.Context(), f.StagedKey))
	}
	all := strings.Join(contents, "")
	r.stage(ledgertest.Pack(l, e.Seq, e.Files, []byte(all)), all)
	b, err := e.Encode()
	require.NoError(r.t, err)
	r.stage(ledger.EntryKey(l, e.Seq), string(b))
	return e
}

func file(l ledger.Log, first, last int64, content string) ledger.File {
	return ledgertest.File(l, ledger.File{First: first, Last: last}, []byte(content))
}

func (r *rig) stage(key, content string) { ledgertest.Put(r.t, r.staging, key, []byte(content)) }

// deliver writes a receipt.
func (r *rig) deliver(e *ledger.Entry, i int, dest string) {
	ledgertest.Receipt(r.t, r.staging, e, i, dest, delivery.Receipt{})
}

func (r *rig) park(e *ledger.Entry, i int, dest string) string {
	p := delivery.Parked{Job: delivery.Job{File: delivery.Ref(e, i), Destination: dest}, Cause: "x", Fix: "y"}
	key := delivery.ParkedKey(p.Job.File, dest)
	r.stage(key, string(p.Encode()))
	return key
}

func (r *rig) exists(key string) bool {
	_, err := r.staging.Head(context.Background(), key)
	if errors.Is(err, objstore.ErrNotFound) {
		return false
	}
	require.NoError(r.t, err)
	return true
}

func (r *rig) stagedFiles(e *ledger.Entry) (n int) {
	for i := range e.Files {
		if r.exists(e.Files[i].StagedKey) {
			n++
		}
	}
	return n
}

func (r *rig) audit() Report {
	report, err := r.Audit(r.t.Context())
	require.NoError(r.t, err)
	return report
}

func (r *rig) auditOnSchedule() Report {
	report, err := r.Auditor.audit(r.t.Context(), true)
	require.NoError(r.t, err)
	return report
}

func (r *rig) storedHint(l ledger.Log) hint {
	body, _, err := r.staging.Get(r.t.Context(), hintKey(l))
	require.NoError(r.t, err)
	_, err = io.Copy(io.Discard, body)
	require.NoError(r.t, err)
	h, err := loadHint(r.t.Context(), r.staging, l)
	require.NoError(r.t, err)
	return h
}

// countReceiptLists counts, from now on, the listings of receipts.
func (r *rig) countReceiptLists() *int {
	n := new(int)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && strings.HasPrefix(op.Key, "receipts/") {
			*n++
		}
		return objstore.Fault{}
	})
	return n
}

// fakeJobs is the job topic.
type fakeJobs struct {
	mu   sync.Mutex
	jobs []delivery.Job
	fail error
}

func (f *fakeJobs) Produce(_ context.Context, records ...stream.Record) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.fail != nil {
		return f.fail
	}
	for _, rec := range records {
		j, err := delivery.DecodeJob(rec.Value)
		if err != nil {
			return err
		}
		f.jobs = append(f.jobs, j)
	}
	return nil
}

func (f *fakeJobs) take() []delivery.Job {
	f.mu.Lock()
	defer f.mu.Unlock()
	jobs := f.jobs
	f.jobs = nil
	return jobs
}
