package policy_test

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

// TestPoliciesSufficeAndAreMinimal attaches the documents of every cell of the matrix to roles,
// buckets and keys of the AWS double, and delivers with the production code over HTTP. With the
// documents as they are, the delivery succeeds and every attack fails. Without any one of their
// statements, actions, resources or conditions, the delivery fails or an attack succeeds.
func TestPoliciesSufficeAndAreMinimal(t *testing.T) {
	worlds := map[string]*world{}
	for partition := range regions {
		worlds[partition] = newWorld(t, partition)
	}
	cells, evaluated, reduced, attacks := 0, 0, 0, 0
	for _, s := range matrix() {
		if s.partition != "aws" && (s.elsewhere || s.foreign || s.secure) {
			continue // the partition only changes the ARNs
		}
		cells++
		w, documents := worlds[s.partition], map[policy.Kind]*iam.Policy{}
		for _, d := range s.write(t).Documents {
			documents[d.Kind] = &d.Policy
			evaluated++
		}
		w.attach(t, s, documents)
		require.NoError(t, w.tryAllowed(t, s), "%s: the documents do not suffice", s.name)
		for name, attack := range w.attacks(t, s) {
			require.Error(t, attack(), "%s: the documents allow to %s", s.name, name)
			attacks++
		}
		for kind, document := range documents {
			for what, less := range reductions(*document) {
				reduced++
				changed := maps.Clone(documents)
				changed[kind] = less
				w.attach(t, s, changed)
				if w.tryAllowed(t, s) != nil {
					continue
				}
				succeeds := func(attack func() error) bool { return attack() == nil }
				require.True(t, slices.ContainsFunc(slices.Collect(maps.Values(w.attacks(t, s))), succeeds),
					"%s: the %s policy is not minimal: nothing changes without %s", s.name, kind, what)
			}
		}
	}
	t.Logf("%d policies of %d cells, %d attacks refused, %d policies with one thing less", evaluated, cells, attacks, reduced)
	require.Greater(t, reduced, 2*evaluated)
}

// An attack that fails for any other reason than the documents proves nothing. With policies that
// allow everything, each attack succeeds.
func TestAttacksAreReal(t *testing.T) {
	w, tried := newWorld(t, "aws"), map[string]bool{}
	everybody := func(resources iam.Strings) iam.Statement {
		return iam.Statement{Effect: iam.Allow, Principal: iam.AWS("*"), Action: iam.Strings{"*"}, Resource: resources}
	}
	for _, s := range matrix() {
		if s.partition != "aws" || !s.enforce || !s.secure {
			continue
		}
		w.user(t, "operator", s.operator(), "*")
		trust := everybody(nil)
		trust.Principal, trust.Action = iam.AWS(s.operator()), iam.Strings{"sts:AssumeRole"}
		bucket := everybody(iam.Strings{s.arn("s3:::acme-logs"), s.arn("s3:::acme-logs/*")})
		w.attach(t, s, map[policy.Kind]*iam.Policy{
			policy.Trust: {Version: iam.Version, Statement: []iam.Statement{trust}}, policy.Role: allowPolicy("*"),
			policy.Bucket: {Version: iam.Version, Statement: []iam.Statement{bucket}}, policy.KMS: {Version: iam.Version, Statement: []iam.Statement{everybody(iam.Strings{"*"})}},
		})
		require.NoError(t, w.put(w.tls, s, w.owner(s), objstore.PutOptions{})("segment-logs/web/"))
		for name, attack := range w.attacks(t, s) {
			require.NoError(t, attack(), "%s: %s", s.name, name)
			tried[name] = true
		}
	}
	require.Len(t, tried, 15)
}

// reductions returns the policies with one thing removed; nil is no policy at all.
func reductions(p iam.Policy) map[string]*iam.Policy {
	out := map[string]*iam.Policy{}
	with := func(i int, s iam.Statement) *iam.Policy {
		less := p
		less.Statement = slices.Clone(p.Statement)
		less.Statement[i] = s
		return &less
	}
	without := func(list iam.Strings, k int) iam.Strings { return slices.Delete(slices.Clone(list), k, k+1) }
	for i, s := range p.Statement {
		less := p
		less.Statement = slices.Delete(slices.Clone(p.Statement), i, i+1)
		out["statement "+s.Sid] = &less
		if len(less.Statement) == 0 {
			out["statement "+s.Sid] = nil
		}
		for k, a := range s.Action {
			if c := s; len(s.Action) > 1 {
				c.Action = without(s.Action, k)
				out["action "+a] = with(i, c)
			}
		}
		for k, r := range s.Resource {
			if c := s; len(s.Resource) > 1 {
				c.Resource = without(s.Resource, k)
				out["resource "+r] = with(i, c)
			}
		}
		for operator, keys := range s.Condition {
			for key := range keys { // each is alone in its operator
				c := s
				c.Condition = maps.Clone(s.Condition)
				delete(c.Condition, operator)
				out["condition "+operator+" "+key] = with(i, c)
			}
		}
	}
	return out
}

// world is a partition of AWS with the accounts of the operator and the customer.
type world struct {
	s3         *s3server.Server
	tls, plain *httptest.Server
	keys       map[string]objstore.Credentials // of users, by name
	n          int                             // number of object keys made so far
	last       string                          // the latest of them
}

func newWorld(t *testing.T, partition string) *world {
	s := scenario{partition: partition}
	server, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "SERVER", SecretKey: "secret", Region: s.region()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Close()) })
	w := &world{s3: server, tls: httptest.NewServer(overTLS(server)), plain: httptest.NewServer(server), keys: map[string]objstore.Credentials{}}
	t.Cleanup(w.plain.Close)
	t.Cleanup(w.tls.Close)
	// What OPERATING.md asks of the operator's own policy, and what it says the customer's
	// administrators have.
	w.user(t, "operator", s.operator(), "sts:AssumeRole", "s3:PutObject", "s3:PutObjectAcl", "kms:GenerateDataKey")
	w.user(t, "admin", s.arn("iam::"+customerAccount+":user/admin"), "*")
	w.user(t, "rival", s.arn("iam::"+customerAccount+":user/rival"), "*")
	w.user(t, "second", s.arn("iam::"+secondAccount+":user/admin"), "*")
	return w
}

// overTLS makes requests look as if they came over TLS. Each refusal closes the connection, and the
// handshakes would take most of the time.
func overTLS(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13}
		next.ServeHTTP(w, r)
	})
}

func (w *world) user(t *testing.T, name, arn string, actions ...string) {
	w.keys[name] = objstore.Credentials{AccessKeyID: "AKIA" + strings.ToUpper(name), SecretAccessKey: secret.New(name)}
	require.NoError(t, w.s3.PutUser(s3server.User{
		ARN: arn, AccessKey: w.keys[name].AccessKeyID, SecretKey: name, Policies: []*iam.Policy{allowPolicy(actions...)},
	}))
}

func allowPolicy(actions ...string) *iam.Policy {
	return &iam.Policy{Version: iam.Version, Statement: []iam.Statement{{Effect: iam.Allow, Action: actions, Resource: iam.Strings{"*"}}}}
}

// attach attaches the documents to role, bucket and key, and nothing else.
func (w *world) attach(t *testing.T, s scenario, documents map[policy.Kind]*iam.Policy) {
	target := s.target(t)
	if target.RoleARN != "" {
		role := s3server.Role{ARN: target.RoleARN, Trust: documents[policy.Trust]}
		if role.Trust == nil { // a role always has one
			role.Trust = &iam.Policy{Version: iam.Version, Statement: []iam.Statement{{
				Effect: iam.Allow, Principal: iam.AWS(s.arn("iam::" + customerAccount + ":root")), Action: iam.Strings{"sts:AssumeRole"},
			}}}
		}
		if p := documents[policy.Role]; p != nil {
			role.Policies = []*iam.Policy{p}
		}
		require.NoError(t, w.s3.PutRole(role), s.name)
	}
	if s.kms {
		key := &iam.Policy{Version: iam.Version, Statement: []iam.Statement{{ // a key always has one
			Effect: iam.Allow, Principal: iam.AWS(s.arn("iam::"+customerAccount+":user/admin"), s.arn("iam::"+secondAccount+":user/admin")),
			Action: iam.Strings{"kms:*"}, Resource: iam.Strings{"*"},
		}}}
		if p := documents[policy.KMS]; p != nil {
			key.Statement = append(key.Statement, p.Statement...)
		}
		require.NoError(t, w.s3.PutKey(s3server.Key{ARN: s.key(), Policy: key}), s.name)
		require.NoError(t, w.s3.PutKey(s3server.Key{ARN: s.arn("kms:" + s.region() + ":" + customerAccount + ":key/other"), Policy: &iam.Policy{
			Version: iam.Version, Statement: []iam.Statement{{
				Effect: iam.Allow, Principal: iam.AWS(s.arn("iam::"+customerAccount+":root"), s.arn("iam::"+secondAccount+":root")),
				Action: iam.Strings{"kms:*"}, Resource: iam.Strings{"*"},
			}},
		}}))
	}
	require.NoError(t, w.s3.PutBucket(s3server.Bucket{
		Name: target.BucketName, Region: s.region(), Owner: target.Owner, Policy: documents[policy.Bucket], Key: s.key(), BucketKey: s.kms && s.acl,
	}), s.name)
}

// deliver puts a file like the copier, with new credentials.
func (w *world) deliver(t *testing.T, s scenario) error {
	roles := assumerole.New(assumerole.Config{
		Endpoint: w.tls.URL, Region: s.region(), HTTPClient: w.tls.Client(),
		Credentials: func(context.Context) (objstore.Credentials, error) { return w.keys["operator"], nil },
	})
	open := func(target catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
		if creds == nil {
			return w.bucket(w.tls, s, target.Owner, "operator")
		}
		return objstore.NewS3(objstore.S3Config{Bucket: target.BucketName, Region: target.Region, Endpoint: w.tls.URL, PathStyle: true,
			Credentials: creds, ExpectedOwner: target.Owner, HTTPClient: w.tls.Client()})
	}
	target := s.target(t)
	_, err := destination.NewPutter(destination.Config{Roles: roles, Open: open, Pause: time.Microsecond}).Put(t.Context(), target, destination.Object{
		Key: w.key(s, "segment-logs/web/"), Body: strings.NewReader("x"), SHA256: sha256.Sum256([]byte("x")),
	})
	return err
}

// tryAllowed checks what the documents must allow: a delivery, and a PUT by the bucket's owner that
// names the enforced key.
func (w *world) tryAllowed(t *testing.T, s scenario) error {
	err := w.deliver(t, s)
	if err == nil && s.enforce && s.kms {
		err = w.putWithKey(t, s, w.owner(s), s.key())()
	}
	return err
}

// owner returns the account of the bucket's owner.
func (w *world) owner(s scenario) string {
	if s.elsewhere {
		return "second"
	}
	return "admin"
}

// key returns an unused object key in a folder below the destination's prefix.
func (w *world) key(s scenario, folder string) string {
	w.n++
	if s.prefix {
		folder = prefix + "/" + folder
	}
	w.last = fmt.Sprintf("%s%d.gz", folder, w.n)
	return w.last
}

// bucket returns the destination's bucket as a user sees it on a server.
func (w *world) bucket(on *httptest.Server, s scenario, owner, user string) objstore.Store {
	return objstore.NewS3(objstore.S3Config{Bucket: "acme-logs", Region: s.region(), Endpoint: on.URL, PathStyle: true, HTTPClient: on.Client(), ExpectedOwner: owner,
		Credentials: func(context.Context) (objstore.Credentials, error) { return w.keys[user], nil }})
}

// put returns a PUT by a user into a folder.
func (w *world) put(on *httptest.Server, s scenario, user string, o objstore.PutOptions) func(folder string) error {
	return func(folder string) error {
		_, err := w.bucket(on, s, "", user).Put(context.Background(), w.key(s, folder), strings.NewReader("x"), o)
		return err
	}
}

// attacks are requests that the documents must not allow. The bucket's owner may do everything that
// the documents do not deny.
func (w *world) attacks(t *testing.T, s scenario) map[string]func() error {
	owner := w.owner(s)
	put := func(on *httptest.Server, user, folder string, o objstore.PutOptions) func() error {
		return func() error { return w.put(on, s, user, o)(folder) }
	}
	out := map[string]func() error{}
	if s.enforce && !s.kms {
		out["put without encryption"] = put(w.tls, owner, "segment-logs/web/", objstore.PutOptions{})
		out["put with a key"] = put(w.tls, owner, "segment-logs/web/", objstore.PutOptions{ServerSideEncryption: "aws:kms"})
	}
	if s.enforce && s.kms {
		out["put with S3's key"] = put(w.tls, owner, "segment-logs/web/", objstore.PutOptions{ServerSideEncryption: "AES256"})
		out["put with the account's key"] = put(w.tls, owner, "segment-logs/web/", objstore.PutOptions{ServerSideEncryption: "aws:kms"})
		out["put with another key"] = w.putWithKey(t, s, owner, s.arn("kms:"+s.region()+":"+customerAccount+":key/other"))
	}
	if s.secure {
		out["put in plain text"] = put(w.plain, owner, "elsewhere/", objstore.PutOptions{ServerSideEncryption: "AES256"})
		out["list in plain text"] = func() error {
			_, err := w.bucket(w.plain, s, "", owner).List(t.Context(), "", "", 1)
			return err
		}
	}
	if s.classic {
		out["put beside the folder"] = put(w.tls, "operator", "elsewhere/", objstore.PutOptions{ServerSideEncryption: "AES256"})
		out["put beside it"] = put(w.tls, "operator", "segment-logs", objstore.PutOptions{ServerSideEncryption: "AES256"})
		out["list"] = func() error {
			_, err := w.bucket(w.tls, s, "", "operator").List(t.Context(), "", "", 1)
			return err
		}
		return out
	}
	if s.kms && !s.foreign {
		out["use the key as another role of the account"] = w.otherRole(t, s)
	}
	maps.Copy(out, w.asRole(t, s))
	return out
}

// asRole are attacks with the role's own credentials, without a session policy, and attacks on its
// trust policy.
func (w *world) asRole(t *testing.T, s scenario) map[string]func() error {
	target, kept := s.target(t), w.last
	roles := assumerole.New(assumerole.Config{Endpoint: w.tls.URL, Region: s.region(), HTTPClient: w.tls.Client(),
		Credentials: func(context.Context) (objstore.Credentials, error) { return w.keys["operator"], nil }})
	assume := func(id string) func() error {
		return func() error {
			_, err := roles.Credentials(t.Context(), assumerole.Request{RoleARN: target.RoleARN, ExternalID: id})
			return err
		}
	}
	role := objstore.NewS3(objstore.S3Config{Bucket: "acme-logs", Region: s.region(), Endpoint: w.tls.URL, PathStyle: true, HTTPClient: w.tls.Client(),
		Credentials: func(ctx context.Context) (objstore.Credentials, error) {
			return roles.Credentials(ctx, assumerole.Request{RoleARN: target.RoleARN, ExternalID: target.Workspace})
		}})
	o := objstore.PutOptions{}
	if target.SSE {
		o.ServerSideEncryption = "AES256"
	}
	return map[string]func() error{
		"assume the role without its id":     assume(""),
		"assume the role for another tenant": assume("ws_another0000000000"),
		"put beside the folder": func() error {
			_, err := role.Put(t.Context(), w.key(s, "elsewhere/"), strings.NewReader("x"), o)
			return err
		},
		"read": func() error {
			body, _, err := role.Get(t.Context(), kept)
			if err == nil {
				err = body.Close()
			}
			return err
		},
		"list":   func() error { _, err := role.List(t.Context(), "", "", 1); return err },
		"delete": func() error { return role.Delete(t.Context(), "segment-logs/web/0.gz") },
	}
}

// otherRole puts into another bucket that has the same key, as another role of the account whose
// own policies allow every key.
func (w *world) otherRole(t *testing.T, s scenario) func() error {
	require.NoError(t, w.s3.PutBucket(s3server.Bucket{Name: "their-logs", Region: s.region(), Owner: customerAccount, Key: s.key()}))
	return func() error {
		other := objstore.NewS3(objstore.S3Config{Bucket: "their-logs", Region: s.region(), Endpoint: w.tls.URL, PathStyle: true, HTTPClient: w.tls.Client(),
			Credentials: func(context.Context) (objstore.Credentials, error) { return w.keys["rival"], nil }})
		_, err := other.Put(t.Context(), w.key(s, "x/"), strings.NewReader("x"), objstore.PutOptions{})
		return err
	}
}

// putWithKey puts with a named key, which Sealift never does.
func (w *world) putWithKey(t *testing.T, s scenario, user, key string) func() error {
	return func() error {
		client := s3.New(s3.Options{
			Region: s.region(), BaseEndpoint: &w.tls.URL, UsePathStyle: true, HTTPClient: w.tls.Client(), Retryer: aws.NopRetryer{},
			Credentials: credentials.NewStaticCredentialsProvider(w.keys[user].AccessKeyID, w.keys[user].SecretAccessKey.Reveal(), ""),
		})
		_, err := client.PutObject(t.Context(), &s3.PutObjectInput{
			Bucket: aws.String("acme-logs"), Key: aws.String(w.key(s, "segment-logs/web/")), Body: strings.NewReader("x"),
			ServerSideEncryption: types.ServerSideEncryptionAwsKms, SSEKMSKeyId: &key,
		})
		return err
	}
}
