package destination

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

func (w *wire) checker() *Checker {
	return &Checker{STS: w.roles, Putter: w.Putter}
}

func (w *wire) check(t catalog.Target, o Options) Report {
	if o.Sources == nil {
		o.Sources = []string{"web"}
	}
	return w.checker().Check(w.t.Context(), t, o)
}

// stored returns the keys in a bucket.
func (w *wire) stored(bucket string) []string {
	infos, err := w.operator(bucket).List(w.t.Context(), "", "", 0)
	require.NoError(w.t, err)
	var keys []string
	for _, i := range infos {
		keys = append(keys, i.Key)
	}
	return keys
}

// problem returns the verdict of the step that failed.
func problem(r Report) (step string, v Verdict) {
	for _, s := range r.Steps {
		if s.Problem != nil {
			return s.Name, *s.Problem
		}
	}
	return "", Verdict{}
}

func TestCheckOfWorkingDestinationStoresNothing(t *testing.T) {
	for name, change := range map[string]func(*catalog.Destination){
		"role":    nil,
		"classic": func(d *catalog.Destination) { d.RoleARN = "" },
		"acl":     func(d *catalog.Destination) { d.ACL = "bucket-owner-full-control" },
		"kms":     func(d *catalog.Destination) { d.ServerSideEncryption = new(bool) },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWire(t)
			puts := w.requests("PutObject")
			var steps []string
			r := w.check(w.target(change), Options{OnStep: func(s Step) { steps = append(steps, s.Name) }})
			require.True(t, r.OK, "%+v", r)
			require.Equal(t, []string{"catalog", "endpoint", "credentials", "role", "external id", "reach", "region", "put"}, steps)
			require.NotEmpty(t, r.Proven)
			require.Contains(t, strings.Join(r.Unproven, " "), "--write")
			require.Equal(t, name == "classic", strings.Contains(strings.Join(r.Unproven, " "), "whose bucket it is"))
			require.Empty(t, r.Stored)
			require.Empty(t, w.stored("one-logs"))
			want := 1
			if strings.Contains(strings.Join(r.Proven, " "), "belongs to account") {
				want++ // one more, with a wrong owner
			}
			require.Equal(t, name != "classic", want == 2)
			require.EqualValues(t, want, puts(), "a PUT was sent again without If-None-Match")
			require.Equal(t, want, r.Puts)
		})
	}
}

func TestCheckWithWrite(t *testing.T) {
	w := newWire(t)
	r := w.check(w.target(nil), Options{Write: true})
	require.True(t, r.OK, "%+v", r)
	require.Equal(t, []string{r.Stored[0].Key}, w.stored("one-logs"))
	require.Regexp(t, `^path/segment-logs/sealift-check/\d{13}/\d{13}\.[0-9a-f]{12}\.[0-9a-f]{7}\.[0-9a-f-]{36}\.gz$`, r.Stored[0].Key)
	body, info, err := w.operator("one-logs").Get(t.Context(), r.Stored[0].Key)
	require.NoError(t, err)
	require.Equal(t, "gzip", info.ContentEncoding)
	require.Equal(t, "1", info.Metadata["records"])
	line := gziptest.Unzip(t, body)
	require.Equal(t, 1, strings.Count(line, "\n"))
	require.True(t, json.Valid([]byte(line)))
	require.NotContains(t, strings.Join(r.Unproven, " "), "--write")
}

// If a server accepts every owner, being accepted with the right one proves nothing.
func TestCheckOfServerThatIgnoresOwner(t *testing.T) {
	w := newWire(t)
	require.NoError(t, w.s3.PutBucket(s3server.Bucket{Name: "one-logs"}))
	r := w.check(w.target(nil), Options{})
	require.True(t, r.OK, "%+v", r)
	require.NotContains(t, strings.Join(r.Proven, " "), "belongs to account")
	require.Contains(t, strings.Join(r.Unproven, " "), "that the bucket belongs to account 123456789012")
	require.Empty(t, r.Stored)
}

// Deliveries do not ask STS who Sealift is, and classic ones ask it for nothing: what works must
// not fail the check because of that.
func TestCheckWithoutIdentity(t *testing.T) {
	classic := func(d *catalog.Destination) { d.RoleARN = "" }
	for hazard, c := range map[string]struct {
		change  func(*catalog.Destination)
		refusal s3server.Fault
		failed  string // the step; "": none
	}{
		"unknown_action":         {nil, s3server.Fault{Status: 400, Code: "InvalidParameterValue", Message: "Unsupported action GetCallerIdentity"}, ""},
		"unknown_action_classic": {classic, s3server.Fault{Status: 400, Code: "InvalidParameterValue", Message: "Unsupported action GetCallerIdentity"}, ""},
		"foreign_sts_classic":    {classic, s3server.Fault{Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid"}, ""},
		"own_keys_refused":       {nil, s3server.Fault{Status: 403, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid"}, "credentials"},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := newWire(t)
			w.s3.SetFault(func(q *http.Request) s3server.Fault {
				if q.Method != http.MethodPost {
					return s3server.Fault{}
				}
				b, err := io.ReadAll(q.Body)
				q.Body = io.NopCloser(bytes.NewReader(b))
				if err != nil || !bytes.Contains(b, []byte("GetCallerIdentity")) {
					return s3server.Fault{}
				}
				return c.refusal
			})
			r := w.check(w.target(c.change), Options{})
			step, _ := problem(r)
			require.Equal(t, c.failed, step, "%+v", r)
			require.Equal(t, c.failed == "", r.OK)
		})
	}
}

// uncheckedStore is a store that does not verify checksums.
type uncheckedStore struct{ *objstore.Memory }

func (c uncheckedStore) Put(ctx context.Context, key string, body io.ReadSeeker, o objstore.PutOptions) (objstore.Info, error) {
	o.SHA256 = [32]byte{}
	return c.Memory.Put(ctx, key, body, o)
}

// A store that does not verify checksums stores the trial object. The object is well-formed, and
// the report says where it is.
func TestCheckOfStoreThatIgnoresChecksums(t *testing.T) {
	w := newWire(t)
	store := uncheckedStore{objstore.NewMemory("one-logs")}
	w.Putter = NewPutter(Config{Roles: w.roles, Open: func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store { return store }})
	r := w.check(w.target(nil), Options{})
	require.True(t, r.OK, "%+v", r)
	require.Regexp(t, `^path/segment-logs/web/`, r.Stored[0].Key)
	require.Contains(t, strings.Join(r.Unproven, " "), "checksum")
	body, _, err := store.Get(t.Context(), r.Stored[0].Key)
	require.NoError(t, err)
	require.Contains(t, gziptest.Unzip(t, body), `"event":"Sealift Check"`)
}

func TestCheckTriesEveryFolder(t *testing.T) {
	w := newWire(t)
	var sources []string
	for i := range 30 {
		sources = append(sources, fmt.Sprint("s", i))
	}
	r := w.check(w.target(nil), Options{Sources: sources})
	require.True(t, r.OK, "%+v", r)
	require.Equal(t, 31, r.Puts, "30 folders and one wrong owner")

	w.s3.SetFault(func(q *http.Request) s3server.Fault {
		if q.Method == http.MethodPut && strings.Contains(q.URL.Path, "/s29/") {
			return s3server.Fault{Status: 403, Code: "AccessDenied", Message: "Access Denied"}
		}
		return s3server.Fault{}
	})
	r = w.check(w.target(nil), Options{Sources: sources})
	step, v := problem(r)
	require.Equal(t, "put", step)
	require.Equal(t, "folder_denied", v.Reason)
	require.Contains(t, v.Cause, "not those of s29")
	require.JSONEq(t, `{"Sid":"SealiftPutOnec9667aaa","Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::one-logs/path/segment-logs/*"}`, string(v.Statements[0].JSON))
}

// Problems that only storing an object shows: the key of the default encryption, and a folder that
// deliveries do not need.
func TestCheckWithoutWritePermission(t *testing.T) {
	for hazard, c := range map[string]struct {
		denied func(*http.Request) bool
		status Status
		said   string
	}{
		"key": {func(q *http.Request) bool { // the checksum is right, so this is not a probe
			b, err := io.ReadAll(q.Body)
			q.Body = io.NopCloser(bytes.NewReader(b))
			sum := sha256.Sum256(b)
			return err == nil && q.Header.Get("X-Amz-Content-Sha256") == hex.EncodeToString(sum[:])
		}, Failed, "may not use the KMS key"},
		"folder": {func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/sealift-check/") }, Skipped, "not one-logs/path/segment-logs/sealift-check/"},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := newWire(t)
			w.refuse(func(q *http.Request) string {
				if c.denied(q) {
					return "Access Denied"
				}
				return ""
			})
			r := w.check(w.target(func(d *catalog.Destination) { d.ServerSideEncryption = new(bool) }), Options{Write: true})
			last := r.Steps[len(r.Steps)-1]
			require.Equal(t, "write", last.Name)
			require.Equal(t, c.status, last.Status)
			if c.status == Failed {
				require.Contains(t, last.Problem.Cause, c.said)
				require.Len(t, last.Problem.Statements, 2)
			} else {
				require.Contains(t, last.Detail, c.said)
				require.True(t, r.OK)
				require.Contains(t, strings.Join(r.Unproven, " "), "KMS")
			}
			require.Empty(t, r.Stored)
			require.Empty(t, w.stored("one-logs"))
		})
	}
}

// refuse makes the server deny PUTs with the message that f returns; "" means that it does not
// deny.
func (w *wire) refuse(f func(*http.Request) string) {
	w.s3.SetFault(func(q *http.Request) s3server.Fault {
		if q.Method == http.MethodPut {
			if message := f(q); message != "" {
				return s3server.Fault{Status: 403, Code: "AccessDenied", Message: message}
			}
		}
		return s3server.Fault{}
	})
}

// A denial without details is explained by the one changed header that makes the difference.
func TestDenialsAreIsolated(t *testing.T) {
	const plain = "Access Denied"
	const sse, acl, owner = "X-Amz-Server-Side-Encryption", "X-Amz-Acl", "X-Amz-Expected-Bucket-Owner"
	when := func(denied func(*http.Request) bool) func(*http.Request) string {
		return func(q *http.Request) string {
			if denied(q) {
				return plain
			}
			return ""
		}
	}
	withACL := func(d *catalog.Destination) { d.ACL = "bucket-owner-full-control" }
	withoutSSE := func(d *catalog.Destination) { d.ServerSideEncryption = new(bool) }
	for hazard, c := range map[string]struct {
		change     func(*catalog.Destination)
		denied     func(*http.Request) string
		reason     string
		cause, fix string
		statement  string // part of the first statement
		trials     int
	}{
		"aes256_forbidden": {nil, when(func(q *http.Request) bool { return q.Header.Get(sse) != "" }),
			"encryption_contradiction", "server_side_encryption is true", "server_side_encryption: false", "", 1},
		"aes256_demanded": {withoutSSE, when(func(q *http.Request) bool { return q.Header.Get(sse) != "AES256" }),
			"encryption_contradiction", "server_side_encryption is false", "server_side_encryption: true", "", 1},
		"kms_header_demanded": {nil, when(func(q *http.Request) bool { return q.Header.Get(sse) != "aws:kms" }),
			"encryption_contradiction", "demands the header", "SSE-KMS the bucket's default", `"Null"`, 2},
		"kms_header_demanded_setting_off": {withoutSSE, when(func(q *http.Request) bool { return q.Header.Get(sse) != "aws:kms" }),
			"encryption_contradiction", "demands the header", "SSE-KMS the bucket's default", `"Null"`, 2},
		"another_owner": {nil, when(func(q *http.Request) bool { return q.Header.Get(owner) != "" }),
			"wrong_owner", "belongs to another account than 123456789012", "expected_bucket_owner", "", 3},
		"acl": {withACL, when(func(q *http.Request) bool { return q.Header.Get(acl) != "" }),
			"acl_denied", "without it the PUT is accepted", "s3:PutObjectAcl", `"s3:PutObjectAcl"`, 4},
		"prefix": {nil, when(func(q *http.Request) bool { return strings.Contains(q.URL.Path, "/path/") }),
			"prefix_denied", "without the prefix", "arn:aws:s3:::one-logs/path/segment-logs/*", "one-logs/path/segment-logs/*", 5},
		"owner_and_acl": {withACL, when(func(q *http.Request) bool { return q.Header.Get(acl) != "" || q.Header.Get(owner) != "" }),
			"wrong_owner", "and the ACL", "remove acl", `"s3:PutObjectAcl"`, 6},
		"encryption_and_acl": {withACL, when(func(q *http.Request) bool { return q.Header.Get(acl) != "" || q.Header.Get(sse) != "" }),
			"encryption_contradiction", "and the ACL", "remove acl", `"s3:PutObjectAcl"`, 9},
		"all_three": {withACL, when(func(q *http.Request) bool { return len(q.Header.Get(acl)+q.Header.Get(sse)+q.Header.Get(owner)) > 0 }),
			"encryption_contradiction", "and bucket", "remove acl", `"s3:PutObjectAcl"`, 10},
		"no_header_matters_with_role": {withACL, func(*http.Request) string { return plain },
			"put_denied", "it is the same without the headers", "let the role's policy allow s3:PutObject and s3:PutObjectAcl", `"Action":["s3:PutObject","s3:PutObjectAcl"]`, 8},
		"no_header_matters_classic": {func(d *catalog.Destination) { d.RoleARN = "" }, func(*http.Request) string { return plain },
			"put_denied", "it is the same without the headers", "(2) let the IAM policy of Sealift's principal", `"Principal":{"AWS":"arn:aws:iam::000000000000:root"}`, 4},
		"no_header_matters_two_accounts": {func(d *catalog.Destination) { d.ExpectedBucketOwner = "210987654321" }, func(*http.Request) string { return plain },
			"put_denied", "it is the same without the headers", "of another account than the role", `"Principal":{"AWS":"` + roleARN + `"}`, 7},
		"deny_by_network": {nil, func(*http.Request) string {
			return `User: arn:aws:sts::123456789012:assumed-role/logs/sealift is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::one-logs/x" with an explicit deny in a resource-based policy`
		}, "put_denied_explicitly", "it is the same without the headers", "aws:SourceVpce", "", 7},
		"deny_of_kms_by_key": {withoutSSE, func(*http.Request) string {
			return "User: arn:aws:sts::123456789012:assumed-role/logs/sealift is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555 because no identity-based policy allows the kms:GenerateDataKey action"
		}, "kms", "KMS key cannot be used", "the role's policy", "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555", 0},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := newWire(t)
			w.refuse(c.denied)
			puts := w.requests("PutObject")
			r := w.check(w.target(c.change), Options{Write: true})
			require.False(t, r.OK)
			step, v := problem(r)
			require.Equal(t, "put", step)
			require.Equal(t, c.reason, v.Reason, "%+v", r)
			require.Contains(t, v.Cause, c.cause)
			require.Contains(t, v.Fix.String(), c.fix)
			if c.statement != "" {
				require.Contains(t, string(v.Statements[0].JSON), c.statement)
			}
			for _, s := range v.Statements {
				_, err := iam.Parse(kindOf(s), fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":%s}`, s.JSON))
				require.NoError(t, err, s.Where)
			}
			require.Len(t, r.Trials, c.trials)
			require.EqualValues(t, r.Puts, puts())
			require.LessOrEqual(t, r.Puts, 13)
			require.Empty(t, w.stored("one-logs"))
			require.Equal(t, Skipped, r.Steps[len(r.Steps)-1].Status, "nothing is written where the PUT is denied")
		})
	}
}

// kindOf returns the kind of document that a statement is for.
func kindOf(s Statement) iam.Kind {
	switch {
	case strings.Contains(s.Where, "policy of bucket"):
		return iam.Bucket
	case strings.Contains(s.Where, "KMS key"):
		return iam.Key
	case strings.Contains(s.Where, "trust policy"):
		return iam.Trust
	}
	return iam.Identity
}
