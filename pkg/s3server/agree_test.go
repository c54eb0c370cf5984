package s3server_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/s3server/awstest"
	"github.com/sealift/sealift/pkg/secret"
)

// agreeingPolicies has session policies, and whether they allow a PUT of b/in/k. This server and
// another implementation of IAM must agree on them.
var agreeingPolicies = map[string]struct {
	statements string // with BUCKET for the bucket's name
	header     map[string]string
	allowed    bool
}{
	"put_everywhere":          {`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"}`, nil, true},
	"put_below_the_prefix":    {`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET/in/*"}`, nil, true},
	"put_below_another":       {`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET/out/*"}`, nil, false},
	"put_by_question_mark":    {`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET/i?/k"}`, nil, true},
	"put_of_the_bucket_only":  {`{"Effect":"Allow","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET"}`, nil, false},
	"get_only":                {`{"Effect":"Allow","Action":["s3:GetObject","s3:ListBucket"],"Resource":"arn:aws:s3:::*"}`, nil, false},
	"by_action_pattern":       {`{"Effect":"Allow","Action":"s3:Put*","Resource":"arn:aws:s3:::BUCKET/*"}`, nil, true},
	"deny_wins":               {`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET/in/*"}`, nil, false},
	"deny_of_another":         {`{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"},{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::BUCKET/out/*"}`, nil, true},
	"encryption_as_demanded":  {demands(`"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}`), map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}, true},
	"encryption_missing":      {demands(`"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}`), nil, false},
	"encryption_of_another":   {demands(`"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}`), map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}, false},
	"encryption_null":         {demands(`"Null":{"s3:x-amz-server-side-encryption":"true"}`), nil, false},
	"encryption_not_null":     {demands(`"Null":{"s3:x-amz-server-side-encryption":"true"}`), map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}, true},
	"plain_http_is_forbidden": {demands(`"Bool":{"aws:SecureTransport":"false"}`), nil, false},
	"tls_is_forbidden":        {demands(`"Bool":{"aws:SecureTransport":"true"}`), nil, true},
	"from_here":               {demands(`"NotIpAddress":{"aws:SourceIp":"127.0.0.0/8"}`), nil, true},
	"from_elsewhere":          {demands(`"NotIpAddress":{"aws:SourceIp":"203.0.113.0/24"}`), nil, false},
	"time_is_over":            {demands(`"DateGreaterThan":{"aws:CurrentTime":"2020-01-01T00:00:00Z"}`), nil, false},
	"time_has_not_come":       {demands(`"DateGreaterThan":{"aws:CurrentTime":"2120-01-01T00:00:00Z"}`), nil, true},
}

func demands(condition string) string {
	return `{"Effect":"Allow","Action":"s3:*","Resource":"arn:aws:s3:::*"},
		{"Effect":"Deny","Action":"s3:PutObject","Resource":"arn:aws:s3:::*","Condition":{` + condition + `}}`
}

// checkAgreement tries all of them with the operator's sessions, in a bucket of its own.
func checkAgreement(t *testing.T, w *awstest.World, role, bucket string, operator objstore.Credentials) {
	for hazard, c := range agreeingPolicies {
		t.Run(hazard, func(t *testing.T) {
			policy := fmt.Sprintf(`{"Version":"2012-10-17","Statement":[%s]}`, strings.ReplaceAll(c.statements, "BUCKET", bucket))
			as := obtain(t, w, call{as: operator, form: assume("RoleArn", role, "Policy", policy)})
			r := send(t, w, call{method: http.MethodPut, path: "/" + bucket + "/in/k", as: as, region: awstest.STSRegion, header: c.header, body: "body"})
			require.Equal(t, c.allowed, r.status == 200, "%d %s", r.status, r.body)
			if !c.allowed {
				require.Equal(t, "AccessDenied", r.code)
			}
		})
	}
}

func TestSessionPoliciesAgree(t *testing.T) {
	f := start(t)
	require.NoError(t, f.CreateBucket("agreed"))
	require.NoError(t, f.PutRole(s3server.PutOnlyRole(roleARN, f.OperatorARN(), "", "agreed")))
	checkAgreement(t, &awstest.World{Endpoint: f.url, Client: f.client}, roleARN, "agreed", objstore.Credentials{AccessKeyID: accessKey, SecretAccessKey: secret.New(secretKey)})
}
