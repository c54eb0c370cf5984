package destination_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/s3server/awstest"
)

func checkWorld(t *testing.T, w *awstest.World, o destination.Options) destination.Report {
	roles := w.Roles()
	c := &destination.Checker{STS: roles, Putter: destination.NewPutter(destination.Config{Roles: roles, Open: w.Open, Pause: time.Microsecond})}
	o.Sources = []string{awstest.SourceID}
	return c.Check(t.Context(), w.Target(), o)
}

// fixText is what a fix contains if it is about what has to be mended.
var fixText = map[awstest.Remedy]string{
	awstest.TrustPolicy: "trust policy of role " + awstest.RoleARN, awstest.RolePolicy: "role", awstest.BucketPolicy: `bucket "` + awstest.BucketName + `"`,
	awstest.BucketSetting: "default encryption", awstest.KeyPolicy: "key", awstest.KeyState: "default encryption", awstest.CatalogEntry: "",
	awstest.OperatorPolicy: "Sealift's principal", awstest.OperatorKey: "credentials", awstest.STSSetting: "activate STS in us-east-1",
	awstest.Account: "AWS", awstest.Transport: "aws:SecureTransport", awstest.Nothing: "if it lasts",
}

// reasons are those of hazards whose cause is determined for certain, even if AWS's answer says
// less or nothing.
var reasons = map[string]string{
	"trust_without_condition": "role_open", "trust_external_id_by_pattern": "role_open", "trust_external_id_if_exists": "role_open", "trust_of_everyone_without_condition": "role_open",
	"role_wrong_prefix": "prefix_denied", "classic_bucket_policy_wrong_prefix": "prefix_denied",
	"role_lacks_put_acl": "acl_denied", "classic_bucket_policy_lacks_put_acl": "acl_denied", "bucket_forbids_acls": "acl_denied", "bucket_denies_put_acl": "acl_denied",
	"bucket_demands_an_acl": "acl_demanded", "acl_unsupported": "acl_unsupported",
	"expected_owner_is_another_account": "wrong_owner", "bucket_missing": "no_bucket",
	"bucket_demands_kms_header": "encryption_contradiction", "bucket_demands_kms_header_none_sent": "encryption_contradiction", "bucket_demands_aes256_header": "encryption_contradiction",
	"bucket_demands_any_encryption_header": "encryption_contradiction", "bucket_demands_no_encryption_header": "encryption_contradiction",
	"classic_bucket_demands_kms_header": "encryption_contradiction", "wrong_region_400_location": "",
}

// Every refusal of the AWS double is explained: the verdict names what has to be mended, nothing is
// stored, and once it is mended a file is delivered.
func TestEveryHazardIsExplained(t *testing.T) {
	explained := 0
	for _, d := range awstest.Denials() {
		t.Run(d.Name, func(t *testing.T) {
			w := d.Open(t)
			r := checkWorld(t, w, destination.Options{})
			require.Zero(t, w.Server.BucketRequests(awstest.BucketName)["GetObject"])
			require.Empty(t, r.Stored)
			if d.FollowsRegion || d.Name == "classic_owner_cannot_read" {
				require.True(t, r.OK, "%+v", r)
				if d.Name == "classic_owner_cannot_read" {
					require.Contains(t, strings.Join(r.Unproven, " "), "Object Ownership")
				}
				return
			}
			require.False(t, r.OK)
			var v *destination.Verdict
			for _, s := range r.Steps {
				if s.Problem != nil {
					v = s.Problem
				}
			}
			require.NotEmpty(t, v.Cause)
			require.Contains(t, v.Fix.String(), fixText[d.Remedy], "%+v", v)
			if want := reasons[d.Name]; want != "" {
				require.Equal(t, want, v.Reason, "%+v", v)
			}
			w.Repair()
			r = checkWorld(t, w, destination.Options{Write: true})
			require.True(t, r.OK, "%+v", r)
			require.Len(t, r.Stored, 1)
			explained++
		})
	}
	t.Logf("%d denials explained", explained)
}

func TestSoundWorldsPass(t *testing.T) {
	for _, s := range awstest.Setups() {
		t.Run(string(s), func(t *testing.T) {
			w := awstest.OpenSound(t, s)
			r := checkWorld(t, w, destination.Options{})
			require.True(t, r.OK, "%+v", r)
			require.EqualValues(t, r.Puts, w.Server.BucketRequests(awstest.BucketName)["PutObject"])
			require.Empty(t, r.Stored)
			require.True(t, checkWorld(t, w, destination.Options{Write: true}).OK)
		})
	}
}
