package verify

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// Objects in a bucket that the destination had before are not checked, and that is reported.
func TestObjectsInFormerBucketsAreCounted(t *testing.T) {
	v := newVerifier(Config{}, Deps{Staging: objstore.NewMemory("staging")})
	v.buckets = &buckets{v: v, byDestination: map[string]*bucket{"ws/one": {id: "ws/one", objectsPerFolder: map[folder]int64{}, Bucket: Bucket{Store: objstore.NewMemory("now"), Name: "now"}}}}
	v.buckets.byDestination["ws/one"].once.Do(func() {})
	f := sealedFile("a", 0, 4, 5)
	o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
	for _, name := range []string{"old", "older", "old"} {
		require.NoError(t, v.buckets.verifyObject(t.Context(), o, "ws/one", delivery.Receipt{Bucket: name, Key: "k"}))
	}
	d := v.report.dests["ws/one"]
	const why = "the destination had this bucket then, and has another now"
	require.Equal(t, []Former{{"old", 2, why}, {"older", 1, why}}, d.Former)
	require.EqualValues(t, 3, d.Unseen)
	require.True(t, v.report.OK())
}

// A problem with an object ends with the command that fixes it.
func TestObjectProblemsNameTheFixCommand(t *testing.T) {
	store := objstore.NewMemory("b")
	v := newVerifier(Config{MaxExamples: 4}, Deps{Staging: objstore.NewMemory("staging")})
	v.buckets = &buckets{v: v, byDestination: map[string]*bucket{"ws/My Dest": {id: "ws/My Dest", objectsPerFolder: map[folder]int64{}, Bucket: Bucket{Store: store, Name: "b"}}}}
	v.buckets.byDestination["ws/My Dest"].once.Do(func() {})
	f := sealedFile("a", 0, 4, 5)
	o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
	object := func(key string) {
		require.NoError(t, v.buckets.verifyObject(t.Context(), o, "ws/My Dest", delivery.Receipt{Bucket: "b", Key: key}))
	}
	object("missing")
	o.view = "v2"
	object("missing_in_a_view")
	o.view = ""
	_, err := store.Put(t.Context(), "overwritten", strings.NewReader("x"), objstore.PutOptions{})
	require.NoError(t, err)
	object("overwritten")
	v.cfg.CommandFlags = "--set kafka.incarnation=1"
	object("of_a_former_ledger")
	var fixes []string
	for _, p := range v.report.Examples {
		fixes = append(fixes, p.Fix)
	}
	require.Equal(t, []string{
		"unless the bucket's owner moved or deleted it, put it back: sealift replay --source a --offsets 3:0-4 --destination 'ws/My Dest'",
		"unless the bucket's owner moved or deleted it, put it back: sealift replay --source a --offsets 3:0-4 --destination 'ws/My Dest' --view v2",
		"unless the bucket's owner rewrote it, for instance to erase a person's events, put the original back: sealift replay --source a --offsets 3:0-4 --destination 'ws/My Dest' --force",
		"unless the bucket's owner moved or deleted it, put it back: sealift replay --set kafka.incarnation=1 --source a --offsets 3:0-4 --destination 'ws/My Dest'",
	}, fixes)
}

// A replay from Kafka may find the object there, while it is being delivered or after its own PUT whose answer was lost. So
// it is either the file as it was staged or as it was rebuilt.
func TestObjectThatAReplayFoundThere(t *testing.T) {
	f := sealedFile("a", 0, 4, 5)
	rebuilt := strings.Repeat("cd", 32)
	for hazard, c := range map[string]struct {
		body, sum string
		problems  int64
	}{
		"as_staged":  {"12345", f.SHA256, 0},
		"as_rebuilt": {"1234567", rebuilt, 0},
		"another":    {"123456", f.SHA256, 1},
	} {
		t.Run(hazard, func(t *testing.T) {
			store := objstore.NewMemory("b")
			v := newVerifier(Config{}, Deps{Staging: objstore.NewMemory("staging")})
			v.buckets = &buckets{v: v, byDestination: map[string]*bucket{"ws/a": {id: "ws/a", objectsPerFolder: map[folder]int64{}, Bucket: Bucket{Store: store, Name: "b"}}}}
			v.buckets.byDestination["ws/a"].once.Do(func() {})
			key, metadata := delivery.ObjectKey("", testLog, &f), delivery.ObjectMetadata(testLog, &f)
			metadata["sha256"] = c.sum
			_, err := store.Put(t.Context(), key, strings.NewReader(c.body), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: metadata})
			require.NoError(t, err)
			o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
			r := delivery.Receipt{Bucket: "b", Key: key, SHA256: rebuilt, Bytes: 7, Records: 5, Replay: "r", Existed: true}
			require.NoError(t, v.buckets.verifyObject(t.Context(), o, "ws/a", r))
			require.Equal(t, c.problems, v.report.Problems, "%v", v.report.Examples)
		})
	}
}

// A bucket that keeps failing is given up, instead of trying a million objects with all retries;
// one that answers in between is not.
func TestFailingBucketIsGivenUp(t *testing.T) {
	for hazard, c := range map[string]struct {
		answers func(nth int) bool
		asked   int
		state   string
	}{
		"never":         {func(int) bool { return false }, maxObjectFailures, bucketUnreadable},
		"now_and_again": {func(nth int) bool { return nth%maxObjectFailures == 0 }, 3 * maxObjectFailures, bucketRead},
	} {
		t.Run(hazard, func(t *testing.T) {
			store, asked := objstore.NewMemory("b"), 0
			store.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name != "head" {
					return objstore.Fault{}
				}
				if asked++; c.answers(asked) {
					return objstore.Fault{Before: objstore.ErrNotFound}
				}
				return objstore.Fault{Before: objstore.ErrDenied}
			})
			v := newVerifier(Config{}, Deps{Staging: objstore.NewMemory("staging")})
			v.buckets = &buckets{v: v, byDestination: map[string]*bucket{"ws/one": {id: "ws/one", objectsPerFolder: map[folder]int64{}, Bucket: Bucket{Store: store, Name: "b"}}}}
			v.buckets.byDestination["ws/one"].once.Do(func() {})
			v.report.updateDestination("ws/one", func(d *Destination) { d.Bucket = bucketRead })
			f := sealedFile("a", 0, 4, 5)
			o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
			for range 3 * maxObjectFailures {
				require.NoError(t, v.buckets.verifyObject(t.Context(), o, "ws/one", delivery.Receipt{Bucket: "b", Key: "k"}))
			}
			require.Equal(t, c.asked, asked)
			require.Equal(t, c.state, v.report.dests["ws/one"].Bucket)
			require.NotEmpty(t, v.report.Unread)
		})
	}
}

// slowBody is a bucket whose bodies hang, or come byte by byte.
type slowBody struct {
	objstore.Store
	pause time.Duration // before each byte
}

func (s slowBody) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	_, info, err := s.Store.Get(ctx, key)
	return io.NopCloser(slowReader{ctx, s.pause}), info, err
}

type slowReader struct {
	ctx   context.Context
	pause time.Duration
}

func (s slowReader) Read(p []byte) (int, error) {
	select {
	case <-time.After(s.pause):
		p[0] = 'x'
		return 1, nil
	case <-s.ctx.Done():
		return 0, context.Cause(s.ctx)
	}
}

// A customer's server that answers HEAD but whose bodies never end does not keep Verify busy
// forever: neither with one object, nor with each of a million.
func TestSlowBodiesAreGivenUp(t *testing.T) {
	for hazard, c := range map[string]struct {
		pause time.Duration
		want  string
	}{
		"silent":       {24 * time.Hour, "fell silent"},
		"byte_by_byte": {20 * time.Second, "it comes at less than 32 KiB a second"},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := objstore.NewMemory("b")
				f := sealedFile("a", 0, 4, 5)
				f.GzipBytes = 1000
				meta := delivery.ObjectMetadata(testLog, &f)
				meta["sha256"] = f.SHA256
				_, err := store.Put(t.Context(), "k", strings.NewReader(strings.Repeat("x", 1000)), objstore.PutOptions{ContentType: "text/plain", ContentEncoding: "gzip", Metadata: meta})
				require.NoError(t, err)
				v := newVerifier(Config{Deep: true}, Deps{Staging: objstore.NewMemory("staging")})
				v.buckets = &buckets{v: v, byDestination: map[string]*bucket{"ws/one": {id: "ws/one", objectsPerFolder: map[folder]int64{}, Bucket: Bucket{Store: objstore.WithReadRetries(slowBody{store, c.pause}), Name: "b"}}}}
				v.buckets.byDestination["ws/one"].once.Do(func() {})
				o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
				start := time.Now()
				for range 3 * maxObjectFailures {
					require.NoError(t, v.buckets.verifyObject(t.Context(), o, "ws/one", delivery.Receipt{Bucket: "b", Key: "k", Bytes: 1000, SHA256: f.SHA256}))
				}
				require.Less(t, time.Since(start), maxObjectFailures*3*time.Minute)
				require.Equal(t, bucketUnreadable, v.report.dests["ws/one"].Bucket)
				require.Contains(t, v.report.Unread[0], c.want)
			})
		})
	}
}
