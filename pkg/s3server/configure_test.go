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

func TestInvalidConfigurationIsRefused(t *testing.T) {
	f := start(t)
	id := func(statement string) *iam.Policy { return parse(t, iam.Identity, statement) }
	of := func(statement string) *iam.Policy { return parse(t, iam.Bucket, statement) }
	unknown := id(`{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Null":{"aws:PrincipalOrgID":"true"}}}`)
	trust := s3server.PutOnlyRole(roleARN, anna, "").Trust
	long := s3server.PutOnlyRole(roleARN, anna, strings.Repeat("x", 2048)).Trust
	for want, err := range map[string]error{
		"not a user's ARN":            f.PutUser(s3server.User{ARN: roleARN, AccessKey: "A", SecretKey: "B"}),
		"nobody else's":               f.PutUser(s3server.User{ARN: anna, AccessKey: accessKey, SecretKey: "B"}),
		`"aws:principalorgid" is not`: f.PutUser(s3server.User{ARN: anna, AccessKey: "A", SecretKey: "B", Policies: []*iam.Policy{unknown}}),
		"MaxSession 13h0m0s: want":    f.PutRole(s3server.Role{ARN: roleARN, Trust: trust, MaxSession: 13 * time.Hour}),
		"this role trust policy has ": f.PutRole(s3server.Role{ARN: roleARN, Trust: long}),
		"and may have 6144":           f.PutRole(s3server.Role{ARN: roleARN, Trust: trust, Policies: []*iam.Policy{id(`{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::` + strings.Repeat("x", 6144) + `"}`)}}),
		"trust policy: malformed":     f.PutRole(s3server.Role{ARN: roleARN, Trust: unknown}),
		"has no Principal":            f.PutRole(s3server.Role{ARN: roleARN, Trust: trust, Policies: []*iam.Policy{of(`{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}`)}}),
		"not a key's ARN":             f.PutKey(s3server.Key{ARN: "arn:aws:kms:us-east-1:123456789012:alias/x"}),
		"a policy is nil":             f.PutKey(s3server.Key{ARN: awstest.KeyARN}),
		"a resource's policy needs":   f.PutBucket(s3server.Bucket{Name: "abc", Policy: id(`{"Effect":"Allow","Action":"s3:*","Resource":"*"}`)}),
		"is not one of S3's":          f.PutBucket(s3server.Bucket{Name: "abc", Policy: of(`{"Effect":"Allow","Principal":"*","Action":"kms:*","Resource":"arn:aws:s3:::abc"}`)}),
		"is not in this bucket":       f.PutBucket(s3server.Bucket{Name: "abc", Policy: of(`{"Effect":"Allow","Principal":"*","Action":"s3:*","Resource":"arn:aws:s3:::abcd/*"}`)}),
	} {
		require.ErrorContains(t, err, want)
	}
	require.Empty(t, f.Buckets())
}

// As in AWS, names of services and actions are not case-sensitive.
func TestServiceNamesAreCaseInsensitive(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	for name, policy := range map[string]*iam.Policy{
		"granted": parse(t, iam.Bucket, `{"Effect":"Allow","Principal":"*","Action":"S3:PUTobject","Resource":"arn:aws:s3:::granted/*"}`),
		"denied":  parse(t, iam.Bucket, `{"Effect":"Deny","Principal":"*","Action":"S3:Put*","Resource":"arn:aws:s3:::denied/*"}`),
	} {
		require.NoError(t, w.Server.PutBucket(s3server.Bucket{Name: name, Region: awstest.Region, Policy: policy}))
	}
	as := user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	require.Equal(t, 200, send(t, w, call{method: http.MethodPut, path: "/granted/k", as: as}).status)
	require.Equal(t, 403, send(t, w, call{method: http.MethodPut, path: "/denied/k", as: as}).status)
}

// A bucket's description survives a restart.
func TestBucketDescriptionsSurviveARestart(t *testing.T) {
	f := start(t)
	b := s3server.Bucket{
		Name: "acme", Region: "us-east-1", Owner: "123456789012", Ownership: s3server.ObjectWriter,
		Policy: parse(t, iam.Bucket, `{"Effect":"Deny","Principal":"*","Action":"s3:PutObject","Resource":"arn:aws:s3:::acme/*"}`),
	}
	require.NoError(t, f.PutBucket(b))
	f.restart(t)
	require.NoError(t, f.PutRole(s3server.PutOnlyRole(roleARN, f.OperatorARN(), externalID, "acme")))
	c := f.assume(t)
	requireRefused(t, put(t, f.store("acme", withCredentials(c)), "k", "x"), 403, "AccessDenied")
	b.Policy = nil
	require.NoError(t, f.PutBucket(b))
	require.NoError(t, put(t, f.store("acme", withCredentials(c)), "k", "x"))
}

func TestWrongRegionAnswers(t *testing.T) {
	for _, c := range []struct {
		how            s3server.WrongRegionAnswer
		status         int
		header, inBody bool // where the region is found
	}{
		{s3server.RedirectPermanently, 301, true, false},
		{s3server.RedirectTemporarily, 307, true, false},
		{s3server.RefuseAsMalformed, 400, false, true},
		{s3server.RefuseLocation, 400, false, false},
	} {
		w := awstest.OpenSound(t, awstest.Role)
		require.NoError(t, w.Server.PutBucket(s3server.Bucket{Name: awstest.BucketName, Region: awstest.Region, WrongRegion: c.how}))
		ask := call{method: http.MethodPut, path: object, as: session(t, w, ""), region: "us-east-1"}
		r := send(t, w, ask)
		require.Equal(t, c.status, r.status)
		require.Equal(t, c.header, r.header.Get("X-Amz-Bucket-Region") == awstest.Region, c.status)
		require.Equal(t, c.inBody, r.region == awstest.Region, c.status)
		if c.status == 307 { // the bucket is in the host name, and so not in the path
			require.Equal(t, "https://"+awstest.BucketName+".s3."+awstest.Region+".amazonaws.com"+strings.TrimPrefix(object, "/"+awstest.BucketName), r.header.Get("Location"))
		} else {
			require.Empty(t, r.header.Get("Location"))
		}
		ask.method = http.MethodHead
		r = send(t, w, ask)
		require.Equal(t, c.status, r.status)
		require.Empty(t, r.body)
	}
}

func TestBucketsOfUsers(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	as := user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	create := func(name, region, constraint string) reply {
		c := call{method: http.MethodPut, path: "/" + name, as: as, region: region}
		if constraint != "" {
			c.body = "<CreateBucketConfiguration><LocationConstraint>" + constraint + "</LocationConstraint></CreateBucketConfiguration>"
		}
		return send(t, w, c)
	}
	require.Equal(t, 200, create("mine-1", "eu-west-1", "eu-west-1").status)
	require.Equal(t, 200, create("mine-2", "us-east-1", "eu-west-1").status)
	require.Equal(t, "IllegalLocationConstraintException", create("mine-4", "eu-west-1", "").code)
	require.Equal(t, "IllegalLocationConstraintException", create("mine-4", "eu-west-1", "us-west-2").code)
	require.Equal(t, 200, create("mine-3", "us-east-1", "").status)
	require.Equal(t, "us-east-1", send(t, w, call{method: http.MethodHead, path: "/mine-3", as: as, region: "us-east-1"}).header.Get("X-Amz-Bucket-Region"))
	require.Equal(t, 200, send(t, w, call{method: http.MethodPut, path: "/mine-1/k", as: as}).status)
	stranger := user(t, w, "arn:aws:iam::"+awstest.ThirdAccount+":user/eve", parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))
	r := send(t, w, call{method: http.MethodPut, path: "/mine-1/k", as: stranger})
	require.Equal(t, "Access Denied", r.message, "a stranger is told why")
}

// A slow bucket delays only requests for it.
func TestStandingFaults(t *testing.T) {
	w := awstest.OpenSound(t, awstest.Role)
	as := session(t, w, "")
	require.NoError(t, w.Server.PutBucket(s3server.Bucket{Name: "other-logs", Region: awstest.Region, Fault: s3server.Fault{Status: 503, Code: "SlowDown", After: true}}))
	require.Equal(t, 200, send(t, w, call{method: http.MethodPut, path: object, as: as}).status)
	r := send(t, w, call{method: http.MethodPut, path: "/other-logs/k", as: user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:*","Resource":"*"}`))})
	require.Equal(t, "SlowDown", r.code)
	require.NoError(t, w.Server.PutBucket(s3server.Bucket{Name: "other-logs", Region: awstest.Region, Fault: s3server.Fault{Delay: time.Millisecond}}))
	r = send(t, w, call{method: http.MethodGet, path: "/other-logs/k", as: user(t, w, root)})
	require.Equal(t, 200, r.status, "the effect had taken place")
}
