package s3server_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/s3server/awstest"
)

// If several things are wrong, the first one in S3's order is reported. Nothing is stored, and what
// comes later is not even checked.
func TestOrderOfRefusals(t *testing.T) {
	wrong := strings.Repeat("ab", 32)
	put := func(changes ...func(*call)) call {
		c := call{method: http.MethodPut, path: object, body: "body"}
		for _, change := range changes {
			change(&c)
		}
		return c
	}
	mismatch := func(c *call) { c.sum = wrong }
	header := func(name, value string) func(*call) {
		return func(c *call) {
			if c.header == nil {
				c.header = map[string]string{}
			}
			c.header[name] = value
		}
	}
	elsewhere := func(c *call) { c.path = strings.Replace(object, awstest.SourceID, "another", 1) }
	region := func(c *call) { c.region = "us-east-1" }
	const (
		within  = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","s3:PutObjectAcl"],"Resource":"` + bucket + `/raw/segment-logs/` + awstest.SourceID + `/*"}]}`
		withKMS = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:PutObject","kms:*"],"Resource":"*"}]}`
	)
	for hazard, c := range map[string]struct {
		setup   awstest.Setup
		session string
		call    call
		status  int
		code    string
		keys    int64 // how often the key was requested
	}{
		"body_mismatch":                      {awstest.Role, within, put(mismatch), 400, "XAmzContentSHA256Mismatch", 0},
		"md5_mismatch":                       {awstest.Role, within, put(header("Content-Md5", "AAAAAAAAAAAAAAAAAAAAAA==")), 400, "BadDigest", 0},
		"checksum_mismatch":                  {awstest.Role, within, put(header("X-Amz-Checksum-Crc32", "AAAAAA==")), 400, "BadDigest", 0},
		"not_allowed_before_body":            {awstest.Role, within, put(mismatch, elsewhere), 403, "AccessDenied", 0},
		"not_allowed_before_acl":             {awstest.Role, within, put(elsewhere, header("X-Amz-Acl", "private")), 403, "AccessDenied", 0},
		"not_allowed_before_key":             {awstest.RoleWithKey, within, put(elsewhere), 403, "AccessDenied", 0},
		"not_allowed_before_long_key":        {awstest.Role, within, put(func(c *call) { c.path += strings.Repeat("k", 1100) }, elsewhere), 403, "AccessDenied", 0},
		"acl_before_body":                    {awstest.Role, within, put(mismatch, header("X-Amz-Acl", "private")), 400, "AccessControlListNotSupported", 0},
		"acl_before_key":                     {awstest.RoleWithKey, within, put(header("X-Amz-Acl", "private")), 400, "AccessControlListNotSupported", 0},
		"key_before_body":                    {awstest.RoleWithKey, within, put(mismatch), 403, "AccessDenied", 1},
		"key_then_body":                      {awstest.RoleWithKey, withKMS, put(mismatch), 400, "XAmzContentSHA256Mismatch", 1},
		"region_before_permission":           {awstest.Role, within, put(region, elsewhere), 301, "PermanentRedirect", 0},
		"owner_before_permission":            {awstest.Role, within, put(elsewhere, header("X-Amz-Expected-Bucket-Owner", awstest.ThirdAccount)), 403, "AccessDenied", 0},
		"missing_bucket_before_all":          {awstest.Role, within, put(region, func(c *call) { c.path = "/not-there/k" }), 404, "NoSuchBucket", 0},
		"condition_on_what_may_not_be_read":  {awstest.Role, within, put(header("If-Match", "abc")), 403, "AccessDenied", 0},
		"unknown_encryption":                 {awstest.Role, within, put(header("X-Amz-Server-Side-Encryption", "rot13")), 400, "InvalidArgument", 0},
		"key_id_without_kms":                 {awstest.Role, within, put(header("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", awstest.KeyARN)), 400, "InvalidArgument", 0},
		"header_names_missing_key":           {awstest.Role, withKMS, put(header("X-Amz-Server-Side-Encryption", "aws:kms"), header("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id", awstest.KeyARN)), 400, "KMS.NotFoundException", 1},
		"header_avoids_the_bucket_key":       {awstest.RoleWithKey, within, put(header("X-Amz-Server-Side-Encryption", "AES256")), 200, "", 0},
		"owner_full_control_is_no_acl":       {awstest.Role, within, put(header("X-Amz-Acl", "bucket-owner-full-control")), 200, "", 0},
		"header_names_the_managed_key":       {awstest.Role, within, put(header("X-Amz-Server-Side-Encryption", "aws:kms")), 200, "", 1},
		"default_key_by_those_who_may":       {awstest.RoleWithKey, withKMS, put(), 200, "", 1},
		"session_of_the_whole_role_reaches":  {awstest.Role, "", put(elsewhere), 200, "", 0},
		"session_policy_does_not_widen_role": {awstest.Role, withKMS, put(func(c *call) { c.path = "/" + awstest.BucketName + "/elsewhere" }), 403, "AccessDenied", 0},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := awstest.OpenSound(t, c.setup)
			c.call.as = session(t, w, c.session)
			r := send(t, w, c.call)
			require.Equal(t, c.status, r.status, r.body)
			require.Equal(t, c.code, r.code)
			require.Equal(t, c.keys, w.Server.Requests()["GenerateDataKey"])
			read := send(t, w, call{method: http.MethodGet, path: c.call.path, as: user(t, w, root)})
			if c.code != "" {
				require.NotEqual(t, 200, read.status, "something was stored")
				return
			}
			require.Equal(t, "body", read.body)
			require.NotEmpty(t, r.header.Get("X-Amz-Server-Side-Encryption"), "every object is encrypted")
		})
	}
}

// Whether a key is taken is checked last.
func TestTakenKeyIsHiddenWithoutPermission(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	put := call{method: http.MethodPut, path: object, body: "body", as: session(t, w, ""), header: map[string]string{"If-None-Match": "*"}}
	require.Equal(t, 200, send(t, w, put).status)
	require.Equal(t, 412, send(t, w, put).status)
	require.NoError(t, w.Server.PutRole(s3server.PutOnlyRole(awstest.RoleARN, awstest.OperatorARN, awstest.WorkspaceID, "another")))
	require.Equal(t, 403, send(t, w, put).status)
	require.Equal(t, map[string]int64{"PutObject": 3}, w.Server.BucketRequests(awstest.BucketName))
	require.Empty(t, w.Server.BucketRequests("another"))
	require.Equal(t, 400, send(t, w, call{method: http.MethodPut, path: "/of-nobody/k"}).status)
	require.Nil(t, w.Server.BucketRequests("of-nobody"), "requests for unknown buckets are counted")
}

// A role that may only put is refused everything else, with an explanation except for HEAD, whose
// answer has no body.
func TestPutOnlyRoleMayNotRead(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	as := session(t, w, "")
	for _, c := range []struct {
		method, path, action, resource string
	}{
		{http.MethodGet, object, "s3:GetObject", "arn:aws:s3::" + ":" + object[1:]},
		{http.MethodGet, "/" + awstest.BucketName + "?list-type=2", "s3:ListBucket", bucket},
		{http.MethodGet, "/" + awstest.BucketName + "?prefix=raw/", "s3:ListBucket", bucket},
		{http.MethodGet, "/" + awstest.BucketName + "?location", "s3:GetBucketLocation", bucket},
		{http.MethodGet, "/", "s3:ListAllMyBuckets", "*"},
		{http.MethodDelete, object, "s3:DeleteObject", "arn:aws:s3:::" + object[1:]},
		{http.MethodDelete, "/" + awstest.BucketName, "s3:DeleteBucket", bucket},
		{http.MethodPut, "/a-new-bucket", "s3:CreateBucket", "arn:aws:s3:::a-new-bucket"},
	} {
		r := send(t, w, call{method: c.method, path: c.path, as: as})
		require.Equal(t, 403, r.status, c.path)
		require.Equal(t, "User: arn:aws:sts::"+awstest.CustomerAccount+":assumed-role/segment-logs/sealift is not authorized to perform: "+c.action+
			` on resource: "`+c.resource+`" because no identity-based policy allows the `+c.action+" action", r.message)
	}
	for _, path := range []string{object, "/" + awstest.BucketName} {
		r := send(t, w, call{method: http.MethodHead, path: path, as: as})
		require.Equal(t, 403, r.status)
		require.Empty(t, r.body)
		require.Equal(t, path != object, r.header.Get("X-Amz-Bucket-Region") == awstest.Region, "HeadBucket tells the region even then")
	}
	// Of several keys, each is refused separately.
	r := send(t, w, call{
		method: http.MethodPost, path: "/" + awstest.BucketName + "?delete", as: as,
		body: "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key></Object></Delete>",
	})
	require.Equal(t, 200, r.status)
	require.Equal(t, 2, strings.Count(r.body, "<Code>AccessDenied</Code>"))
}

// That an object is missing is revealed only to callers who may list.
func TestMissingObjects(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	get := call{method: http.MethodGet, path: object}
	for hazard, c := range map[string]struct {
		actions string
		status  int
	}{
		"may_list":      {`["s3:GetObject","s3:ListBucket"]`, 404},
		"may_read_only": {`"s3:GetObject"`, 403},
	} {
		t.Run(hazard, func(t *testing.T) {
			get.as = user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":`+c.actions+`,"Resource":"*"}`))
			r := send(t, w, get)
			require.Equal(t, c.status, r.status)
			if c.status == 403 {
				require.Contains(t, r.message, "s3:ListBucket")
			}
			get := get
			get.method = http.MethodHead
			require.Equal(t, c.status, send(t, w, get).status)
		})
	}
}
