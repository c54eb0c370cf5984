package copier

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/stream"
)

// session is what a session was requested with from STS.
type session struct{ role, externalID, resource string }

// visit is a PUT that reached the server, with the session that signed it.
type visit struct {
	object string // bucket/key
	as     session
}

// recorder records the requests to a wireRig.
type recorder struct {
	mu          sync.Mutex         // guards all below
	stsRequests []session          // of STS
	sessions    map[string]session // by token
	puts        []visit
}

func (w *recorder) locked(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

var tokenIn = regexp.MustCompile(`<SessionToken>([^<]+)</SessionToken>`)

// watch starts recording the requests that reach the server.
func (r *wireRig) watch() *recorder {
	w := &recorder{sessions: map[string]session{}}
	r.handler = http.HandlerFunc(func(to http.ResponseWriter, q *http.Request) {
		answer := httptest.NewRecorder()
		var asked session
		if q.Method == http.MethodPost { // STS
			raw, _ := io.ReadAll(q.Body)
			q.Body = io.NopCloser(bytes.NewReader(raw))
			form, _ := url.ParseQuery(string(raw))
			asked = session{form.Get("RoleArn"), form.Get("ExternalId"), resourceOf(form.Get("Policy"))}
			w.locked(func() { w.stsRequests = append(w.stsRequests, asked) })
		}
		if q.Method == http.MethodPut {
			w.locked(func() {
				w.puts = append(w.puts, visit{strings.TrimPrefix(q.URL.Path, "/"), w.sessions[q.Header.Get("X-Amz-Security-Token")]})
			})
		}
		r.s3.ServeHTTP(answer, q)
		if m := tokenIn.FindStringSubmatch(answer.Body.String()); m != nil {
			w.locked(func() { w.sessions[m[1]] = asked })
		}
		maps.Copy(to.Header(), answer.Header())
		to.WriteHeader(answer.Code)
		_, _ = to.Write(answer.Body.Bytes())
	})
	return w
}

// resourceOf returns the resource into which a session policy allows PUTs.
func resourceOf(text string) string {
	var p struct{ Statement []struct{ Resource string } }
	if json.Unmarshal([]byte(text), &p) != nil || len(p.Statement) == 0 {
		return ""
	}
	return p.Statement[0].Resource
}

const theirRole = "arn:aws:iam::123456789012:role/theirs"

// twoTenants gives the catalog two destinations of different workspaces in bucket one-logs, both
// with role logs unless change sets another.
func (r *wireRig) twoTenants(change func(first, second *catalog.Destination)) {
	r.setCatalog(func(ws []catalog.Workspace) {
		first := catalog.Destination{Name: "one", Sources: []string{"web"}, Bucket: "one-logs/a", RoleARN: roleARN}
		second := catalog.Destination{Name: "theirs", Sources: []string{"app"}, Bucket: "one-logs/b", RoleARN: roleARN}
		change(&first, &second)
		ws[0].Sources = append(ws[0].Sources, catalog.Source{ID: "shop"})
		ws[0].Destinations, ws[1].Destinations = []catalog.Destination{first}, []catalog.Destination{second}
	})
}

// deliver delivers a file of the source and returns its receipt.
func (r *wireRig) deliver(dest, source, content string) (delivery.Receipt, outcome) {
	r.change = func(f *ledger.File) { f.Source = source }
	job := r.job(dest, content)
	o := r.runJob(r.t.Context(), job)
	if o.kind != outcomeDone {
		return delivery.Receipt{}, o
	}
	return *r.receipt(job), o
}

// A session is used only for the destination that it was requested for, whatever two destinations
// have in common, and gives access only to that destination's folder. All sources of a destination
// share it.
func TestSessionsServeOneDestination(t *testing.T) {
	for hazard, change := range map[string]func(first, second *catalog.Destination){
		"one_role":                 func(_, _ *catalog.Destination) {},
		"a_role_each":              func(_, second *catalog.Destination) { second.RoleARN = theirRole },
		"prefixes_begin_alike":     func(_, second *catalog.Destination) { second.Bucket = "one-logs/ab" },
		"prefix_below_another":     func(_, second *catalog.Destination) { second.Bucket = "one-logs/a/b" },
		"prefix_above_another":     func(first, second *catalog.Destination) { first.Bucket, second.Bucket = "one-logs/a/b", "one-logs/a" },
		"one_has_none":             func(first, _ *catalog.Destination) { first.Bucket = "one-logs" },
		"a_folder_named_like_ours": func(first, _ *catalog.Destination) { first.Bucket = "one-logs/b/segment-logs-2" },
		"with_acl_and_kms": func(first, second *catalog.Destination) {
			no := false
			first.ACL, second.ServerSideEncryption = "private", &no
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newWireRig(t)
			r.twoTenants(func(first, second *catalog.Destination) {
				first.Sources = []string{"web", "shop"}
				change(first, second)
			})
			require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Region: "ap-south-1", Owner: "123456789012", Ownership: s3server.PreferOwner}))
			// The roles trust us for both workspaces, so we alone keep them apart.
			for _, arn := range []string{roleARN, theirRole} {
				role := s3server.PutOnlyRole(arn, r.s3.OperatorARN(), acme, "one-logs")
				role.Trust.Statement[0].Condition["StringEquals"]["sts:ExternalId"] = iam.Strings{acme, other}
				require.NoError(t, r.s3.PutRole(role))
			}
			w := r.watch()
			type folder struct{ dest, source string }
			folders := []folder{{acmeOne, "web"}, {theirs, "app"}, {acmeOne, "shop"}}
			for round := range 2 { // the second round uses cached sessions
				for _, f := range folders {
					receipt, o := r.deliver(f.dest, f.source, fmt.Sprint(f, round))
					require.Equal(t, outcomeDone, o.kind, o.verdict.Cause)
					target, _ := r.live.Snapshot().Destination(f.dest)
					last := w.puts[len(w.puts)-1]
					require.Equal(t, receipt.Bucket+"/"+receipt.Key, last.object)
					require.Equal(t, session{target.RoleARN, target.Workspace, policy.ObjectARN(target, "*")}, last.as)
				}
			}
			require.Len(t, w.sessions, 2, "want one session for each destination")
			for _, f := range folders {
				target, _ := r.live.Snapshot().Destination(f.dest)
				narrow, err := policy.Session(target)
				require.NoError(t, err)
				creds, err := r.assume.Credentials(t.Context(), assumerole.Request{RoleARN: target.RoleARN, ExternalID: target.Workspace, SessionPolicy: narrow})
				require.NoError(t, err)
				for _, other := range folders {
					to, _ := r.live.Snapshot().Destination(other.dest)
					key := delivery.ObjectKey(to.Prefix, testLog, &ledger.File{Source: other.source, SHA256: strings.Repeat("0", 64)})
					to.Region = "ap-south-1"
					store := r.open(to, func(context.Context) (objstore.Credentials, error) { return creds, nil })
					_, err := store.Put(t.Context(), key, strings.NewReader("x"), objstore.PutOptions{ServerSideEncryption: "AES256"})
					if other.dest == f.dest {
						require.NoError(t, err)
					} else {
						require.ErrorIs(t, err, objstore.ErrDenied, "%v into the folder of %v", f, other)
					}
				}
			}
			require.Len(t, w.sessions, 2, "a new session was requested")
		})
	}
}

// A customer may name another customer's role. Its trust policy then decides by the external id
// that we send, and no existing session for the role is used.
func TestAnotherCustomersRoleIsNotAssumed(t *testing.T) {
	r := newWireRig(t) // role logs trusts us for acme only
	r.twoTenants(func(_, _ *catalog.Destination) {})
	w := r.watch()
	_, o := r.deliver(acmeOne, "web", "ours")
	require.Equal(t, outcomeDone, o.kind, o.verdict.Cause)
	puts := len(w.puts)
	_, o = r.deliver(theirs, "app", "theirs")
	require.Equal(t, "role_denied", o.verdict.Reason, o.verdict.Cause)
	require.Equal(t, session{roleARN, other, "arn:aws:s3:::one-logs/b/segment-logs/*"}, w.stsRequests[len(w.stsRequests)-1])
	require.Len(t, w.puts, puts)
	for _, s := range w.sessions {
		require.Equal(t, acme, s.externalID)
	}
}

// For catalog records that bypassed validation, for example because another program wrote them, no
// request is made to anybody.
func TestRecordsThatBypassedValidation(t *testing.T) {
	for hazard, d := range map[string]catalog.Destination{
		"bucket_star":           {Bucket: "one-*"},
		"bucket_variable":       {Bucket: "${aws:userid}"},
		"bucket_path":           {Bucket: "../one-logs"},
		"prefix_star":           {Bucket: "one-logs/*"},
		"prefix_question":       {Bucket: "one-logs/pat?"},
		"prefix_variable":       {Bucket: "one-logs/${aws:username}"},
		"prefix_up":             {Bucket: "one-logs/x/../path"},
		"role_star":             {Bucket: "mine", RoleARN: "arn:aws:iam::123456789012:role/*"},
		"role_of_any":           {Bucket: "mine", RoleARN: "arn:aws:iam::*:role/logs"},
		"owner_star":            {Bucket: "mine", ExpectedBucketOwner: "*"},
		"anothers_prefix":       {Bucket: "one-logs/path"},
		"anothers_prefix_slash": {Bucket: "one-logs/path/"},
		"within_anothers":       {Bucket: "one-logs/path/segment-logs/web"},
		"around_anothers":       {Bucket: "inner"},
		"endpoint_with_path":    {Bucket: "mine", Endpoint: "https://minio/one-logs"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newWireRig(t)
			live := catalog.NewLive()
			r.deps.Catalog = live
			d.Name = "bad"
			if d.RoleARN == "" {
				d.RoleARN = theirRole
			}
			d.Sources = []string{"app"}
			require.NoError(t, live.Apply(acme, catalog.Encode(catalog.Workspace{ID: acme, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
				{Name: "one", Sources: []string{"web"}, Bucket: "one-logs/path", RoleARN: roleARN},
				{Name: "inner", Sources: []string{"web"}, Bucket: "inner/segment-logs/web", RoleARN: roleARN},
			}})))
			require.NoError(t, live.Apply(other, catalog.Encode(catalog.Workspace{ID: other, Sources: []catalog.Source{{ID: "app"}}, Destinations: []catalog.Destination{d}})))
			live.Publish()
			w := r.watch()
			_, o := r.deliver(other+"/"+d.Name, "app", "x")
			require.Equal(t, outcomeFailed, o.kind)
			require.Equal(t, "catalog_refused", o.verdict.Reason, o.verdict.Cause)
			require.Empty(t, w.stsRequests)
			require.Empty(t, w.puts)
			_, o = r.deliver(acmeOne, "web", "x")
			require.Equal(t, outcomeDone, o.kind, "the destination that was there first is refused too")
		})
	}
}

// A destination whose name cannot be part of a key is owed nothing, because nothing could close the
// debt. If an older entry owes it something, copiers drop the job.
func TestDestinationsWithUnusableNames(t *testing.T) {
	for hazard, name := range map[string]string{"path": "../one", "path_within": "x/../../one", "up": "..", "itself": ".", "empty": "", "long_with_workspace": strings.Repeat("x", 249-len(acme)), "control": "a\tb", "long": strings.Repeat("x", 250)} {
		t.Run(hazard, func(t *testing.T) {
			live := catalog.NewLive()
			require.NoError(t, live.Apply(acme, catalog.Encode(catalog.Workspace{ID: acme, Sources: []catalog.Source{{ID: "web"}}, Destinations: []catalog.Destination{
				{Name: name, Sources: []string{"web"}, Bucket: "mine"}, {Name: "one", Sources: []string{"web"}, Bucket: "one-logs"},
			}})))
			require.Equal(t, []string{acmeOne}, live.Publish().Owed("web"))

			r := newRig(t)
			r.Copier.deps.Catalog = live
			e, c := r.newEngine(r.queue), newClaim()
			require.NoError(t, r.submitRecord(t.Context(), t.Context(), e, r.job(acme+"/"+name, "x").Encode(), c))
			require.Equal(t, 1, c.acks())
			e.drain()
			require.Empty(t, r.queue.jobs)
			require.Empty(t, r.staging.Contents("parked/"))
		})
	}
}

// Even if the catalog let such a destination pass, no session is requested whose policy would
// contain a pattern.
func TestSessionPolicyWithAPatternIsRefused(t *testing.T) {
	for hazard, c := range map[string]struct{ bucket, prefix string }{
		"bucket": {"one-*", "path"}, "prefix": {"one-logs", "*"}, "question": {"one-logs", "pat?"}, "variable": {"one-logs", "${aws:userid}"},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newWireRig(t)
			w := r.watch()
			target := catalog.Target{Destination: catalog.Destination{RoleARN: roleARN}, Workspace: acme, BucketName: c.bucket, Prefix: c.prefix}
			_, err := r.customers.Put(t.Context(), target, destination.Object{Key: "k", Body: strings.NewReader("x")})
			require.ErrorContains(t, err, "session policy")
			require.Empty(t, w.stsRequests)
			require.Empty(t, w.puts)
		})
	}
}

// A folder has moved from one customer to another in a different account, and a copier's catalog
// does not know yet: nothing of the first customer is put there.
func TestStaleCatalogDoesNotMixCustomers(t *testing.T) {
	r := newWireRig(t)
	r.twoTenants(func(_, second *catalog.Destination) {
		second.Bucket, second.RoleARN = "elsewhere", "arn:aws:iam::210987654321:role/theirs"
	})
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "one-logs", Region: "ap-south-1", Owner: "210987654321"}))
	require.NoError(t, r.s3.PutBucket(s3server.Bucket{Name: "new-logs", Owner: "123456789012"}))
	require.NoError(t, r.s3.PutRole(s3server.PutOnlyRole("arn:aws:iam::210987654321:role/theirs", r.s3.OperatorARN(), other, "one-logs")))
	require.NoError(t, r.s3.PutRole(s3server.PutOnlyRole(roleARN, r.s3.OperatorARN(), acme, "one-logs", "new-logs"))) // still allows the old bucket
	r.change = func(f *ledger.File) { f.Source = "web" }
	job := r.job(acmeOne, "ours")
	o := r.runJob(t.Context(), job)
	require.Equal(t, outcomeFailed, o.kind, "delivered to a bucket of another account than the role")
	require.Equal(t, destination.ScopeDestination, o.verdict.Scope)
	require.Nil(t, r.receipt(job))

	r.twoTenants(func(first, second *catalog.Destination) {
		first.Bucket, second.Bucket, second.RoleARN = "new-logs", "one-logs/a", "arn:aws:iam::210987654321:role/theirs"
	})
	require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	require.Equal(t, "new-logs", r.receipt(job).Bucket)
	receipt, o := r.deliver(theirs, "app", "theirs")
	require.Equal(t, outcomeDone, o.kind, o.verdict.Cause)
	require.Equal(t, "one-logs", receipt.Bucket)
}

// Whatever time a job asks for, it holds up a reader no longer than the tier's delay.
func TestNotBeforeDelaysAtMostTheTiersDelay(t *testing.T) {
	for hazard, c := range map[string]struct {
		delay, waits time.Duration
		notBefore    int64
	}{
		"far_future_in_a_tier":         {time.Minute, time.Minute, 1 << 62},
		"far_future_in_the_jobs_topic": {0, 0, 1 << 62},
		"far_past_in_a_tier":           {time.Minute, 0, -1 << 62},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &reader{delay: c.delay, offsets: newOffsets(-1), onRecord: func(context.Context, []byte, claim) error { return nil }}
				job := jobOf(acmeOne, 1)
				job.NotBefore = c.notBefore
				begun := time.Now()
				for offset := range int64(3) { // all in one fetch
					require.NoError(t, r.handle(t.Context(), &stream.Record{Offset: offset, Value: job.Encode()}, begun.Add(c.delay)))
				}
				require.Equal(t, c.waits, time.Since(begun))
			})
		})
	}
}
