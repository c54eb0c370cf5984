package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/objstore"
)

// roleRecorder is the STS of a stack, and remembers which roles were assumed.
type roleRecorder struct {
	sts   http.Handler
	mu    sync.Mutex // guards roles
	roles []string
}

func (w *roleRecorder) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	if form, err := url.ParseQuery(string(body)); err == nil && form.Get("RoleArn") != "" {
		w.mu.Lock()
		w.roles = append(w.roles, form.Get("RoleArn"))
		w.mu.Unlock()
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	w.sts.ServeHTTP(rw, r)
}

func (w *roleRecorder) assumed(role string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.roles, role)
}

// With ten thousand other customers in the catalog, every role follows a change soon after the
// command has ended: the collector accepts a new key and refuses an old one, the appender owes
// files to a new destination, and the copier assumes a new role.
func TestCatalogChangeReachesEveryRole(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := startStack(stackConfig{dir: dir}, silent)
	require.NoError(t, err)
	defer func() { require.NoError(t, s.close()) }()
	watch := &roleRecorder{sts: s.s3}
	sts := httptest.NewServer(watch)
	defer sts.Close()
	cfg := config.Default()
	s.configure(&cfg)
	devConfigure(&cfg, devOptions{data: dir, rollEvery: time.Second})
	cfg.STS.Endpoint = sts.URL
	cfg.Collector.Listen, cfg.Admin.Listen = "127.0.0.1:0", "127.0.0.1:0"
	require.NoError(t, s.s3.CreateBucket(cfg.Staging.Bucket))

	acme := catalog.Workspace{
		ID:      "ws_AAAAAAAAAAAAAAAA",
		Sources: []catalog.Source{{ID: "web", WriteKeys: []string{"key1"}}},
		Destinations: []catalog.Destination{
			{Name: "one", Sources: []string{"web"}, Bucket: "acme-one", RoleARN: "arn:aws:iam::111111111111:role/first"},
		},
	}
	apply := func() {
		t.Helper()
		live := catalog.NewLive()
		require.NoError(t, live.Apply(acme.ID, catalog.Encode(acme)))
		require.NoError(t, s.provision(live.Publish()), "create the buckets and roles")
		code, _, stderr := runSealift(t, "", []string{"SEALIFT_KAFKA_BROKERS=" + s.kafka.Addr()}, "catalog", "apply", "-f", writeYAML(t, acme))
		require.Zero(t, code, stderr)
	}
	apply()
	others, err := openServices(cfg, s.credentials, false, silent, nil)
	require.NoError(t, err)
	require.NoError(t, others.writeCatalog(t.Context(), encodeAll(manyWorkspaces(10_000)...)))
	require.NoError(t, others.close())

	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan *process, 1), make(chan error, 1)
	begin := time.Now()
	go func() {
		ended <- runProcess(ctx, cfg, processOptions{
			roles: allRoles, credentials: s.credentials, onReady: func(p *process) { ready <- p },
		}, silent)
	}()
	p := <-ready
	t.Logf("all roles ready after %v", time.Since(begin))
	defer func() { cancel(); require.NoError(t, <-ended) }()

	within := func(what string, done func() bool) {
		t.Helper()
		start := time.Now()
		require.Eventually(t, done, time.Minute, 100*time.Millisecond, what)
		t.Logf("%s after %v", what, time.Since(start).Round(time.Millisecond))
	}
	track := func(key, id string) int {
		r, err := http.NewRequest(http.MethodPost, "http://"+p.collector.Addr()+"/v1/track", strings.NewReader(fmt.Sprintf(`{"userId":"u","event":"E","messageId":%q}`, id)))
		require.NoError(t, err)
		r.SetBasicAuth(key, "")
		resp, err := doUntilTaken(r)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	bucketContains := func(bucket, id string) bool {
		store := objstore.NewS3(objstore.S3Config{Bucket: bucket, Region: embeddedRegion, Endpoint: s.s3URL, PathStyle: true, Credentials: s.credentials})
		return strings.Contains(contents(t, store), id)
	}
	require.Equal(t, http.StatusOK, track("key1", "before"))
	require.Equal(t, http.StatusUnauthorized, track("key2", "x"))
	within("the first destination has the event", func() bool { return bucketContains("acme-one", "before") })

	acme.Sources[0].WriteKeys = []string{"key2"}
	acme.Destinations[0].RoleARN = "arn:aws:iam::111111111111:role/second"
	acme.Destinations = append(acme.Destinations, catalog.Destination{Name: "two", Sources: []string{"web"}, Bucket: "acme-two"})
	require.False(t, watch.assumed(acme.Destinations[0].RoleARN))
	apply()
	within("the new key is accepted", func() bool { return track("key2", "after") == http.StatusOK })
	within("the old key is refused", func() bool { return track("key1", "x") == http.StatusUnauthorized })
	within("the new destination has the event", func() bool { return bucketContains("acme-two", "after") })
	within("the first destination has the event", func() bool { return bucketContains("acme-one", "after") })
	require.False(t, bucketContains("acme-two", "before"), "files sealed before are not owed to the new destination")
	require.True(t, watch.assumed(acme.Destinations[0].RoleARN), "the new role was assumed")
}

// contents returns the lines of all delivered files of a bucket.
func contents(t *testing.T, store objstore.Store) string {
	t.Helper()
	var all strings.Builder
	infos, err := store.List(t.Context(), "segment-logs/", "", 1000)
	require.NoError(t, err)
	for _, info := range infos {
		r, _, err := store.Get(t.Context(), info.Key)
		require.NoError(t, err)
		all.WriteString(gziptest.Unzip(t, r))
		require.NoError(t, r.Close())
	}
	return all.String()
}
