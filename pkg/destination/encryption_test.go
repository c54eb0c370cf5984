package destination

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

const header = "s3:x-amz-server-side-encryption"

// When the setting and the bucket's policy contradict each other, a delivery's verdict names both,
// and the fix.
func TestEncryptionAgainstTheBucketsPolicy(t *testing.T) {
	demands := func(how string) iam.Condition {
		return iam.Condition{"StringNotEquals": {header: {how}}}
	}
	for name, c := range map[string]struct {
		sse    bool
		denies iam.Condition
		want   []string // in the fix; nil: the file is delivered
	}{
		"aes256_demanded":              {true, demands("AES256"), nil},
		"kms_demanded_aes256_sent":     {true, demands("aws:kms"), []string{"(server_side_encryption: true)", "demands aws:kms", "set server_side_encryption: false"}},
		"none_allowed_aes256_sent":     {true, iam.Condition{"Null": {header: {"false"}}}, []string{"(server_side_encryption: true)", "set server_side_encryption: false"}},
		"aes256_demanded_none_sent":    {false, demands("AES256"), []string{"(server_side_encryption: false)", "demands AES256", "set server_side_encryption: true"}},
		"header_demanded_none_sent":    {false, iam.Condition{"Null": {header: {"true"}}}, []string{"(server_side_encryption: false)", "demands AES256", "set server_side_encryption: true"}},
		"kms_demanded_none_sent":       {false, demands("aws:kms"), []string{"the header aws:kms, let it pass what names none"}},
		"kms_demanded_if_any_is_named": {false, iam.Condition{"StringNotEquals": {header: {"aws:kms"}}, "Null": {header: {"false"}}}, nil},
	} {
		for account, explained := range map[string]bool{"123456789012": true, "210987654321": false} {
			t.Run(name+"_of_"+account, func(t *testing.T) {
				w := newWire(t)
				target := w.target(func(d *catalog.Destination) { d.ServerSideEncryption, d.ExpectedBucketOwner = &c.sse, account })
				require.NoError(t, w.s3.PutBucket(s3server.Bucket{Name: "one-logs", Owner: account, Policy: &iam.Policy{Version: iam.Version, Statement: []iam.Statement{
					{Effect: iam.Allow, Principal: iam.AWS(roleARN), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{"arn:aws:s3:::one-logs/*"}},
					{Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{"arn:aws:s3:::one-logs/*"}, Condition: c.denies},
				}}}))
				_, err := w.put(target, "1.gz")
				if c.want == nil {
					require.NoError(t, err)
					return
				}
				require.Error(t, err)
				v := Judge(err, target)
				require.Equal(t, Permanent, v.Class)
				if explained {
					require.Equal(t, "put_denied_explicitly", v.Reason)
					require.Contains(t, v.Fix.String(), `the Deny in the policy of bucket "one-logs"`)
				} else { // S3 says no more to other accounts
					require.Equal(t, "put_denied", v.Reason)
					require.Contains(t, v.Fix.String(), "should the bucket's policy deny other encryption")
					require.Contains(t, v.Fix.String(), "sealift destinations check")
				}
				for _, want := range c.want {
					require.Contains(t, v.Fix.String(), want)
				}
			})
		}
	}
}

// SSE-KMS by the bucket's default encryption: the key is used if the setting is off, and silently
// not used if it is on.
func TestEncryptionByTheBucketsDefault(t *testing.T) {
	const key = "arn:aws:kms:us-east-1:123456789012:key/1234"
	consents := func(action string) *iam.Policy {
		return &iam.Policy{Version: iam.Version, Statement: []iam.Statement{{Effect: iam.Allow, Principal: iam.AWS(roleARN), Action: iam.Strings{action}, Resource: iam.Strings{"*"}}}}
	}
	w, on, off := newWire(t), true, false
	require.NoError(t, w.s3.PutBucket(s3server.Bucket{Name: "one-logs", Owner: "123456789012", Key: key}))
	require.NoError(t, w.s3.PutKey(s3server.Key{ARN: key, Policy: consents("kms:GenerateDataKey")}))
	uses := w.requests("GenerateDataKey")
	with := func(setting *bool) catalog.Target {
		return w.target(func(d *catalog.Destination) { d.ServerSideEncryption = setting })
	}
	_, err := w.put(with(&off), "1.gz")
	require.NoError(t, err)
	require.EqualValues(t, 1, uses())
	_, err = w.put(with(&on), "2.gz")
	require.NoError(t, err)
	require.EqualValues(t, 1, uses(), "S3's own key")

	require.NoError(t, w.s3.PutKey(s3server.Key{ARN: key, Policy: consents("kms:Decrypt")}))
	_, err = w.put(with(&off), "3.gz")
	v := Judge(err, with(&off))
	require.Equal(t, "kms", v.Reason)
	require.Contains(t, v.Cause, key, "the denial does not name the key")
	require.Len(t, v.Statements, 1)
	require.Contains(t, string(v.Statements[0].JSON), `"Action":"kms:GenerateDataKey"`)
}
