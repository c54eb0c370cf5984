//go:build !stack

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/porttest"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const operatorAccount = "000000000000"

// call is a request that a role made to AWS.
type call struct{ user, action, resource string }

// calls records who requested what from S3 and STS.
type calls struct {
	next http.Handler

	mu     sync.Mutex // guards all fields below
	made   map[call]bool
	denied []string // by S3
}

var actionOf = map[string]string{http.MethodGet: "s3:GetObject", http.MethodHead: "s3:GetObject", http.MethodPut: "s3:PutObject", http.MethodDelete: "s3:DeleteObject"}

func (c *calls) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, credential, _ := strings.Cut(r.Header.Get("Authorization"), "Credential=")
	user, _, _ := strings.Cut(credential, "/")
	path := strings.TrimPrefix(r.URL.Path, "/")
	bucket, key, _ := strings.Cut(path, "/")
	made := call{user, actionOf[r.Method], "arn:aws:s3:::" + path}
	switch {
	case path == "":
		form, _ := io.ReadAll(r.Body)
		r.Body = io.NopCloser(bytes.NewReader(form))
		values, _ := url.ParseQuery(string(form))
		made = call{user, "sts:" + values.Get("Action"), values.Get("RoleArn")}
	case key == "":
		made = call{user, "s3:ListBucket", "arn:aws:s3:::" + bucket}
	}
	answer := &status{w, http.StatusOK}
	c.next.ServeHTTP(answer, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.made[made] = true
	switch {
	case answer.code == http.StatusForbidden && path != "" && !strings.HasPrefix(user, "ASIA"): // excludes sessions of the role that is deleted
		c.denied = append(c.denied, fmt.Sprint(made))
	case answer.code == http.StatusNotFound:
		c.made[call{user, "s3:ListBucket", "arn:aws:s3:::" + bucket}] = true
	}
}

type status struct {
	http.ResponseWriter
	code int
}

func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Each role runs with credentials of its own and exactly the policy that `sealift staging policy`
// prints, collectors with none. That is sufficient for all of their work: sealing, delivering,
// parking and redriving, replays, moving a destination, taking over, collecting. It is also
// minimal: without any one of its statements, actions or resources, something that they did would
// have been denied. There are entries that owe enough for batches of receipts, and
// others.
func TestStagingPoliciesSufficeAndAreMinimal(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	const sources, deliveries = 30, 32 // two sources go to two destinations
	var s3 *s3server.Server
	seen := &calls{made: map[call]bool{}}
	on := embeddedServersBehind(t, func(s *s3server.Server) http.Handler { s3, seen.next = s, s; return seen })
	as := func(role string) []string {
		return []string{"AWS_ACCESS_KEY_ID=" + role, "AWS_SECRET_ACCESS_KEY=secret-of-" + role, "SEALIFT_KAFKA_PARTITIONS=1"}
	}
	on.envOf = as
	s := newSystem(t, on, sources, fleet{
		collectors: 1, appenders: 1, copiers: 1, auditors: 1, appender: "roll_every: 2s, grace: 1s",
		copier: "park_after: 1s, retry_tiers: [1s]", auditor: "every: 2s, grace: 1s",
	})
	documents := policy.Staging{Bucket: s.staging(), Region: on.region}
	for _, d := range s.destinations() {
		if d.role == "" {
			documents.Classic = append(documents.Classic, d.bucket)
		} else {
			documents.Assume = append(documents.Assume, d.role)
		}
	}
	policies := map[string]iam.Policy{}
	for _, role := range policy.StagingRoles {
		p, err := documents.Policy(role)
		require.NoError(t, err)
		policies[string(role)] = p
		account := strings.Split(s3.OperatorARN(), ":")[4]
		require.NoError(t, s3.PutUser(s3server.User{ARN: "arn:aws:iam::" + account + ":user/" + string(role), AccessKey: string(role), SecretKey: "secret-of-" + string(role), Policies: []*iam.Policy{&p}}))
	}
	root := objstore.NewS3(objstore.S3Config{
		Bucket: s.staging(), Region: on.region, Endpoint: on.s3, PathStyle: true,
		Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: on.access, SecretAccessKey: secret.New(on.secret)}, nil
		},
	})
	keysOf := func(prefix string) (keys []string) {
		for info, err := range objstore.All(ctx, root, prefix) {
			require.NoError(t, err)
			keys = append(keys, info.Key)
		}
		return keys
	}
	closed := func() int {
		debts := map[string]bool{}
		for _, key := range keysOf("receipts/") {
			text, err := objstore.Read(ctx, root, key, 1<<20)
			require.NoError(t, err)
			for line := range bytes.Lines(text) { // several in a batch
				r, err := delivery.DecodeReceipt(line)
				require.NoError(t, err)
				debts[delivery.ReceiptKey(r.File, r.Destination)] = true
			}
		}
		return len(debts)
	}
	wait := func(what string, is func() bool) {
		for until := time.Now().Add(3 * time.Minute); !is(); time.Sleep(200 * time.Millisecond) {
			require.True(t, time.Now().Before(until), what)
		}
	}
	config, err := s.config("commands", porttest.Free(t), "")
	require.NoError(t, err)
	command := func(args ...string) string {
		out, err := sealift(ctx, append(s.env(), as("all")...), append(args, "--config", config)...)
		require.NoError(t, err, out)
		return out
	}
	s.start(ctx)
	n := 0
	send := func(sources int) {
		n++
		for i := range sources {
			body := fmt.Sprintf(`{"userId":"u","event":"e","messageId":"m%d","writeKey":%q}`, n, writeKey(sourceID(i)))
			postUntilTaken(ctx, t, "http://"+s.listen[0]+"/v1/track", []byte(body))
		}
	}
	role := s.workspaces[0].destinations[0]
	restore := func() { on.makeRole(role.role, s.workspaces[0].id, role.bucket) }

	//  1. A role does not exist for a while: files are parked, and redriven when it is back.
	s3.DeleteRole(role.role)
	send(sources)
	wait("parked", func() bool { return len(keysOf("parked/")) == sources/3 })
	note := keysOf("parked/")[0]
	text, err := objstore.Read(ctx, root, note, 1<<20)
	require.NoError(t, err)
	restore()
	wait("all is delivered", func() bool { // the refusal is cached for some seconds
		command("redrive")
		return closed() >= deliveries && len(keysOf("parked/")) == 0
	})

	//  2. A note that outlived its delivery, as after a crash.
	_, err = root.Put(ctx, note, bytes.NewReader(text), objstore.PutOptions{ContentType: "application/json"})
	require.NoError(t, err)
	wait("the note is gone", func() bool { return len(keysOf("parked/")) == 0 })

	//  3. Replays, one of which first meets the missing role.
	command("replay", "--all", "--force", "--from", "staging")
	command("replay", "--all", "--force", "--from", "kafka")
	s3.DeleteRole(role.role)
	command("replay", "--all", "--force", "--detach")
	failed := func() string {
		for _, key := range keysOf("replays/") {
			if id, rest, _ := strings.Cut(strings.TrimPrefix(key, "replays/"), "/"); strings.HasPrefix(rest, "failed/") {
				return id
			}
		}
		return ""
	}
	wait("a replay fails", func() bool { return failed() != "" })
	failing := failed()
	restore()
	wait("the replay goes on", func() bool {
		_, err := sealift(ctx, append(s.env(), as("all")...), "replay", "--resume", failing, "--config", config)
		return err == nil
	})

	//  4. A destination moves.
	wait("the destination moves", func() bool { // once a file has arrived there
		send(1)
		_, err := sealift(ctx, append(s.env(), as("all")...), "destinations", "migrate", s.workspaces[0].id+"/"+role.name,
			"--bucket", role.bucket+"/moved", "--yes", "--wait", "1s", "--config", config)
		return err == nil
	})
	require.NotEmpty(t, keysOf("migrations/"))

	//  5. Others take over, and what is staged has been kept for long enough.
	command("verify", "--deep", "--no-buckets")
	require.NoError(t, s.copiers[0].terminate(drainWithin)) // writes its last page of usage
	s.restart(ctx, s.copiers[0])
	wait("usage is summed up", func() bool { return len(keysOf("usage/sums/")) > 0 && len(keysOf("usage/pages/")) == 0 })
	s.kill(s.appenders[0], s.auditors[0])
	s.auditors[0].env = append(s.auditors[0].env, "SEALIFT_STAGING_RETAIN=1s")
	s.restart(ctx, s.appenders[0], s.auditors[0])
	send(sources)
	wait("staged files and replays are collected", func() bool {
		return closed() >= 2*deliveries && len(keysOf("data/")) == 0 && len(keysOf("replays/")) == 0
	})
	s.stop()

	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Empty(t, seen.denied, "the policies deny a needed request")
	allowed := func(p *iam.Policy, c call) bool {
		caller := iam.Caller{Account: operatorAccount, ARN: "arn:aws:iam::" + operatorAccount + ":user/" + c.user}
		return iam.Evaluate(iam.Request{Caller: caller, Action: c.action, Resource: c.resource, Owner: operatorAccount}, iam.Policies{Identity: []*iam.Policy{p}, Kind: iam.Bucket}).Allowed
	}
	for user, p := range policies {
		if user == string(policy.AllRoles) {
			continue // commands need little in addition
		}
		var made []call
		for c := range seen.made {
			if c.user == user && c.action != "sts:GetCallerIdentity" {
				require.True(t, allowed(&p, c), "%v", c)
				made = append(made, c)
			}
		}
		for what, less := range withOneLess(p) {
			if !slices.ContainsFunc(made, func(c call) bool { return !allowed(&less, c) }) {
				t.Errorf("%s: not minimal: nothing that it did needs %s", user, what)
			}
		}
	}
	for c := range seen.made {
		require.NotEqual(t, "collector", c.user, "a collector used a bucket: %v", c)
	}
}

// withOneLess returns the policies that have one action or resource of a statement less.
func withOneLess(p iam.Policy) map[string]iam.Policy {
	out := map[string]iam.Policy{}
	for i, s := range p.Statement {
		for k, r := range s.Resource {
			less := p
			less.Statement = slices.Clone(p.Statement)
			less.Statement[i].Resource = slices.Delete(slices.Clone(s.Resource), k, k+1)
			if len(s.Resource) == 1 {
				less.Statement = slices.Delete(less.Statement, i, i+1)
			}
			out[s.Sid+" "+r] = less
		}
		for k, a := range s.Action {
			less := p
			less.Statement = slices.Clone(p.Statement)
			less.Statement[i].Action = slices.Delete(slices.Clone(s.Action), k, k+1)
			if len(s.Action) == 1 {
				less.Statement = slices.Delete(less.Statement, i, i+1)
			}
			out[s.Sid+" "+a] = less
		}
	}
	return out
}
