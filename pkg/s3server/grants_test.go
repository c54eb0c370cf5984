package s3server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/s3server/awstest"
)

func TestAssumeRoleIsChecked(t *testing.T) {
	allowAll := `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}`
	long := strings.Replace(allowAll, `"Resource":"*"`, `"Resource":["*"`+strings.Repeat(`,"arn:aws:s3:::b/*"`, 120)+`]`, 1)
	require.Greater(t, len(long), 2048)
	for hazard, c := range map[string]struct {
		form    []string
		status  int
		code    string
		message string
	}{
		"right":                         {nil, 200, "", ""},
		"session_policy":                {[]string{"Policy", allowAll}, 200, "", ""},
		"fifteen_minutes":               {[]string{"DurationSeconds", "900"}, 200, "", ""},
		"no_external_id":                {[]string{"ExternalId", ""}, 400, "ValidationError", "externalId"},
		"arn_of_a_user":                 {[]string{"RoleArn", anna}, 400, "ValidationError", anna + " is invalid"},
		"session_name_with_space":       {[]string{"RoleSessionName", "a b"}, 400, "ValidationError", "roleSessionName"},
		"session_name_of_one":           {[]string{"RoleSessionName", "a"}, 400, "ValidationError", "roleSessionName"},
		"external_id_with_star":         {[]string{"ExternalId", "ws_*"}, 400, "ValidationError", "externalId"},
		"external_id_too_long":          {[]string{"ExternalId", strings.Repeat("x", 1225)}, 400, "ValidationError", "externalId"},
		"duration_too_short":            {[]string{"DurationSeconds", "899"}, 400, "ValidationError", "greater than or equal to 900"},
		"duration_too_long":             {[]string{"DurationSeconds", "43201"}, 400, "ValidationError", "less than or equal to 43200"},
		"longer_than_the_role":          {[]string{"DurationSeconds", "7201"}, 400, "ValidationError", "MaxSessionDuration set for this role"},
		"as_long_as_the_role":           {[]string{"DurationSeconds", "7200"}, 200, "", ""},
		"session_policy_too_long":       {[]string{"Policy", long}, 400, "ValidationError", "length less than or equal to 2048"},
		"session_policy_not_json":       {[]string{"Policy", "{"}, 400, "MalformedPolicyDocument", "not JSON"},
		"session_policy_with_principal": {[]string{"Policy", strings.Replace(allowAll, `"Action"`, `"Principal":"*","Action"`, 1)}, 400, "MalformedPolicyDocument", "no Principal"},
		"session_policy_of_a_typo":      {[]string{"Policy", strings.Replace(allowAll, `"Resource"`, `"Ressource"`, 1)}, 400, "MalformedPolicyDocument", "Statement[0].Ressource"},
		"session_policy_unknown_key": {
			[]string{"Policy", strings.Replace(allowAll, `"Resource"`, `"Condition":{"Null":{"s3:nothing":"true"}},"Resource"`, 1)},
			400, "MalformedPolicyDocument", `"s3:nothing" is not one that this server knows`,
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := awstest.OpenSound(t, awstest.Role)
			role := s3server.PutOnlyRole(awstest.RoleARN, awstest.OperatorARN, awstest.WorkspaceID, awstest.BucketName)
			role.MaxSession = 2 * time.Hour
			require.NoError(t, w.Server.PutRole(role))
			r := send(t, w, call{as: w.Operator, form: assume(c.form...)})
			require.Equal(t, c.status, r.status, r.body)
			require.Equal(t, c.code, r.code)
			require.Contains(t, r.message, c.message)
		})
	}
}

// A caller with a role's credentials gets at most an hour, whatever the role allows, and callers
// from the role's own account are told what is missing.
func TestAssumeRoleCallers(t *testing.T) {
	const worker = "arn:aws:iam::" + awstest.OperatorAccount + ":role/worker"
	w := awstest.OpenSound(t, awstest.Role)
	mayAssume := parse(t, iam.Identity, `{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}`)
	role := s3server.PutOnlyRole(awstest.RoleARN, worker, "", awstest.BucketName)
	role.MaxSession = 12 * time.Hour
	require.NoError(t, w.Server.PutRole(role))
	require.NoError(t, w.Server.PutRole(s3server.Role{ARN: worker, Trust: s3server.PutOnlyRole(worker, awstest.OperatorARN, "").Trust, Policies: []*iam.Policy{mayAssume}}))

	r := send(t, w, call{as: w.Operator, form: assume()})
	require.Equal(t, 403, r.status, "the role trusts the worker alone")
	chained := obtain(t, w, call{as: w.Operator, form: assume("RoleArn", worker)})
	r = send(t, w, call{as: chained, form: assume("DurationSeconds", "3601")})
	require.Equal(t, "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.", r.message)
	as := obtain(t, w, call{as: chained, form: assume("DurationSeconds", "3600")})
	require.Equal(t, 200, send(t, w, call{method: http.MethodPut, path: object, as: as, body: "x"}).status)
	identity := send(t, w, call{as: as, form: map[string][]string{"Action": {"GetCallerIdentity"}}})
	require.Contains(t, identity.body, "<Arn>arn:aws:sts::"+awstest.CustomerAccount+":assumed-role/segment-logs/sealift</Arn>")

	// A session policy that does not allow passing on rights.
	cut := obtain(t, w, call{as: w.Operator, form: assume("RoleArn", worker, "Policy",
		`{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"s3:*","Resource":"*"}]}`)})
	require.Equal(t, "AccessDenied", send(t, w, call{as: cut, form: assume()}).code)

	accountRoot := user(t, w, "arn:aws:iam::"+awstest.OperatorAccount+":root")
	require.Equal(t, "Roles may not be assumed by root accounts.", send(t, w, call{as: accountRoot, form: assume()}).message)

	const refused = "User: " + anna + " is not authorized to perform: sts:AssumeRole on resource: " + awstest.RoleARN
	r = send(t, w, call{as: user(t, w, anna, mayAssume), form: assume()})
	require.Equal(t, refused+" because no role trust policy allows the sts:AssumeRole action", r.message)
	require.NoError(t, w.Server.PutRole(s3server.PutOnlyRole(awstest.RoleARN, root, "")))
	r = send(t, w, call{as: user(t, w, anna), form: assume()})
	require.Equal(t, refused+" because no identity-based policy allows the sts:AssumeRole action", r.message)
	require.Equal(t, 200, send(t, w, call{as: user(t, w, anna, mayAssume), form: assume()}).status)
	w.Server.DeleteRole(awstest.RoleARN)
	require.Equal(t, refused, send(t, w, call{as: user(t, w, anna, mayAssume), form: assume()}).message)
}

func TestSessionsExpire(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	put := call{method: http.MethodPut, path: object, body: "x", as: session(t, w, "")}
	require.Equal(t, 200, send(t, w, put).status)
	w.Server.ExpireSessionsForTesting()
	r := send(t, w, put)
	require.Equal(t, 400, r.status)
	require.Equal(t, "ExpiredToken", r.code)
	r = send(t, w, call{as: put.as, form: assume()})
	require.Equal(t, 403, r.status)
	require.Equal(t, "The security token included in the request is expired", r.message)
	put.as = session(t, w, "")
	require.Equal(t, 200, send(t, w, put).status)
}

// Reading requires permission to use the key and, for objects that still belong to their writer,
// the writer's consent.
func TestReadingDeliveredObjects(t *testing.T) {
	everything := parse(t, iam.Identity, `{"Effect":"Allow","Action":["s3:*","kms:*"],"Resource":"*"}`)
	withoutKMS := parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)
	for hazard, c := range map[string]struct {
		setup  awstest.Setup
		acl    string
		reader *iam.Policy
		status int
		says   string
	}{
		"with_the_key":                   {awstest.RoleWithKey, "", everything, 200, ""},
		"without_the_key":                {awstest.RoleWithKey, "", withoutKMS, 403, "kms:Decrypt"},
		"classic":                        {awstest.Classic, "", withoutKMS, 200, ""},
		"classic_of_the_writer":          {awstest.ClassicWithACL, "", everything, 403, "Access Denied"},
		"classic_of_the_writer_private":  {awstest.ClassicWithACL, "private", everything, 403, "Access Denied"},
		"classic_of_the_writer_readable": {awstest.ClassicWithACL, "bucket-owner-read", everything, 200, ""},
		"classic_given_to_the_owner":     {awstest.ClassicWithACL, "bucket-owner-full-control", everything, 200, ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := awstest.OpenSound(t, c.setup)
			put := call{method: http.MethodPut, path: object, body: "body", as: w.Operator}
			if c.setup == awstest.RoleWithKey {
				put.as = session(t, w, "")
			}
			if c.acl != "" {
				put.header = map[string]string{"X-Amz-Acl": c.acl}
			}
			require.Equal(t, 200, send(t, w, put).status)
			get := call{method: http.MethodGet, path: object, as: user(t, w, anna, c.reader)}
			r := send(t, w, get)
			require.Equal(t, c.status, r.status, r.body)
			require.Contains(t, r.message, c.says)
			get.method = http.MethodHead
			want := c.status
			if c.setup == awstest.RoleWithKey {
				want = 200 // HEAD reveals none of the bytes
			}
			require.Equal(t, want, send(t, w, get).status)
		})
	}
}

// Requests have these values for condition keys.
func TestConditionKeysOfRequests(t *testing.T) {
	for condition, holds := range map[string]bool{
		`"StringEquals":{"aws:username":"anna","aws:PrincipalAccount":"` + awstest.CustomerAccount + `","aws:PrincipalType":"User"}`: true,
		`"ArnEquals":{"aws:PrincipalArn":"` + anna + `"}`:                                                                                    true,
		`"Bool":{"aws:SecureTransport":"true","aws:ViaAWSService":"false","aws:PrincipalIsAWSService":"false"}`:                              true,
		`"IpAddress":{"aws:SourceIp":"127.0.0.0/8"}`:                                                                                         true,
		`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01"},"NumericGreaterThan":{"aws:EpochTime":1577836800}`:                               true,
		`"StringEquals":{"aws:RequestedRegion":"` + awstest.Region + `","s3:ResourceAccount":"` + awstest.CustomerAccount + `"}`:             true,
		`"StringEquals":{"s3:authType":"REST-HEADER","s3:signatureversion":"AWS4-HMAC-SHA256"},"NumericGreaterThan":{"s3:TlsVersion":"1.2"}`: true,
		`"StringEquals":{"s3:x-amz-acl":"bucket-owner-full-control","s3:if-none-match":"*"}`:                                                 true,
		`"StringEquals":{"aws:UserAgent":"sealift/1"},"Null":{"aws:Referer":"true","s3:x-amz-storage-class":"true"}`:                         true,
		`"Null":{"aws:SourceVpce":"true","aws:MultiFactorAuthPresent":"true","aws:TokenIssueTime":"true"}`:                                   true,
		`"StringNotEquals":{"s3:x-amz-content-sha256":"UNSIGNED-PAYLOAD"}`:                                                                   true,
		`"Null":{"s3:x-amz-server-side-encryption":"false"}`:                                                                                 false,
		`"Bool":{"aws:SecureTransport":"false"}`:                                                                                             false,
		`"StringEquals":{"aws:username":"root"}`:                                                                                             false,
	} {
		w := awstest.OpenSound(t, awstest.Role)
		as := user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*","Condition":{`+condition+`}}`))
		r := send(t, w, call{method: http.MethodPut, path: object, as: as, header: map[string]string{
			"X-Amz-Acl": "bucket-owner-full-control", "If-None-Match": "*", "User-Agent": "sealift/1",
		}})
		require.Equal(t, holds, r.status == 200, "%s: %s", condition, r.body)
	}
}

// Listing may be allowed for a single prefix.
func TestListOfAPrefix(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	as := user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"`+bucket+`",
		"Condition":{"StringLike":{"s3:prefix":"raw/*"},"NumericLessThanEquals":{"s3:max-keys":"10"}}}`))
	for query, status := range map[string]int{
		"?list-type=2&prefix=raw/&max-keys=10": 200, "?prefix=raw/x&max-keys=1": 200,
		"?list-type=2&prefix=raw/": 403, "?list-type=2&max-keys=10": 403, "?prefix=ra&max-keys=10": 403,
	} {
		require.Equal(t, status, send(t, w, call{method: http.MethodGet, path: "/" + awstest.BucketName + query, as: as}).status, query)
	}
}
