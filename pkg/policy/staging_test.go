package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

// What a role may not do, whatever it is asked to do: nobody can forge the ledger with another
// role's credentials, and nobody can delete it.
func TestStagingIsIsolated(t *testing.T) {
	s := policy.Staging{
		Bucket: "acme-staging", Prefix: "/eu/", Region: "eu-west-1", KMSKey: "arn:aws:kms:eu-west-1:123456789012:key/" + keyID,
		Assume: []string{"arn:aws:iam::*:role/segment-logs"}, Classic: []string{"acme-logs"},
	}
	const staging, role = "arn:aws:s3:::acme-staging/eu/", "arn:aws:iam::111111111111:role/"
	for hazard, c := range map[string]struct {
		action, resource string
		allowed          string // for these roles
	}{
		"write_the_ledger":        {"s3:PutObject", staging + "ledger/x", "appender all"},
		"stage_a_file":            {"s3:PutObject", staging + "data/x", "appender all"},
		"read_a_staged_file":      {"s3:GetObject", staging + "data/x", "copier all"},
		"delete_a_staged_file":    {"s3:DeleteObject", staging + "data/x", "auditor all"},
		"write_a_receipt":         {"s3:PutObject", staging + "receipts/x", "copier all"},
		"delete_a_receipt":        {"s3:DeleteObject", staging + "receipts/x", ""},
		"delete_the_ledger":       {"s3:DeleteObject", staging + "ledger/x", ""},
		"delete_a_replay":         {"s3:DeleteObject", staging + "replays/r/order.json", "auditor all"},
		"another_prefix":          {"s3:GetObject", "arn:aws:s3:::acme-staging/us/ledger/x", ""},
		"outside_of_the_prefix":   {"s3:PutObject", "arn:aws:s3:::acme-staging/ledger/x", ""},
		"another_bucket":          {"s3:ListBucket", "arn:aws:s3:::acme-staging-2", ""},
		"assume_a_role":           {"sts:AssumeRole", role + "segment-logs", "copier all"},
		"assume_another_role":     {"sts:AssumeRole", role + "admin", ""},
		"put_into_a_bucket":       {"s3:PutObject", "arn:aws:s3:::acme-logs/segment-logs/x", "copier all"},
		"read_a_customers_bucket": {"s3:GetObject", "arn:aws:s3:::acme-logs/segment-logs/x", ""},
		"change_the_bucket":       {"s3:PutBucketPolicy", "arn:aws:s3:::acme-staging", ""},
		"delete_the_key":          {"kms:ScheduleKeyDeletion", "arn:aws:kms:eu-west-1:123456789012:key/" + keyID, ""},
	} {
		for _, who := range policy.StagingRoles {
			t.Run(hazard+"/"+string(who), func(t *testing.T) {
				p, err := s.Policy(who)
				require.NoError(t, err)
				const account = "123456789012"
				got := iam.Evaluate(
					iam.Request{Caller: iam.Caller{Account: account, ARN: "arn:aws:iam::" + account + ":user/x"}, Action: c.action, Resource: c.resource, Owner: account},
					iam.Policies{Identity: []*iam.Policy{&p}, Kind: iam.Bucket},
				)
				require.Equal(t, strings.Contains(" "+c.allowed+" ", " "+string(who)+" "), got.Allowed)
			})
		}
	}
}

func TestStagingRefusesPatterns(t *testing.T) {
	for hazard, c := range map[string]struct {
		s    policy.Staging
		want string
	}{
		"bucket_is_a_pattern":  {policy.Staging{Bucket: "acme-*"}, "not the name of a bucket"},
		"prefix_is_a_pattern":  {policy.Staging{Bucket: "acme", Prefix: "a?"}, "staging.prefix"},
		"prefix_is_a_variable": {policy.Staging{Bucket: "acme", Prefix: "${aws:username}"}, "staging.prefix"},
		"classic_is_a_pattern": {policy.Staging{Bucket: "acme", Classic: []string{"*"}}, "not the name of a bucket"},
		"assume_everything":    {policy.Staging{Bucket: "acme", Assume: []string{"*"}}, "not the ARN of a role"},
		"key_is_an_alias":      {policy.Staging{Bucket: "acme", KMSKey: "alias/x"}, "not the ARN of a KMS key"},
	} {
		t.Run(hazard, func(t *testing.T) {
			_, err := c.s.Render(policy.Copier, policy.JSON)
			require.ErrorIs(t, err, policy.ErrContradiction)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Each policy is a document that IAM accepts, within its limit for a managed policy.
func TestStagingFormats(t *testing.T) {
	s := policy.Staging{Bucket: "acme", Region: "cn-north-1"}
	for _, role := range policy.StagingRoles {
		for _, f := range policy.StagingFormats {
			text, err := s.Render(role, f)
			require.NoError(t, err)
			require.Contains(t, text, "arn:aws-cn:s3:::acme/")
			if f == policy.JSON {
				_, err := iam.Parse(iam.Identity, []byte(text))
				require.NoError(t, err)
				require.Less(t, len(strings.Join(strings.Fields(text), "")), 6144)
			}
		}
	}
}
