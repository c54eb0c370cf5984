package copier

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

func TestMain(m *testing.M) {
	// A pool whose dials failed may take a second to notice that it was closed.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

const (
	acme    = "ws_acme0123456789abcd"
	acmeOne = acme + "/one" // with a role
	acmeTwo = acme + "/two" // classic, without a role
	other   = "ws_other0123456789ab"
	theirs  = other + "/theirs"
)

var testLog = ledger.Log{Topic: "events", Incarnation: "1", Partition: 0}

// rig is a copier with in-memory stores, a server that speaks the real Redis protocol, and scripted
// roles.
type rig struct {
	*Copier
	t       *testing.T
	staging *objstore.Memory
	buckets map[string]*bucket
	redis   *miniredis.Miniredis
	roles   *fakeRoles
	queue   *fakeQueue
	live    *catalog.Live
	head    *ledger.Entry
	change  func(*ledger.File) // applied to files before they are sealed; nil: none
}

// bucket is a customer's bucket.
type bucket struct {
	*objstore.Memory
	region  string // where it lives; "" everywhere
	mu      sync.Mutex
	opts    []objstore.PutOptions
	signers []string // access key of each PUT; "": the operator's own
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, staging: objstore.NewMemory("staging"), redis: miniredis.RunT(t), roles: &fakeRoles{}, queue: &fakeQueue{}, live: catalog.NewLive(),
		buckets: map[string]*bucket{}}
	for _, name := range []string{"one-logs", "two-logs", "their-logs"} {
		r.buckets[name] = &bucket{Memory: objstore.NewMemory(name)}
	}
	r.setCatalog(func([]catalog.Workspace) {})
	r.Copier = r.newCopier("copier-1", nil)
	return r
}

// newCopier returns another copier with the same stores.
func (r *rig) newCopier(worker string, change func(*Config)) *Copier {
	leases, err := lease.Open("redis://"+r.redis.Addr(), nil)
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = leases.Close() })
	cfg := Config{Worker: worker, SpoolDir: r.t.TempDir(), RetryTiers: []time.Duration{time.Second, 10 * time.Second, time.Minute}, ParkAfter: time.Hour}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg, Deps{Leases: leases, Staging: r.staging, Roles: r.roles, Catalog: r.live, Open: r.open, Log: slog.New(slog.DiscardHandler)})
	require.NoError(r.t, err)
	c.receipts.gatherFor = time.Millisecond // many tests deliver one file after the other
	c.customers = destination.NewPutter(destination.Config{Roles: r.roles, Open: r.open, Pause: time.Microsecond})
	return c
}

// runJob tries a job until its own outcome is known.
func (c *Copier) runJob(ctx context.Context, job delivery.Job) outcome {
	return c.tryThroughOutages(ctx, attempt{Job: job, onIdle: func() {}, onLate: func() {}, onStuck: func() {}, onStored: func() {}})
}

func (r *rig) setCatalog(change func([]catalog.Workspace)) {
	no := false
	ws := []catalog.Workspace{
		{ID: acme, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
			{Name: "one", Sources: []string{"web"}, Bucket: "one-logs/path", RoleARN: "arn:aws:iam::123456789012:role/logs"},
			{Name: "two", Sources: []string{"web"}, Bucket: "two-logs", Region: "eu-west-1", ServerSideEncryption: &no},
		}},
		{ID: other, Sources: []catalog.Source{{ID: "app"}}, Destinations: []catalog.Destination{
			{Name: "theirs", Sources: []string{"app"}, Bucket: "their-logs", RoleARN: "arn:aws:iam::210987654321:role/logs"},
		}},
	}
	change(ws)
	s, err := catalog.NewSnapshot(ws)
	require.NoError(r.t, err)
	r.live.Set(s)
}

func (r *rig) open(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
	return &putOnlyBucket{bucket: r.buckets[t.BucketName], region: t.Region, creds: creds}
}

// putOnlyBucket is a customer's bucket with the permissions that the copier has: it may only PUT.
type putOnlyBucket struct {
	*bucket
	region string
	creds  func(context.Context) (objstore.Credentials, error)
}

func (s *putOnlyBucket) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	who := ""
	if s.creds != nil {
		c, err := s.creds(ctx)
		if err != nil {
			return objstore.Info{}, err
		}
		who = c.AccessKeyID
	}
	if s.bucket.region != "" && s.region != s.bucket.region {
		return objstore.Info{}, &objstore.Error{Op: "put", Key: key, Status: 301, Code: "PermanentRedirect", Kind: objstore.ErrWrongRegion, Region: s.bucket.region}
	}
	s.mu.Lock()
	s.opts, s.signers = append(s.opts, opts), append(s.signers, who)
	s.mu.Unlock()
	return s.Memory.Put(ctx, key, body, opts)
}

var errNotOurs = errors.New("a customer lets us do nothing but PUT")

func (s *putOnlyBucket) Get(context.Context, string) (io.ReadCloser, objstore.Info, error) {
	return nil, objstore.Info{}, errNotOurs
}
func (s *putOnlyBucket) Head(context.Context, string) (objstore.Info, error) {
	return objstore.Info{}, errNotOurs
}
func (s *putOnlyBucket) List(context.Context, string, string, int) ([]objstore.Info, error) {
	return nil, errNotOurs
}
func (s *putOnlyBucket) Delete(context.Context, string) error { return errNotOurs }

// seal writes a ledger entry with one staged file of source web for each content, owed to the given
// destinations, and returns references to the files.
func (r *rig) seal(owed []string, contents ...string) []delivery.FileRef {
	if r.head == nil {
		r.head = ledgertest.Append(r.t, r.staging, ledgertest.Init(testLog, time.Now()))
	}
	var files []ledger.File
	next := r.head.LowWatermark
	for _, content := range contents {
		f := ledger.File{First: next, Owed: owed}
		if r.change != nil {
			r.change(&f)
		}
		f = ledgertest.File(testLog, f, []byte(content))
		ledgertest.Put(r.t, r.staging, f.StagedKey, []byte(content))
		files, next = append(files, f), f.Last+1
	}
	r.head = ledgertest.Append(r.t, r.staging, ledgertest.Next(r.head, files...))
	var refs []delivery.FileRef
	for i := range files {
		refs = append(refs, delivery.Ref(r.head, i))
	}
	return refs
}

func (r *rig) job(dest, content string) delivery.Job {
	return delivery.Job{Version: 1, File: r.seal([]string{dest}, content)[0], Destination: dest}
}

// receipt returns the receipt of a job, or nil.
func (r *rig) receipt(job delivery.Job) *delivery.Receipt {
	set, err := receipt.List(context.Background(), r.staging, job.File.Log(), job.File.Seq)
	require.NoError(r.t, err)
	found, ok := set[receipt.PairOf(job.File, job.Destination)]
	if !ok {
		return nil
	}
	rec, err := found.Read(context.Background(), r.staging)
	require.NoError(r.t, err)
	return &rec
}

// objects returns the contents of a customer's bucket by key.
func (r *rig) objects(name string) map[string]string {
	out := map[string]string{}
	infos, err := r.buckets[name].Memory.List(r.t.Context(), "", "", 0)
	require.NoError(r.t, err)
	for _, info := range infos {
		body, _, err := r.buckets[name].Memory.Get(r.t.Context(), info.Key)
		require.NoError(r.t, err)
		b, err := io.ReadAll(body)
		require.NoError(r.t, err)
		out[info.Key] = string(bytes.TrimSpace(b))
	}
	return out
}

// fakeRoles records the requests for roles.
type fakeRoles struct {
	mu       sync.Mutex
	requests []assumerole.Request
	forgot   int
	fail     error
	open     error // what VerifyTrust returns
}

func (f *fakeRoles) Credentials(_ context.Context, r assumerole.Request) (objstore.Credentials, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.fail != nil {
		return objstore.Credentials{}, f.fail
	}
	return objstore.Credentials{AccessKeyID: fmt.Sprintf("%s#%d", r.ExternalID, f.forgot)}, nil
}

func (f *fakeRoles) VerifyTrust(context.Context, assumerole.Request) error { return f.open }

func (f *fakeRoles) Forget(assumerole.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgot++
}

// fakeQueue collects the jobs that are enqueued again.
type fakeQueue struct {
	mu    sync.Mutex
	jobs  []delivery.Job
	tiers []int
	fail  func() error
}

func (q *fakeQueue) requeue(_ context.Context, tier int, job delivery.Job) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.fail != nil {
		if err := q.fail(); err != nil {
			return err
		}
	}
	q.jobs, q.tiers = append(q.jobs, job), append(q.tiers, tier)
	return nil
}

// fakeClaim is a claim that can be lost.
type fakeClaim struct {
	mu    sync.Mutex
	ended bool // the partition is no longer ours
	acked int
	done  chan struct{}
}

func newClaim() *fakeClaim { return &fakeClaim{done: make(chan struct{})} }

func (c *fakeClaim) isOwned() bool { c.mu.Lock(); defer c.mu.Unlock(); return !c.ended }
func (c *fakeClaim) acknowledge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.acked++
	close(c.done)
}
func (c *fakeClaim) acks() int { c.mu.Lock(); defer c.mu.Unlock(); return c.acked }

// parked returns the note about the parked job of a debt.
func (r *rig) parked(job delivery.Job) delivery.Parked {
	body, _, err := r.staging.Get(r.t.Context(), delivery.ParkedKey(job.File, job.Destination))
	require.NoError(r.t, err)
	b, err := io.ReadAll(body)
	require.NoError(r.t, err)
	p, err := delivery.DecodeParked(b)
	require.NoError(r.t, err)
	return p
}
