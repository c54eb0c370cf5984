package destination

import (
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const (
	ownARN    = "arn:aws:iam::999999999999:user/sealift"
	customer  = "123456789012"
	stranger  = "210987654321"
	keyARN    = "arn:aws:kms:us-east-1:" + customer + ":key/11111111-2222-3333-4444-555555555555"
	foreign   = "arn:aws:kms:us-east-1:" + stranger + ":key/99999999-2222-3333-4444-555555555555"
	objects   = "arn:aws:s3:::acme-logs/segment-logs/*"
	encrypted = "s3:x-amz-server-side-encryption"
)

// account is everything that decides about a destination at AWS. It starts out correct.
type account struct {
	own, role, trust, bucket, key []iam.Statement
	noRole, noBucket, noKey       bool
	b                             s3server.Bucket
	keyState                      s3server.KeyState
	keyID                         string
	roleFault                     s3server.Fault
	noSTS                         bool
	arn, secret                   string
	d                             catalog.Destination
}

func allow(actions []string, resource string) iam.Statement {
	return iam.Statement{Effect: iam.Allow, Action: actions, Resource: iam.Strings{resource}}
}

func deny(sid string, c iam.Condition) iam.Statement {
	return iam.Statement{Sid: sid, Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{"arn:aws:s3:::acme-logs/*"}, Condition: c}
}

func withRole() *account {
	return &account{
		own:  []iam.Statement{allow([]string{"sts:AssumeRole"}, "*")},
		role: []iam.Statement{allow([]string{"s3:PutObject"}, objects), allow([]string{"kms:GenerateDataKey", "kms:Decrypt"}, keyARN)},
		trust: []iam.Statement{{Effect: iam.Allow, Principal: iam.AWS(ownARN), Action: iam.Strings{"sts:AssumeRole"},
			Condition: iam.Condition{"StringEquals": {"sts:ExternalId": {workspace}}}}},
		// As AWS creates it: the account's policies decide.
		key: []iam.Statement{{Effect: iam.Allow, Principal: iam.AWS("arn:aws:iam::" + customer + ":root"), Action: iam.Strings{"kms:*"}, Resource: iam.Strings{"*"}}},
		b:   s3server.Bucket{Name: "acme-logs", Owner: customer}, keyID: keyARN, arn: ownARN, secret: "ownsecret",
		d: catalog.Destination{Name: "acme", Sources: []string{"web", "ios"}, Bucket: "acme-logs", RoleARN: roleARN},
	}
}

func classic() *account {
	a := withRole()
	a.d.RoleARN = ""
	a.own = []iam.Statement{allow([]string{"s3:PutObject"}, "*"), allow([]string{"kms:GenerateDataKey", "kms:Decrypt"}, "*")}
	a.bucket = []iam.Statement{{Effect: iam.Allow, Principal: iam.AWS(ownARN), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{objects}}}
	return a
}

func document(s []iam.Statement) *iam.Policy {
	if len(s) == 0 {
		return nil
	}
	return &iam.Policy{Version: iam.Version, Statement: s}
}

// open starts a server with the account's state, and returns a checker for it.
func (a *account) open(t *testing.T) (*s3server.Server, *Checker) {
	s3, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "SERVERKEY", SecretKey: "serversecret", Region: "us-east-1"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s3.Close()) })
	web := httptest.NewServer(s3)
	t.Cleanup(web.Close)
	policies := func(s []iam.Statement) []*iam.Policy {
		if d := document(s); d != nil {
			return []*iam.Policy{d}
		}
		return nil
	}
	require.NoError(t, s3.PutUser(s3server.User{ARN: a.arn, AccessKey: "AKIAOWN", SecretKey: "ownsecret", Policies: policies(a.own)}))
	if !a.noRole {
		require.NoError(t, s3.PutRole(s3server.Role{ARN: roleARN, Trust: document(a.trust), Policies: policies(a.role), Fault: a.roleFault}))
	}
	if !a.noKey {
		require.NoError(t, s3.PutKey(s3server.Key{ARN: a.keyID, Policy: document(a.key), State: a.keyState}))
	}
	if !a.noBucket {
		a.b.Policy = document(a.bucket)
		require.NoError(t, s3.PutBucket(a.b))
	}
	if a.noSTS {
		s3.DisableSTS("us-east-1")
	}
	roles, open := clientsOf(web, objstore.Credentials{AccessKeyID: "AKIAOWN", SecretAccessKey: secret.New(a.secret)})
	return s3, &Checker{STS: roles, Putter: NewPutter(Config{Roles: roles, Open: open, Pause: time.Microsecond})}
}

func (a *account) check(t *testing.T, o Options) (*s3server.Server, Report) {
	s3, c := a.open(t)
	s, err := catalog.NewSnapshot([]catalog.Workspace{{ID: workspace, Sources: []catalog.Source{{ID: "web"}, {ID: "ios"}}, Destinations: []catalog.Destination{a.d}}})
	require.NoError(t, err)
	target, _ := s.Destination(workspace + "/acme")
	o.Sources = a.d.Sources
	return s3, c.Check(t.Context(), target, o)
}

// add adds the statements that a verdict proposes to the documents that they are for.
func (a *account) add(t *testing.T, v Verdict) {
	require.NotEmpty(t, v.Statements, "%+v", v)
	for _, s := range v.Statements {
		p, err := iam.Parse(kindOf(s), fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":%s}`, strings.ReplaceAll(string(s.JSON), placeholderKey, a.keyID)))
		require.NoError(t, err)
		add := p.Statement[0]
		switch {
		case strings.Contains(s.Where, "policy of bucket"):
			if strings.Contains(s.Where, "for the present Deny") {
				a.bucket = slices.DeleteFunc(a.bucket, func(s iam.Statement) bool { return s.Effect == iam.Deny })
			}
			a.bucket = append(a.bucket, add)
		case strings.Contains(s.Where, "KMS key"):
			a.key = append(a.key, add)
		case strings.Contains(s.Where, "trust policy"):
			a.trust = []iam.Statement{add}
		case strings.Contains(s.Where, "Sealift's principal"):
			a.own = append(a.own, add)
		default:
			a.role = append(a.role, add)
		}
	}
}

// Every denial of the AWS double is explained, and once the fix is applied, files are delivered. A
// case without a mend of its own is mended by exactly the statements that the verdict proposes.
func TestEveryDenialIsExplainedAndTheFixHelps(t *testing.T) {
	t.Parallel()
	withKMS := func(a *account) {
		a.b.Key, a.d.ServerSideEncryption = keyARN, new(bool)
	}
	off := func(a *account) { a.d.ServerSideEncryption = new(bool) }
	on := func(a *account) { a.d.ServerSideEncryption = nil }
	undeny := func(a *account) {
		for _, list := range []*[]iam.Statement{&a.bucket, &a.role, &a.own, &a.key, &a.trust} {
			*list = slices.DeleteFunc(*list, func(s iam.Statement) bool { return s.Effect == iam.Deny })
		}
	}
	for hazard, c := range map[string]struct {
		of     func() *account
		spoil  func(*account)
		step   string
		reason string
		cause  string
		fix    string
		mend   func(*account) // nil: by the statements
	}{
		// The role.
		"role_missing":           {withRole, func(a *account) { a.noRole = true }, "role", "role_denied", "sts:AssumeRole", "check that the role exists", func(a *account) { a.noRole = false }},
		"trust_names_another":    {withRole, func(a *account) { a.trust[0].Principal = iam.AWS("arn:aws:iam::" + stranger + ":user/other") }, "role", "role_denied", workspace, "let the trust policy of role", nil},
		"trust_wants_another_id": {withRole, func(a *account) { a.trust[0].Condition["StringEquals"]["sts:ExternalId"] = iam.Strings{"ws_other"} }, "role", "role_denied", workspace, "sts:ExternalId = \"" + workspace + `"`, nil},
		"trust_denies": {withRole, func(a *account) {
			a.trust = append(a.trust, iam.Statement{Effect: iam.Deny, Principal: iam.AWS(ownARN), Action: iam.Strings{"sts:AssumeRole"}})
		}, "role", "role_denied", "sts:AssumeRole", "trust policy", undeny},
		"own_policy_lacks_assume": {withRole, func(a *account) { a.own = []iam.Statement{allow([]string{"s3:ListBucket"}, "*")} }, "role", "role_denied", "sts:AssumeRole", "let the policy of Sealift's principal " + ownARN, nil},
		"own_policy_denies_assume": {withRole, func(a *account) {
			a.own = append(a.own, iam.Statement{Effect: iam.Deny, Action: iam.Strings{"sts:*"}, Resource: iam.Strings{roleARN}})
		}, "role", "role_denied", "sts:AssumeRole", "let the policy of", undeny},
		"trust_without_id":   {withRole, func(a *account) { a.trust[0].Condition = nil }, "external id", "role_open", "without its external id", "add to the statement", nil},
		"trust_takes_any_id": {withRole, func(a *account) { a.trust[0].Condition = iam.Condition{"StringLike": {"sts:ExternalId": {"ws_*"}}} }, "external id", "role_open", "with a wrong external id", "add to the statement", nil},
		"trust_takes_none_if_exists": {withRole, func(a *account) {
			a.trust[0].Condition = iam.Condition{"StringEqualsIfExists": {"sts:ExternalId": {workspace}}}
		}, "external id", "role_open", "without an external id", "add to the statement", nil},
		"own_principal_is_root":    {withRole, func(a *account) { a.arn = "arn:aws:iam::999999999999:root" }, "role", "role_denied", "root accounts", "run Sealift as a user or a role", func(a *account) { a.arn = ownARN }},
		"own_secret_wrong":         {withRole, func(a *account) { a.secret = "wrong" }, "credentials", "own_credentials", "SignatureDoesNotMatch", "aws sts get-caller-identity", func(a *account) { a.secret = "ownsecret" }},
		"sts_off_in_the_region":    {withRole, func(a *account) { a.noSTS = true }, "role", "sts_region_disabled", "us-east-1", "activate STS in us-east-1", func(a *account) { a.noSTS = false }},
		"sts_throttles":            {withRole, func(a *account) { a.roleFault = s3server.Throttling }, "role", "sts_unavailable", "Throttling", "if it lasts", func(a *account) { a.roleFault = s3server.Fault{} }},
		"session_policy_too_large": {withRole, func(a *account) { a.roleFault = s3server.PackedPolicyTooLarge }, "role", "policy_too_large", "PackedPolicyTooLarge", "shorten the path prefix", func(a *account) { a.roleFault = s3server.Fault{} }},

		// The PUT of a role in the bucket's account.
		"role_without_policy":      {withRole, func(a *account) { a.role = nil }, "put", "put_denied", "no identity-based policy allows", "let the role's policy allow s3:PutObject on " + objects, nil},
		"role_for_another_bucket":  {withRole, func(a *account) { a.role[0].Resource = iam.Strings{"arn:aws:s3:::acme-log/segment-logs/*"} }, "put", "put_denied", "no identity-based policy allows", objects, nil},
		"role_without_star":        {withRole, func(a *account) { a.role[0].Resource = iam.Strings{"arn:aws:s3:::acme-logs"} }, "put", "put_denied", "no identity-based policy allows", objects, nil},
		"role_for_no_prefix":       {withRole, func(a *account) { a.d.Bucket = "acme-logs/path/prefix" }, "put", "prefix_denied", "without the prefix the PUT is accepted", "acme-logs/path/prefix/segment-logs/*", nil},
		"role_for_one_folder":      {withRole, func(a *account) { a.role[0].Resource = iam.Strings{"arn:aws:s3:::acme-logs/segment-logs/web/*"} }, "put", "folder_denied", "the folders of sources web, and not those of ios", objects, nil},
		"role_without_acl":         {withRole, func(a *account) { a.d.ACL, a.b.Ownership = "bucket-owner-full-control", s3server.PreferOwner }, "put", "acl_denied", "without it the PUT is accepted", "s3:PutObjectAcl", nil},
		"role_without_acl_removed": {withRole, func(a *account) { a.d.ACL, a.b.Ownership = "bucket-owner-full-control", s3server.PreferOwner }, "put", "acl_denied", "without it", "remove acl", func(a *account) { a.d.ACL = "" }},
		"acls_off": {withRole, func(a *account) {
			a.d.ACL = "bucket-owner-read"
			a.role[0].Action = iam.Strings{"s3:PutObject", "s3:PutObjectAcl"}
		}, "put", "acl_unsupported", "does not allow ACLs", "remove acl", func(a *account) { a.d.ACL = "" }},
		"role_denies": {withRole, func(a *account) {
			a.role = append(a.role, iam.Statement{Effect: iam.Deny, Action: iam.Strings{"s3:*"}, Resource: iam.Strings{"*"}})
		}, "put", "put_denied_explicitly", "explicit deny in an identity-based policy", "in the policies of the role", undeny},
		"bucket_denies_address": {withRole, func(a *account) {
			a.bucket = []iam.Statement{deny("", iam.Condition{"NotIpAddress": {"aws:SourceIp": {"203.0.113.0/24"}}})}
		}, "put", "put_denied_explicitly", "it is the same without the headers", "aws:SourceIp", undeny},
		"bucket_denies_plain_http": {withRole, func(a *account) {
			a.bucket = []iam.Statement{deny("", iam.Condition{"Bool": {"aws:SecureTransport": {"false"}}})}
		}, "put", "put_denied_explicitly", "it is the same without the headers", "aws:SecureTransport", undeny},
		"bucket_denies_other_accounts": {withRole, func(a *account) {
			a.bucket = []iam.Statement{deny("", iam.Condition{"StringNotEquals": {"aws:PrincipalAccount": {stranger}}})}
		}, "put", "put_denied_explicitly", "it is the same without the headers", "except the role " + roleARN, undeny},
		"bucket_of_another_account": {withRole, func(a *account) { a.b.Owner = stranger }, "put", "put_denied", "it is the same without the headers", "let the role's policy allow", func(a *account) { a.b.Owner = customer }},
		"bucket_of_another_that_allows": {withRole, func(a *account) {
			a.b.Owner = stranger
			a.bucket = []iam.Statement{{Effect: iam.Allow, Principal: iam.AWS(roleARN), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{objects}}}
		}, "put", "wrong_owner", "belongs to another account than " + customer, "expected_bucket_owner", func(a *account) { a.d.ExpectedBucketOwner = stranger }},
		"bucket_of_another_on_purpose": {withRole, func(a *account) { a.b.Owner, a.d.ExpectedBucketOwner = stranger, stranger }, "put", "put_denied", "it is the same without the headers", "the bucket is of another account than the role", nil},
		"no_bucket":                    {withRole, func(a *account) { a.noBucket = true }, "put", "no_bucket", "does not exist", "create the bucket", func(a *account) { a.noBucket = false }},
		"bucket_throttles":             {withRole, func(a *account) { a.b.Fault = s3server.SlowDown }, "put", "throttled", "SlowDown", "copier.per_destination", func(a *account) { a.b.Fault = s3server.Fault{} }},
		"account_suspended":            {withRole, func(a *account) { a.b.Fault = s3server.AccountProblem }, "put", "account", "AccountProblem", "AWS", func(a *account) { a.b.Fault = s3server.Fault{} }},
		"access_disabled":              {withRole, func(a *account) { a.b.Fault = s3server.AllAccessDisabled }, "put", "account", "AllAccessDisabled", "AWS", func(a *account) { a.b.Fault = s3server.Fault{} }},
		"token_expires":                {withRole, func(a *account) { a.b.Fault = s3server.ExpiredToken }, "put", "token_expired", "expired", "clock", func(a *account) { a.b.Fault = s3server.Fault{} }},

		// Encryption.
		"aes256_forbidden": {withRole, func(a *account) {
			a.b.Key = keyARN
			a.bucket = []iam.Statement{deny("OnlyDefault", iam.Condition{"Null": {encrypted: {"false"}}})}
		}, "put", "encryption_contradiction", "server_side_encryption is true", "server_side_encryption: false", off},
		"aes256_demanded": {withRole, func(a *account) {
			off(a)
			a.bucket = []iam.Statement{deny("Wrong", iam.Condition{"StringNotEquals": {encrypted: {"AES256"}}}), deny("None", iam.Condition{"Null": {encrypted: {"true"}}})}
		}, "put", "encryption_contradiction", "server_side_encryption is false", "server_side_encryption: true", on},
		"kms_header_demanded": {withRole, func(a *account) {
			a.b.Key = keyARN
			a.bucket = []iam.Statement{deny("Wrong", iam.Condition{"StringNotEquals": {encrypted: {"aws:kms"}}})}
		}, "put", "encryption_contradiction", "demands the header", "set server_side_encryption: false", nil},
		"encryption_and_acl": {withRole, func(a *account) {
			a.d.ACL, a.b.Ownership = "bucket-owner-full-control", s3server.PreferOwner
			a.b.Key = keyARN
			a.bucket = []iam.Statement{deny("", iam.Condition{"Null": {encrypted: {"false"}}}), deny("", iam.Condition{"Null": {"s3:x-amz-acl": {"false"}}})}
		}, "put", "encryption_contradiction", "; and the ACL", "; and remove acl", func(a *account) { off(a); a.d.ACL = "" }},
		"key_not_in_role":     {withRole, func(a *account) { withKMS(a); a.role = a.role[:1] }, "put", "kms", "kms:GenerateDataKey", "let the role's policy allow kms:GenerateDataKey", nil},
		"key_without_consent": {withRole, func(a *account) { withKMS(a); a.key[0].Principal = iam.AWS("arn:aws:iam::" + customer + ":role/admin") }, "put", "kms", "resource-based policy", "let the key's policy allow", nil},
		"key_denies": {withRole, func(a *account) {
			withKMS(a)
			a.key = append(a.key, iam.Statement{Effect: iam.Deny, Principal: iam.AWS(roleARN), Action: iam.Strings{"kms:*"}, Resource: iam.Strings{"*"}})
		}, "put", "kms", "explicit deny", "a Deny applies", undeny},
		"key_of_another_account": {withRole, func(a *account) { withKMS(a); a.keyID, a.b.Key = foreign, foreign }, "put", "kms", "no resource-based policies allow access", "let the key's policy allow", func(a *account) {
			a.key = append(a.key, iam.Statement{Effect: iam.Allow, Principal: iam.AWS(roleARN), Action: iam.Strings{"kms:GenerateDataKey"}, Resource: iam.Strings{"*"}})
			a.role = append(a.role, allow([]string{"kms:GenerateDataKey"}, foreign))
		}},
		"key_disabled":      {withRole, func(a *account) { withKMS(a); a.keyState = s3server.Disabled }, "put", "kms", "KMS.DisabledException", "enable " + keyARN, func(a *account) { a.keyState = s3server.Enabled }},
		"key_to_be_deleted": {withRole, func(a *account) { withKMS(a); a.keyState = s3server.PendingDeletion }, "put", "kms", "pending deletion", "cancel the deletion", func(a *account) { a.keyState = s3server.Enabled }},
		"key_gone":          {withRole, func(a *account) { withKMS(a); a.noKey = true }, "put", "kms", "KMS.NotFoundException", "existing key", func(a *account) { a.noKey = false }},
		"key_elsewhere":     {withRole, func(a *account) { withKMS(a); a.b.Key = strings.Replace(keyARN, "us-east-1", "eu-west-1", 1) }, "put", "kms", "KMS.NotFoundException", "of the bucket's own region", func(a *account) { a.b.Key = keyARN }},

		// Classic: two accounts, and S3 gives no details.
		"classic_not_in_bucket_policy": {classic, func(a *account) { a.bucket = nil }, "put", "put_denied", "403 AccessDenied: Access Denied", "(1) let the policy of bucket \"acme-logs\" allow s3:PutObject", nil},
		"classic_own_policy_lacks":     {classic, func(a *account) { a.own = nil }, "put", "put_denied", "403 AccessDenied: Access Denied", "(2) let the IAM policy of Sealift's principal allow", nil},
		"classic_other_prefix":         {classic, func(a *account) { a.d.Bucket = "acme-logs/path" }, "put", "prefix_denied", "without the prefix", "acme-logs/path/segment-logs/*", nil},
		"classic_one_folder":           {classic, func(a *account) { a.bucket[0].Resource = iam.Strings{"arn:aws:s3:::acme-logs/segment-logs/ios/*"} }, "put", "folder_denied", "the folders of sources ios, and not those of web", objects, nil},
		"classic_acl": {classic, func(a *account) {
			a.d.ACL, a.b.Ownership = "bucket-owner-full-control", s3server.PreferOwner
			a.own[0].Action = iam.Strings{"s3:*"}
		}, "put", "acl_denied", "without it", "s3:PutObjectAcl", nil},
		"classic_owner": {classic, func(a *account) { a.d.ExpectedBucketOwner = stranger }, "put", "wrong_owner", "another account than " + stranger, "expected_bucket_owner", func(a *account) { a.d.ExpectedBucketOwner = customer }},
		"classic_denied": {classic, func(a *account) {
			a.bucket = append(a.bucket, deny("", iam.Condition{"StringNotEquals": {"aws:PrincipalAccount": {customer}}}))
		}, "put", "put_denied", "it is the same without the headers", "except Sealift's principal from it; (4) the bucket has Requester Pays", undeny},
		"classic_aes256_demanded": {classic, func(a *account) {
			off(a)
			a.bucket = append(a.bucket, deny("Wrong", iam.Condition{"StringNotEquals": {encrypted: {"AES256"}}}))
		}, "put", "encryption_contradiction", "server_side_encryption is false", "server_side_encryption: true", on},
		"classic_key": {classic, withKMS, "put", "kms", "no resource-based policies allow access", "let the key's policy allow", nil},
		"classic_managed_key": {classic, func(a *account) { withKMS(a); a.b.Key = "alias/aws/s3" }, "put", "kms", "kms:GenerateDataKey", "aws/s3 cannot be used from another account", func(a *account) {
			a.b.Key = keyARN
			a.key = append(a.key, iam.Statement{Effect: iam.Allow, Principal: iam.AWS(ownARN), Action: iam.Strings{"kms:GenerateDataKey"}, Resource: iam.Strings{"*"}})
		}},
		"classic_key_without_arn": {classic, func(a *account) { withKMS(a); a.b.Key = "11111111-2222-3333-4444-555555555555" }, "put", "kms", "KMS.NotFoundException", "by its ARN", func(a *account) {
			a.b.Key = keyARN
			a.key = append(a.key, iam.Statement{Effect: iam.Allow, Principal: iam.AWS(ownARN), Action: iam.Strings{"kms:GenerateDataKey"}, Resource: iam.Strings{"*"}})
		}},
	} {
		t.Run(hazard, func(t *testing.T) {
			t.Parallel() // some cases wait, for instance for a store that throttles
			a := c.of()
			c.spoil(a)
			s3, r := a.check(t, Options{})
			step, v := problem(r)
			require.Equal(t, c.step, step, "%+v", r)
			require.Equal(t, c.reason, v.Reason, "%+v", v)
			require.Contains(t, v.Cause, c.cause)
			require.Contains(t, v.Fix.String(), c.fix)
			require.LessOrEqual(t, r.Puts, 13)
			require.Zero(t, s3.BucketRequests("acme-logs")["GetObject"]+s3.BucketRequests("acme-logs")["ListObjectsV2"]+s3.BucketRequests("acme-logs")["HeadObject"])

			if c.mend != nil {
				c.mend(a)
			} else {
				a.add(t, v)
				if strings.Contains(v.Fix.Do, "set server_side_encryption: false") {
					off(a)
				}
			}
			_, r = a.check(t, Options{Write: true})
			_, v = problem(r)
			require.True(t, r.OK, "the fix does not help: %+v", v)
			require.Len(t, r.Stored, 1, "%+v", r.Steps)
		})
	}
}

// A bucket's region is found whichever way a store reports it.
func TestCheckFindsTheRegion(t *testing.T) {
	for _, elsewhere := range []s3server.WrongRegionAnswer{s3server.RedirectPermanently, s3server.RedirectTemporarily, s3server.RefuseAsMalformed, s3server.RefuseLocation} {
		a := withRole()
		a.b.Region, a.b.WrongRegion = "eu-central-1", elsewhere
		for region, detail := range map[string]string{
			"":             "eu-central-1, as the store says",
			"us-west-2":    "eu-central-1, and not us-west-2 as the catalog says",
			"eu-central-1": "eu-central-1",
		} {
			a.d.Region = region
			_, r := a.check(t, Options{Write: true})
			require.True(t, r.OK, "%+v", r)
			i := slices.IndexFunc(r.Steps, func(s Step) bool { return s.Name == "region" })
			require.Contains(t, r.Steps[i].Detail, detail)
		}
	}
}
