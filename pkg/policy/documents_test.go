package policy_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/policy"
)

// Options that cannot work are refused, with the fix.
func TestContradictions(t *testing.T) {
	role := scenario{partition: "aws"}
	for hazard, c := range map[string]struct {
		s      scenario
		change func(*catalog.Target, *policy.Options)
		want   string
	}{
		"no_principal":           {role, func(_ *catalog.Target, o *policy.Options) { o.Principal = "" }, `principal "" is not the ARN`},
		"principal_is_a_name":    {role, func(_ *catalog.Target, o *policy.Options) { o.Principal = "sealift" }, "write it like arn:aws:iam::123456789012:role/sealift"},
		"principal_is_everyone":  {role, func(_ *catalog.Target, o *policy.Options) { o.Principal = "*" }, "is not the ARN"},
		"principal_is_a_pattern": {role, func(_ *catalog.Target, o *policy.Options) { o.Principal = "arn:aws:iam::999999999999:role/*" }, "is not the ARN"},
		"role_of_china":          {role, func(tt *catalog.Target, _ *policy.Options) { tt.RoleARN = "arn:aws-cn:iam::123456789012:role/r" }, "different partitions"},
		"bucket_in_china":        {scenario{partition: "aws", classic: true}, func(tt *catalog.Target, _ *policy.Options) { tt.Region = "cn-north-1" }, "not in the partition aws"},
		"key_that_is_not_used":   {scenario{partition: "aws"}, func(_ *catalog.Target, o *policy.Options) { o.KMSKey = "arn:aws:kms:eu-west-1:123456789012:key/x" }, "server_side_encryption: false"},
		"key_is_an_alias":        {scenario{partition: "aws", kms: true}, func(_ *catalog.Target, o *policy.Options) { o.KMSKey = "arn:aws:kms:eu-west-1:123456789012:alias/logs" }, "describe-key"},
		"key_is_an_id":           {scenario{partition: "aws", kms: true}, func(_ *catalog.Target, o *policy.Options) { o.KMSKey = keyID }, "is not the ARN of a KMS key"},
		"key_of_china":           {scenario{partition: "aws", kms: true}, func(_ *catalog.Target, o *policy.Options) { o.KMSKey = "arn:aws-cn:kms:cn-north-1:123456789012:key/x" }, "not in the partition"},
		"enforce_without_key":    {scenario{partition: "aws", kms: true}, func(_ *catalog.Target, o *policy.Options) { o.KMSKey, o.EnforceEncryption = "", true }, "name the key"},
		"prefix_is_a_pattern":    {role, func(tt *catalog.Target, _ *policy.Options) { tt.Prefix = "a*" }, "patterns to IAM"},
		"refused_by_the_catalog": {role, func(tt *catalog.Target, _ *policy.Options) { tt.RefusalReason = "two workspaces have it" }, "two workspaces have it"},
	} {
		t.Run(hazard, func(t *testing.T) {
			target, o := c.s.target(t), c.s.options()
			c.change(&target, &o)
			_, err := policy.NewSet(target, o)
			require.ErrorIs(t, err, policy.ErrContradiction)
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestParsePrincipal(t *testing.T) {
	for arn, want := range map[string]policy.Principal{
		"arn:aws:iam::123456789012:role/team/sealift":                    {ARN: "arn:aws:iam::123456789012:role/team/sealift"},
		"arn:aws-cn:iam::123456789012:user/s3-copy":                      {ARN: "arn:aws-cn:iam::123456789012:user/s3-copy"},
		"arn:aws:iam::123456789012:root":                                 {ARN: "arn:aws:iam::123456789012:root"},
		"arn:aws-us-gov:sts::123456789012:assumed-role/sealift/i-0abc12": {ARN: "arn:aws-us-gov:iam::123456789012:role/sealift", Session: "arn:aws-us-gov:sts::123456789012:assumed-role/sealift/i-0abc12"},
	} {
		got, err := policy.ParsePrincipal(arn)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{"", "123456789012", "arn:aws:sts::123456789012:federated-user/me", "arn:aws:iam::123456789012:group/x", "arn:aws:s3:::b"} {
		_, err := policy.ParsePrincipal(bad)
		require.Error(t, err, bad)
	}
}

// The ARN of a session has the same effect as that of its role.
func TestNewSetAcceptsASession(t *testing.T) {
	s := scenario{partition: "aws"}
	o := s.options()
	o.Principal = "arn:aws:sts::999999999999:assumed-role/sealift/i-1"
	set, err := policy.NewSet(s.target(t), o)
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::999999999999:role/sealift", set.Documents[0].Policy.Statement[0].Principal.AWS[0])
}

// The partition of a classic destination without a region is the operator's.
func TestClassicWithoutARegion(t *testing.T) {
	s := scenario{partition: "aws-cn", classic: true}
	target := s.target(t)
	target.Region = ""
	set, err := policy.NewSet(target, s.options())
	require.NoError(t, err)
	require.Equal(t, "arn:aws-cn:s3:::acme-logs/segment-logs/*", set.Documents[0].Policy.Statement[0].Resource[0])
}

// Statements of several destinations can be in one policy.
func TestStatementSidsAreUnique(t *testing.T) {
	s := scenario{partition: "aws", classic: true}
	seen := map[string]bool{}
	for _, name := range []string{"acme-prod", "acme-test", "acmeprod", "a-c-m-e", "1", "a-2", "a2", "a--2", "a2-"} {
		for _, workspace := range []string{"ws_customer00000001", "ws_customer00000002"} {
			target := s.target(t)
			target.Name, target.Workspace, target.ID = name, workspace, workspace+"/"+name
			set, err := policy.NewSet(target, s.options())
			require.NoError(t, err)
			sid := set.Documents[0].Policy.Statement[0].Sid
			require.Regexp(t, `^[A-Za-z0-9]+$`, sid)
			require.False(t, seen[sid], sid)
			seen[sid] = true
		}
	}
}
