package s3server_test

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/s3server/awstest"
	"github.com/sealift/sealift/pkg/secret"
)

// object is where the worlds of awstest deliver to.
const object = "/" + awstest.BucketName + "/" + awstest.Prefix + "/segment-logs/" + awstest.SourceID + "/1/file.gz"

// call is one signed request.
type call struct {
	method, path string
	as           objstore.Credentials
	region       string            // default: the bucket's
	header       map[string]string // signed
	body         string
	sum          string // declared sha256 of the body; default: the correct one
	form         url.Values
}

// reply is the answer to a call.
type reply struct {
	status  int
	code    string // from S3 or STS
	message string
	region  string // the element in the body
	header  http.Header
	body    string
}

func send(t *testing.T, w *awstest.World, c call) reply {
	t.Helper()
	service := "s3"
	if c.form != nil {
		service, c.method, c.path, c.body = "sts", http.MethodPost, "/", c.form.Encode()
		c.region = cmp.Or(c.region, awstest.STSRegion)
	}
	r, err := http.NewRequestWithContext(t.Context(), c.method, w.Endpoint+c.path, strings.NewReader(c.body))
	require.NoError(t, err)
	for name, value := range c.header {
		r.Header.Set(name, value)
	}
	sum := sha256.Sum256([]byte(c.body))
	if c.sum == "" {
		c.sum = hex.EncodeToString(sum[:])
	}
	c.region = cmp.Or(c.region, awstest.Region)
	r.Header.Set("X-Amz-Content-Sha256", c.sum)
	if c.form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	keys := aws.Credentials{AccessKeyID: c.as.AccessKeyID, SecretAccessKey: c.as.SecretAccessKey.Reveal(), SessionToken: c.as.SessionToken.Reveal()}
	require.NoError(t, v4.NewSigner().SignHTTP(t.Context(), keys, r, c.sum, service, c.region, time.Now(), func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true }))
	client := *w.Client
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	response, err := client.Do(r)
	require.NoError(t, err)
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	out := reply{status: response.StatusCode, header: response.Header, body: string(raw)}
	var s3 struct{ Code, Message, Region string }
	var sts struct {
		Code    string `xml:"Error>Code"`
		Message string `xml:"Error>Message"`
	}
	if service == "s3" && xml.Unmarshal(raw, &s3) == nil {
		out.code, out.message, out.region = s3.Code, s3.Message, s3.Region
	} else if service == "sts" && xml.Unmarshal(raw, &sts) == nil {
		out.code, out.message = sts.Code, sts.Message
	}
	return out
}

// session assumes the role, limited by the policy.
func session(t *testing.T, w *awstest.World, policy string) objstore.Credentials {
	t.Helper()
	form := assume()
	if policy != "" {
		form.Set("Policy", policy)
	}
	return obtain(t, w, call{as: w.Operator, form: form})
}

func obtain(t *testing.T, w *awstest.World, c call) objstore.Credentials {
	t.Helper()
	r := send(t, w, c)
	require.Equal(t, 200, r.status, r.body)
	var out struct {
		AccessKeyID     string `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
		SecretAccessKey string `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
		SessionToken    string `xml:"AssumeRoleResult>Credentials>SessionToken"`
	}
	require.NoError(t, xml.Unmarshal([]byte(r.body), &out))
	return objstore.Credentials{AccessKeyID: out.AccessKeyID, SecretAccessKey: secret.New(out.SecretAccessKey), SessionToken: secret.New(out.SessionToken)}
}

// assume returns a valid AssumeRole of a world's role, with the changed pairs of name and value.
func assume(changed ...string) url.Values {
	form := url.Values{
		"Action": {"AssumeRole"}, "Version": {"2011-06-15"}, "RoleArn": {awstest.RoleARN},
		"RoleSessionName": {"sealift"}, "ExternalId": {awstest.WorkspaceID},
	}
	for i := 0; i < len(changed); i += 2 {
		form.Set(changed[i], changed[i+1])
	}
	return form
}

// user registers a user and returns its credentials.
func user(t *testing.T, w *awstest.World, arn string, policies ...*iam.Policy) objstore.Credentials {
	t.Helper()
	u := s3server.User{ARN: arn, AccessKey: "AKIA" + arn, SecretKey: "secret of " + arn, Policies: policies}
	u.AccessKey = "AKIA" + strings.ToUpper(hex.EncodeToString([]byte(arn))[24:])
	require.NoError(t, w.Server.PutUser(u))
	return objstore.Credentials{AccessKeyID: u.AccessKey, SecretAccessKey: secret.New(u.SecretKey)}
}

// parse parses a policy with the given statement: {"Effect": …}.
func parse(t *testing.T, kind iam.Kind, statements string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse(kind, []byte(`{"Version":"2012-10-17","Statement":[`+statements+`]}`))
	require.NoError(t, err)
	return p
}

const (
	root   = "arn:aws:iam::" + awstest.CustomerAccount + ":root"
	anna   = "arn:aws:iam::" + awstest.CustomerAccount + ":user/anna"
	bucket = "arn:aws:s3:::" + awstest.BucketName
)
