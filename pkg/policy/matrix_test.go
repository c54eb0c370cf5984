package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

// Accounts of the tests: the operator's, the customer's, and a second one of the customer's.
const (
	operatorAccount = "999999999999"
	customerAccount = "123456789012"
	secondAccount   = "210987654321"

	workspaceID = "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
	prefix      = "it's/year=2026" // with characters that a shell would interpret
	keyID       = "1234abcd-12ab-34cd-56ef-1234567890ab"
)

// regions contains one region of each partition.
var regions = map[string]string{"aws": "eu-west-1", "aws-cn": "cn-north-1", "aws-us-gov": "us-gov-west-1"}

// scenario is one cell of the matrix of cases for which documents are written.
type scenario struct {
	name      string
	partition string
	classic   bool
	elsewhere bool // the bucket belongs to another account than the role
	kms       bool
	foreign   bool // the key belongs to another account than the role or the bucket
	acl       bool
	prefix    bool
	enforce   bool
	secure    bool
}

func (s scenario) region() string { return regions[s.partition] }

func (s scenario) arn(rest string) string { return "arn:" + s.partition + ":" + rest }

func (s scenario) operator() string { return s.arn("iam::" + operatorAccount + ":user/team/sealift") }

func (s scenario) key() string {
	if !s.kms {
		return ""
	}
	account := customerAccount
	if s.foreign {
		account = secondAccount
	}
	return s.arn("kms:" + s.region() + ":" + account + ":key/" + keyID)
}

func (s scenario) options() policy.Options {
	return policy.Options{Principal: s.operator(), KMSKey: s.key(), EnforceEncryption: s.enforce, SecureTransport: s.secure}
}

func (s scenario) target(t testing.TB) catalog.Target {
	sse := !s.kms
	d := catalog.Destination{
		Name: "acme-prod", Sources: []string{"web"}, Bucket: "acme-logs", Region: s.region(), ServerSideEncryption: &sse,
		RoleARN: s.arn("iam::" + customerAccount + ":role/team/segment-logs"), ExpectedBucketOwner: customerAccount,
	}
	if s.classic {
		d.RoleARN = ""
	}
	if s.elsewhere {
		d.ExpectedBucketOwner = secondAccount
	}
	if s.acl {
		d.ACL = "bucket-owner-full-control"
	}
	if s.prefix {
		d.Bucket += "/" + prefix
	}
	snapshot, err := catalog.NewSnapshot([]catalog.Workspace{{ID: workspaceID, Sources: []catalog.Source{{ID: "web"}, {ID: "ios"}}, Destinations: []catalog.Destination{d}}})
	require.NoError(t, err)
	target, ok := snapshot.Destination(workspaceID + "/acme-prod")
	require.True(t, ok)
	return target
}

func (s scenario) write(t testing.TB) policy.Set {
	set, err := policy.NewSet(s.target(t), s.options())
	require.NoError(t, err, s.name)
	return set
}

// matrix returns all combinations.
func matrix() []scenario {
	flags := []struct {
		name string
		set  func(*scenario)
		fits func(scenario) bool
	}{
		{"classic", func(s *scenario) { s.classic = true }, nil},
		{"elsewhere", func(s *scenario) { s.elsewhere = true }, func(s scenario) bool { return !s.classic }},
		{"kms", func(s *scenario) { s.kms = true }, nil},
		{"foreign", func(s *scenario) { s.foreign = true }, func(s scenario) bool { return s.kms }},
		{"acl", func(s *scenario) { s.acl = true }, nil},
		{"prefix", func(s *scenario) { s.prefix = true }, nil},
		{"enforce", func(s *scenario) { s.enforce = true }, nil},
		{"secure", func(s *scenario) { s.secure = true }, nil},
	}
	var out []scenario
	for _, partition := range []string{"aws", "aws-cn", "aws-us-gov"} {
		for bits := range 1 << len(flags) {
			s := scenario{partition: partition}
			names, fits := []string{partition}, true
			for i, f := range flags {
				if bits&(1<<i) != 0 {
					fits = fits && (f.fits == nil || f.fits(s))
					f.set(&s)
					names = append(names, f.name)
				}
			}
			if s.name = strings.Join(names, "_"); fits {
				out = append(out, s)
			}
		}
	}
	return out
}

// sample are cells that together show everything; each is written in all formats.
var sample = []string{"aws", "aws_elsewhere_kms_acl_prefix_enforce_secure", "aws-cn_classic_acl_prefix_enforce", "aws-us-gov_classic_kms_foreign_enforce"}

func TestMatrixIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range matrix() {
		require.False(t, seen[s.name])
		seen[s.name] = true
	}
	require.Len(t, seen, 3*3*3*16, "partitions; role, role elsewhere, classic; SSE-S3, key, foreign key; ACL, prefix, enforce, secure")
	for _, name := range sample {
		require.True(t, seen[name], name)
	}
}

// The documents of the cells, one per line; all are valid for AWS.
func TestDocumentsGolden(t *testing.T) {
	kinds := map[policy.Kind]iam.Kind{policy.Trust: iam.Trust, policy.Role: iam.Identity, policy.Bucket: iam.Bucket, policy.KMS: iam.Key}
	var b strings.Builder
	for _, s := range matrix() {
		shown := !s.elsewhere && !s.foreign && !s.secure // otherwise the file would be five times as large
		if shown {
			fmt.Fprintf(&b, "%s\n", s.name)
		}
		for _, d := range s.write(t).Documents {
			require.NoError(t, d.Policy.Validate(kinds[d.Kind]), "%s %s", s.name, d.Kind)
			require.LessOrEqual(t, len(oneLine(t, d.Policy)), kinds[d.Kind].MaxBytes())
			if shown {
				fmt.Fprintf(&b, "  %-6s %s\n", d.Kind, oneLine(t, d.Policy))
			}
		}
	}
	goldentest.Equal(t, "testdata/documents.golden", []byte(b.String()))
}
