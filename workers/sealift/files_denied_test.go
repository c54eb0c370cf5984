package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

const readerAccount = "123456789012"

// startReadersBucket starts a server that decides as AWS does. It has a customer's bucket,
// encrypted with the customer's key. The environment gets the keys of a user of the customer.
func startReadersBucket(t *testing.T) *s3server.Server {
	s, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "a", SecretKey: "b", Account: readerAccount})
	require.NoError(t, err)
	web := httptest.NewServer(s)
	t.Cleanup(func() { web.Close(); require.NoError(t, s.Close()) })
	key := "arn:aws:kms:us-east-1:" + readerAccount + ":key/k"
	require.NoError(t, s.PutKey(s3server.Key{ARN: key, Policy: readersPolicy(t, iam.Key,
		`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::`+readerAccount+`:root"},"Action":"kms:*","Resource":"*"}`)}))
	require.NoError(t, s.PutBucket(s3server.Bucket{Name: "acme-logs", Owner: readerAccount, Key: key}))
	require.NoError(t, fillBucket(t, web.URL, "acme-logs", "us-east-1"))
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": web.URL, "AWS_ACCESS_KEY_ID": "READER", "AWS_SECRET_ACCESS_KEY": "reads", "AWS_REGION": "us-east-1",
		"AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull, "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
	return s
}

func readersPolicy(t *testing.T, kind iam.Kind, statements ...string) *iam.Policy {
	t.Helper()
	p, err := iam.Parse(kind, fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":[%s]}`, strings.Join(statements, ",")))
	require.NoError(t, err)
	return p
}

// A reader who lacks a permission is told which one, and can still use the others.
func TestFilesCommandsNameTheMissingPermission(t *testing.T) {
	const (
		list    = `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-logs"}`
		listWeb = `{"Effect":"Allow","Action":"s3:ListBucket","Resource":"arn:aws:s3:::acme-logs",
			"Condition":{"StringLike":{"s3:prefix":"some/path/segment-logs/web/*"}}}`
		get     = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-logs/some/path/segment-logs/*"}`
		getWeb  = `{"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::acme-logs/some/path/segment-logs/web/*"}`
		decrypt = `{"Effect":"Allow","Action":"kms:Decrypt","Resource":"*"}`
		deny    = `{"Effect":"Deny","Action":"s3:GetObject","Resource":"*"}`

		all  = "s3://acme-logs/some/path"
		web  = all + "/segment-logs/web"
		file = web + "/1795305600000/1795305600000.aaaaaaaaaaaa.bbbbbbb.0.gz"
	)
	s := startReadersBucket(t)
	for hazard, c := range map[string]struct {
		policies []string
		args     []string
		code     int
		want     []string
	}{
		"all_permissions":    {[]string{list, get, decrypt}, []string{"sync", all}, exitOK, []string{"8 files downloaded"}},
		"one_source":         {[]string{listWeb, getWeb, decrypt}, []string{"sync", web}, exitOK, []string{"4 files downloaded"}},
		"list_of_one_source": {[]string{listWeb, getWeb, decrypt}, []string{"ls", web}, exitOK, []string{"2026-11-23"}},
		"list_of_all_with_permission_for_one_source": {[]string{listWeb, getWeb, decrypt}, []string{"ls", all}, exitFailure, []string{"has to allow s3:ListBucket on arn:aws:s3:::acme-logs,"}},
		"named_file_needs_no_list":                   {[]string{getWeb, decrypt}, []string{"cat", file}, exitOK, []string{`"source":"web"`}},
		"no_list":                                    {[]string{get, decrypt}, []string{"sync", all}, exitFailure, []string{"s3:ListBucket on arn:aws:s3:::acme-logs,", "s3:prefix some/path/segment-logs/*"}},
		"no_get":                                     {[]string{list, decrypt}, []string{"cat", all}, exitFailure, []string{"s3:GetObject on arn:aws:s3:::acme-logs/some/path/segment-logs/*"}},
		"get_of_one_source":                          {[]string{list, getWeb, decrypt}, []string{"sync", all}, exitPartial, []string{"4 files downloaded", "4 failed", "s3:GetObject on arn:aws:s3:::acme-logs/some/path/segment-logs/*"}},
		"no_decrypt":                                 {[]string{list, get}, []string{"sync", all}, exitPartial, []string{"8 failed", "kms:Decrypt on the key"}},
		"deny":                                       {[]string{list, get, decrypt, deny}, []string{"cat", all}, exitFailure, []string{"a Deny in your policy"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.NoError(t, s.PutUser(s3server.User{
				ARN: "arn:aws:iam::" + readerAccount + ":user/reader", AccessKey: "READER", SecretKey: "reads",
				Policies: []*iam.Policy{readersPolicy(t, iam.Identity, c.policies...)},
			}))
			args := append([]string{"files"}, c.args...)
			if c.args[0] == "sync" {
				args = append(args, t.TempDir())
			}
			var out bytes.Buffer
			code := run(t.Context(), args, nil, strings.NewReader(""), &out, &out)
			require.Equal(t, c.code, code, out.String())
			for _, want := range c.want {
				require.Contains(t, out.String(), want)
			}
		})
	}
}

// If the credentials are useless, the command ends at once and says what to do.
func TestFilesWithBadCredentials(t *testing.T) {
	s := startReadersBucket(t)
	for code, want := range map[string]string{
		"ExpiredToken": "aws sso login", "InvalidToken": "AWS_SESSION_TOKEN", "RequestTimeTooSkewed": "clock",
	} {
		s.SetFault(func(*http.Request) s3server.Fault { return s3server.Fault{Status: http.StatusBadRequest, Code: code} })
		var out bytes.Buffer
		require.Equal(t, exitFailure, run(t.Context(), []string{"files", "sync", "s3://acme-logs", t.TempDir()}, nil, strings.NewReader(""), &out, &out))
		require.Contains(t, out.String(), "fix: ")
		require.Contains(t, out.String(), want)
	}
}
