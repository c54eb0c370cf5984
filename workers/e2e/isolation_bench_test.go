package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/embedded"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
	"github.com/sealift/sealift/pkg/stream"
	"github.com/sealift/sealift/workers/copier"
)

// BenchmarkIsolation measures how fresh files are at 160 destinations, from the enqueuing of their
// jobs to their arrival, while 40 others are broken in eight ways, compared with a run without
// these 40. The copier is the role itself, with embedded Kafka, Redis, S3 and STS; a healthy bucket
// answers a PUT after 120 to 200 ms. Both runs begin with a copier that knows nothing, and run
// concurrently, so that this machine's other work affects both: files that come at once come to one
// run halfway between two arrivals at the other.
//
//	make bench-isolation
func BenchmarkIsolation(b *testing.B) {
	for _, l := range []arrivals{
		{name: "spread", rounds: 12, files: 1, every: 5 * time.Second, spread: 5 * time.Second},
		{name: "at_once", rounds: 10, files: 2, every: 14 * time.Second},
	} {
		b.Run(l.name, func(b *testing.B) {
			var without, with [][3]time.Duration
			for b.Loop() {
				one, other := sideBySide(b, l)
				without, with = append(without, one), append(with, other)
				b.Logf("p50, p99, max: without %v, with %v", one, other)
			}
			for i, name := range []string{"p50", "p99", "max"} {
				one, other := median(without, i), median(with, i)
				b.ReportMetric(float64(other)/float64(one), name+"-ratio")
				b.ReportMetric(float64(one.Milliseconds()), name+"-ms-without")
			}
		})
	}
}

// arrivals say how files come: that many for each destination in every round, at once or spread
// evenly over some time.
type arrivals struct {
	name          string
	rounds, files int
	every, spread time.Duration
}

func sideBySide(b *testing.B, l arrivals) (without, with [3]time.Duration) {
	one, closeOne := newTenants(b, l, false)
	defer closeOne()
	other, closeOther := newTenants(b, l, true)
	defer closeOther()
	var both sync.WaitGroup
	begin := time.Now().Add(time.Second)
	both.Go(func() { without = one.enqueue(l, begin) })
	both.Go(func() { with = other.enqueue(l, begin.Add(l.every/2)) })
	both.Wait()
	return without, with
}

func median(runs [][3]time.Duration, i int) time.Duration {
	var all []time.Duration
	for _, r := range runs {
		all = append(all, r[i])
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// troubles are the ways in which a destination is broken.
var troubles = []string{"slow", "hangs", "denied", "no_bucket", "throttled", "role_denied", "connection_refused", "black_hole"}

// tenants are 200 destinations and what serves them.
type tenants struct {
	testing.TB
	web     *httptest.Server
	s3      *s3server.Server
	staging receiptsSeen
	jobs    *stream.Producer
	refs    map[string][]delivery.FileRef // by destination, in order of rounds
	broken  map[string]string
	ids     []string
}

// receiptsSeen records when receipts are written.
type receiptsSeen struct {
	objstore.Store
	mu *sync.Mutex
	at map[string]time.Time // when the file arrived, by the key that the receipt has, or would have, as an object of its own
}

// Put implements objstore.Store.
func (s receiptsSeen) Put(ctx context.Context, key string, body io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	delivered := map[string]time.Time{}
	if strings.HasPrefix(key, "receipts/") {
		text, err := io.ReadAll(body)
		if err != nil {
			return objstore.Info{}, err
		}
		for line := range bytes.Lines(text) { // several in a batch
			r, err := delivery.DecodeReceipt(line)
			if err != nil {
				return objstore.Info{}, err
			}
			delivered[delivery.ReceiptKey(r.File, r.Destination)] = time.UnixMilli(r.At)
		}
		body = bytes.NewReader(text)
	}
	info, err := s.Store.Put(ctx, key, body, opts)
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		maps.Copy(s.at, delivered)
	}
	return info, err
}

// newTenants starts a copier for the destinations, and waits until it delivers.
func newTenants(b *testing.B, l arrivals, broken bool) (*tenants, func()) {
	dir, log := b.TempDir(), slog.New(slog.DiscardHandler)
	s3, err := s3server.Open(s3server.Config{Dir: filepath.Join(dir, "s3"), AccessKey: "operator", SecretKey: "operators-secret", Log: log})
	require.NoError(b, err)
	serving, hangUp := context.WithCancel(context.Background())
	web := httptest.NewUnstartedServer(s3)
	web.Config.BaseContext = func(net.Listener) context.Context { return serving }
	web.Start()
	require.NoError(b, s3.CreateBucket("staging"))
	client := objstore.NewHTTPClient(nil)
	f := &tenants{TB: b, web: web, s3: s3, refs: map[string][]delivery.FileRef{}, broken: map[string]string{}}
	staging := f.open(client)(catalog.Target{BucketName: "staging", Destination: catalog.Destination{Region: "us-east-1"}}, operator)
	f.staging = receiptsSeen{staging, &sync.Mutex{}, map[string]time.Time{}}
	live := f.destinations(broken)
	f.seal(l)

	kafka, err := embedded.StartKafka(embedded.KafkaConfig{Dir: filepath.Join(dir, "kafka"), Log: log})
	require.NoError(b, err)
	redis, err := embedded.StartRedis("")
	require.NoError(b, err)
	leases, err := lease.Open(redis.URL(), nil)
	require.NoError(b, err)
	brokers, err := stream.Open(stream.Config{Brokers: []string{kafka.Addr()}}, log)
	require.NoError(b, err)
	cfg := copier.Config{
		Worker: "copier", SpoolDir: dir, DrainTimeout: time.Second,
		RetryTiers: []time.Duration{5 * time.Second, 10 * time.Second, 30 * time.Second}, // more attempts than usual
	}
	for _, name := range cfg.Topics() {
		require.NoError(b, brokers.EnsureTopics(b.Context(), true, stream.Topic{Name: name, Partitions: 8}))
	}
	c, err := copier.New(cfg, copier.Deps{
		Kafka: copier.NewKafka(brokers), Leases: leases, Staging: f.staging, Catalog: live, Log: log, Open: f.open(client),
		Roles: assumerole.New(assumerole.Config{Endpoint: web.URL, Region: "us-east-1", Credentials: operator, HTTPClient: client}),
	})
	require.NoError(b, err)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	f.jobs = brokers.NewProducer(stream.ProducerConfig{Topic: "sealift.copy-jobs"})

	first := f.job(f.ids[0], 0)
	require.NoError(b, f.jobs.Produce(b.Context(), stream.Record{Key: first.RecordKey(), Value: first.Encode()}))
	f.delivered(map[string]time.Time{delivery.ReceiptKey(first.File, first.Destination): {}})
	return f, func() {
		stop()
		require.NoError(b, <-ended)
		require.NoError(b, errors.Join(f.jobs.Close(context.Background()), brokers.Close(), leases.Close(), redis.Close(), kafka.Close()))
		hangUp()
		client.CloseIdleConnections()
		web.Close()
		require.NoError(b, s3.Close())
	}
}

func operator(context.Context) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: "operator", SecretAccessKey: secret.New("operators-secret")}, nil
}

func (f *tenants) open(client *http.Client) func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store {
	return func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
		endpoint := f.web.URL
		if t.Endpoint != "" {
			endpoint = t.Endpoint
		}
		return objstore.NewS3(objstore.S3Config{
			Bucket: t.BucketName, Region: t.Region, Endpoint: endpoint, PathStyle: true, Credentials: creds, ExpectedOwner: t.Owner, HTTPClient: client,
		})
	}
}

// destinations returns 20 workspaces with ten destinations each, of which every fifth is broken or
// absent. Each has a source, a bucket and a role.
func (f *tenants) destinations(broken bool) *catalog.Live {
	refused, hole := refusing(f.TB), blackHole(f.TB)
	var workspaces []catalog.Workspace
	for i := range 200 {
		if i%10 == 0 {
			workspaces = append(workspaces, catalog.Workspace{ID: fmt.Sprintf("ws_%020d", i/10)})
		}
		if i%5 == 4 && !broken {
			continue
		}
		w := &workspaces[len(workspaces)-1]
		name, arn := fmt.Sprintf("bucket-%d", i), fmt.Sprintf("arn:aws:iam::123456789012:role/%d", i)
		d := catalog.Destination{Name: fmt.Sprint("d", i), Sources: []string{fmt.Sprint("s", i)}, Bucket: name, Region: "us-east-1", RoleARN: arn}
		bucket := s3server.Bucket{Name: name, Owner: "123456789012", Fault: s3server.Fault{Delay: time.Duration(120+i%80) * time.Millisecond}}
		role := s3server.PutOnlyRole(arn, f.s3.OperatorARN(), w.ID, name)
		id := w.ID + "/" + d.Name
		if i%5 == 4 {
			switch f.broken[id] = troubles[i/5%len(troubles)]; f.broken[id] {
			case "slow":
				bucket.Fault.Delay = 12 * time.Second
			case "hangs":
				bucket.Fault.Delay = time.Hour
			case "denied":
				role = s3server.PutOnlyRole(arn, f.s3.OperatorARN(), w.ID, "another-bucket")
			case "no_bucket":
				d.Bucket = "nowhere-" + name
				role = s3server.PutOnlyRole(arn, f.s3.OperatorARN(), w.ID, d.Bucket)
			case "throttled":
				bucket.Fault = s3server.SlowDown
			case "role_denied":
				role = s3server.PutOnlyRole(arn, f.s3.OperatorARN(), "ws_of-somebody-else", name)
			case "connection_refused":
				d.Endpoint = refused
			case "black_hole":
				d.Endpoint = hole
			}
		}
		require.NoError(f, f.s3.PutBucket(bucket))
		require.NoError(f, f.s3.PutRole(role))
		w.Sources = append(w.Sources, catalog.Source{ID: d.Sources[0]})
		w.Destinations = append(w.Destinations, d)
		f.ids = append(f.ids, id)
	}
	snapshot, err := catalog.NewSnapshot(workspaces)
	require.NoError(f, err)
	live := catalog.NewLive()
	live.Set(snapshot)
	return live
}

// refusing returns an endpoint where nobody listens.
func refusing(tb testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	defer l.Close()
	return "http://" + l.Addr().String()
}

// blackHole returns an endpoint where no connection is ever established, because its backlog is
// full.
func blackHole(tb testing.TB) string {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(tb, err)
	tb.Cleanup(func() { _ = syscall.Close(fd) })
	require.NoError(tb, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(tb, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(tb, err)
	at, ok := name.(*syscall.SockaddrInet4)
	require.True(tb, ok)
	address := fmt.Sprintf("127.0.0.1:%d", at.Port)
	for {
		c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
		if err != nil {
			return "http://" + address
		}
		tb.Cleanup(func() { _ = c.Close() })
	}
}

// seal writes the ledger: one entry per round, with all its files.
func (f *tenants) seal(l arrivals) {
	log, at := ledger.Log{Topic: "events", Incarnation: "1"}, time.Now()
	head := ledgertest.Append(f, f.staging, ledgertest.Init(log, at))
	content := make([]byte, 16<<10)
	for range l.rounds {
		var files []ledger.File
		for range l.files {
			for _, id := range f.ids {
				first := head.LowWatermark + int64(len(files))
				rnd := rand.New(rand.NewPCG(uint64(first), 1))
				for i := range content {
					content[i] = byte(rnd.Uint32())
				}
				_, source, _ := strings.Cut(id, "/d")
				file := ledgertest.File(log, ledger.File{Source: "s" + source, Hour: at.Truncate(time.Hour).UnixMilli(), Received: at.UnixMilli(), First: first, Owed: []string{id}}, content)
				ledgertest.Put(f, f.staging, file.StagedKey, content)
				f.refs[id] = append(f.refs[id], delivery.FileRef{Topic: log.Topic, Incarnation: log.Incarnation, Seq: head.Seq + 1, Index: len(files)})
				files = append(files, file)
			}
		}
		head = ledgertest.Append(f, f.staging, ledgertest.Next(head, files...))
	}
}

func (f *tenants) job(id string, file int) delivery.Job {
	return delivery.Job{File: f.refs[id][file], Destination: id}
}

// enqueue makes the files come, waits until the healthy destinations have theirs, and returns p50,
// p99 and the maximum of how long that took.
func (f *tenants) enqueue(l arrivals, begin time.Time) [3]time.Duration {
	sent, producing := map[string]time.Time{}, sync.WaitGroup{}
	for round := range l.rounds {
		each := l.files * len(f.ids)
		for n := range each {
			id, file := f.ids[n%len(f.ids)], round*l.files+n/len(f.ids)
			if n == 0 && round == 0 {
				continue // already delivered
			}
			time.Sleep(time.Until(begin.Add(time.Duration(round)*l.every + l.spread*time.Duration(n)/time.Duration(each))))
			job := f.job(id, file)
			if f.broken[id] == "" {
				sent[delivery.ReceiptKey(job.File, id)] = time.Now()
			}
			producing.Go(func() {
				if err := f.jobs.Produce(f.Context(), stream.Record{Key: job.RecordKey(), Value: job.Encode()}); err != nil {
					f.Errorf("enqueue: %v", err)
				}
			})
		}
	}
	producing.Wait()
	took := f.delivered(sent)
	slices.Sort(took)
	return [3]time.Duration{took[len(took)/2], took[len(took)*99/100], took[len(took)-1]}
}

// delivered waits for the receipts and returns how long each took.
func (f *tenants) delivered(sent map[string]time.Time) (took []time.Duration) {
	deadline := time.Now().Add(5 * time.Minute)
	for {
		took = took[:0]
		f.staging.mu.Lock()
		for key, since := range sent {
			if at, ok := f.staging.at[key]; ok {
				took = append(took, at.Sub(since))
			}
		}
		f.staging.mu.Unlock()
		if len(took) == len(sent) {
			return took
		}
		if time.Now().After(deadline) {
			f.Errorf("%d of %d files were delivered", len(took), len(sent))
			return append(took, time.Hour)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
