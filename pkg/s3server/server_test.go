package s3server_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/flock"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

const (
	accessKey  = "AKIAOPERATOR"
	secretKey  = "operators-secret"
	roleARN    = "arn:aws:iam::123456789012:role/logs/segment-logs"
	externalID = "ws_0123456789abcdef"
)

// childDir makes the test binary a server on that directory, see TestSurvivesKill.
const childDir = "SEALIFT_S3SERVER_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		serveForever(dir)
	}
	goleak.VerifyTestMain(m)
}

type fixture struct {
	*s3server.Server
	dir, url string
	client   *http.Client
}

func start(t *testing.T) *fixture {
	f := &fixture{dir: t.TempDir(), client: &http.Client{Transport: &http.Transport{ExpectContinueTimeout: time.Second}}}
	f.open(t)
	h := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { f.ServeHTTP(w, r) }))
	f.url = h.URL
	t.Cleanup(func() { f.client.CloseIdleConnections(); h.Close(); require.NoError(t, f.Close()) })
	return f
}

func (f *fixture) open(t *testing.T) {
	server, err := s3server.Open(s3server.Config{Dir: f.dir, AccessKey: accessKey, SecretKey: secretKey})
	require.NoError(t, err)
	f.Server = server
}

// restart closes the server and opens another one on its directory.
func (f *fixture) restart(t *testing.T) {
	require.NoError(t, f.Close())
	f.open(t)
}

type change func(*objstore.S3Config)

func (f *fixture) store(bucket string, changes ...change) *objstore.S3 {
	cfg := objstore.S3Config{Bucket: bucket, Region: "us-east-1", Endpoint: f.url, PathStyle: true, HTTPClient: f.client, Credentials: staticCredentials(accessKey, secretKey, "")}
	for _, c := range changes {
		c(&cfg)
	}
	return objstore.NewS3(cfg)
}

func staticCredentials(access, key, token string) func(context.Context) (objstore.Credentials, error) {
	return fixedCredentials(objstore.Credentials{AccessKeyID: access, SecretAccessKey: secret.New(key), SessionToken: secret.New(token)})
}

func fixedCredentials(c objstore.Credentials) func(context.Context) (objstore.Credentials, error) {
	return func(context.Context) (objstore.Credentials, error) { return c, nil }
}

func withCredentials(c objstore.Credentials) change {
	return func(cfg *objstore.S3Config) { cfg.Credentials = fixedCredentials(c) }
}

func put(t *testing.T, s objstore.Store, key, body string) error {
	t.Helper()
	_, err := s.Put(t.Context(), key, strings.NewReader(body), objstore.PutOptions{IfAbsent: true})
	return err
}

func requireRefused(t *testing.T, err error, status int, code string) {
	t.Helper()
	var e *objstore.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, status, e.Status, "%v", err)
	require.Equal(t, code, e.Code)
}

func TestRefusals(t *testing.T) {
	f := start(t)
	require.NoError(t, f.PutBucket(s3server.Bucket{Name: "owned", Owner: "123456789012"}))
	require.NoError(t, f.PutBucket(s3server.Bucket{Name: "frankfurt", Region: "eu-central-1"}))
	key := func(n int) string { return strings.Repeat("k", n) }
	for name, c := range map[string]struct {
		bucket string
		change change
		key    string
		opts   objstore.PutOptions
		status int
		code   string
	}{
		"wrong_secret":        {change: func(c *objstore.S3Config) { c.Credentials = staticCredentials(accessKey, "guess", "") }, status: 403, code: "SignatureDoesNotMatch"},
		"unknown_key":         {change: func(c *objstore.S3Config) { c.Credentials = staticCredentials("AKIAOTHER", secretKey, "") }, status: 403, code: "InvalidAccessKeyId"},
		"forged_token":        {change: func(c *objstore.S3Config) { c.Credentials = staticCredentials("ASIAOTHER", secretKey, "e30.AAAA") }, status: 400, code: "InvalidToken"},
		"no_bucket":           {bucket: "missing", status: 404, code: "NoSuchBucket"},
		"wrong_region":        {bucket: "frankfurt", status: 301, code: "PermanentRedirect"},
		"wrong_owner":         {change: func(c *objstore.S3Config) { c.ExpectedOwner = "999999999999" }, status: 403, code: "AccessDenied"},
		"key_too_long":        {key: key(1025), status: 400, code: "KeyTooLongError"},
		"unknown_acl":         {opts: objstore.PutOptions{ACL: "everybody"}, status: 400, code: "InvalidArgument"},
		"unknown_encryption":  {opts: objstore.PutOptions{ServerSideEncryption: "AES128"}, status: 400, code: "InvalidArgument"},
		"metadata_too_large":  {opts: objstore.PutOptions{Metadata: map[string]string{"a": key(2048)}}, status: 400, code: "MetadataTooLarge"},
		"checksum_mismatch":   {opts: objstore.PutOptions{SHA256: [32]byte{1}}, status: 400, code: "XAmzContentSHA256Mismatch"},
		"right_owner_is_fine": {change: func(c *objstore.S3Config) { c.ExpectedOwner = "123456789012" }},
	} {
		t.Run(name, func(t *testing.T) {
			if c.bucket == "" {
				c.bucket = "owned"
			}
			if c.key == "" {
				c.key = "k"
			}
			if c.change == nil {
				c.change = func(*objstore.S3Config) {}
			}
			_, err := f.store(c.bucket, c.change).Put(t.Context(), c.key, strings.NewReader("body"), c.opts)
			if c.code == "" {
				require.NoError(t, err)
				return
			}
			requireRefused(t, err, c.status, c.code)
		})
	}
	_, err := f.store("frankfurt").List(t.Context(), "", "", 0)
	var e *objstore.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "eu-central-1", e.Region)
	require.NoError(t, put(t, f.store("frankfurt", func(c *objstore.S3Config) { c.Region = e.Region }), "k", "body"))
}

func TestClockSkewAndExpiry(t *testing.T) {
	f := start(t)
	require.NoError(t, f.CreateBucket("bucket"))
	f.SetClockForTesting(func() time.Time { return time.Now().Add(16 * time.Minute) })
	requireRefused(t, put(t, f.store("bucket"), "k", "x"), 403, "RequestTimeTooSkewed")
	f.SetClockForTesting(time.Now)
	require.NoError(t, put(t, f.store("bucket"), "k", "x"))
}

func (f *fixture) assume(t *testing.T) objstore.Credentials {
	roles := assumerole.New(assumerole.Config{Endpoint: f.url, Region: "us-east-1", HTTPClient: f.client, Credentials: staticCredentials(accessKey, secretKey, "")})
	c, err := roles.Credentials(t.Context(), assumerole.Request{RoleARN: roleARN, ExternalID: externalID})
	require.NoError(t, err)
	return c
}

func TestSessions(t *testing.T) {
	f := start(t)
	require.NoError(t, f.CreateBucket("acme"))
	require.NoError(t, f.CreateBucket("other"))
	role := s3server.PutOnlyRole(roleARN, f.OperatorARN(), externalID, "acme")
	require.NoError(t, f.PutRole(role))
	c := f.assume(t)
	require.WithinDuration(t, time.Now().Add(time.Hour), c.Expires, time.Minute)

	require.NoError(t, put(t, f.store("acme", withCredentials(c)), "1", "x"))
	requireRefused(t, put(t, f.store("other", withCredentials(c)), "1", "x"), 403, "AccessDenied")
	_, err := f.store("acme", withCredentials(c)).List(t.Context(), "", "", 1)
	requireRefused(t, err, 403, "AccessDenied")

	t.Run("needs_its_token", func(t *testing.T) {
		bare := c
		bare.SessionToken = secret.Text{}
		requireRefused(t, put(t, f.store("acme", withCredentials(bare)), "2", "x"), 403, "InvalidAccessKeyId")
	})
	t.Run("does_not_fit_another_key", func(t *testing.T) {
		mixed := f.assume(t)
		mixed.SessionToken = c.SessionToken
		requireRefused(t, put(t, f.store("acme", withCredentials(mixed)), "2", "x"), 400, "InvalidToken")
	})
	t.Run("assumes_nothing", func(t *testing.T) {
		roles := assumerole.New(assumerole.Config{Endpoint: f.url, Region: "us-east-1", HTTPClient: f.client, Credentials: fixedCredentials(c)})
		_, err := roles.Credentials(t.Context(), assumerole.Request{RoleARN: roleARN, ExternalID: externalID})
		require.ErrorIs(t, err, assumerole.ErrDenied)
	})
	t.Run("survives_a_restart", func(t *testing.T) {
		f.restart(t)
		requireRefused(t, put(t, f.store("acme", withCredentials(c)), "3", "x"), 403, "AccessDenied")
		require.NoError(t, f.PutRole(role))
		require.NoError(t, put(t, f.store("acme", withCredentials(c)), "3", "x"))
	})
	t.Run("expires", func(t *testing.T) {
		old := f.assumeAt(t, time.Now().Add(-61*time.Minute))
		requireRefused(t, put(t, f.store("acme", withCredentials(old)), "4", "x"), 400, "ExpiredToken")
	})
	t.Run("ends_with_its_role", func(t *testing.T) {
		f.DeleteRole(roleARN)
		requireRefused(t, put(t, f.store("acme", withCredentials(c)), "5", "x"), 403, "AccessDenied")
	})
}

// assumeAt issues a session at another time, without a signed request.
func (f *fixture) assumeAt(t *testing.T, at time.Time) objstore.Credentials {
	access, key, token := f.IssueForTesting(roleARN, at.Add(time.Hour))
	require.NotEmpty(t, token)
	return objstore.Credentials{AccessKeyID: access, SecretAccessKey: secret.New(key), SessionToken: secret.New(token)}
}

func TestRolesAreChecked(t *testing.T) {
	f := start(t)
	require.ErrorContains(t, f.PutRole(s3server.Role{ARN: "segment-logs"}), "arn:aws:iam::123456789012:role/name")
	require.ErrorContains(t, f.PutRole(s3server.Role{ARN: roleARN}), "trust policy: a policy is nil")
	require.ErrorContains(t, f.CreateBucket("../x"), "not a bucket name")
	require.ErrorContains(t, f.CreateBucket("UPPER"), "not a bucket name")
	require.NoError(t, f.CreateBucket("twice"))
	require.NoError(t, f.CreateBucket("twice"))
	require.Equal(t, []string{"twice"}, f.Buckets())
}

func TestObjectsSurviveARestart(t *testing.T) {
	f := start(t)
	require.NoError(t, f.PutBucket(s3server.Bucket{Name: "bucket", Region: "us-east-1", Owner: "123456789012"}))
	s := f.store("bucket", func(c *objstore.S3Config) { c.ExpectedOwner = "123456789012" })
	opts := objstore.PutOptions{
		ContentType: "text/plain", ContentEncoding: "gzip", Metadata: map[string]string{"first-offset": "7"}, ServerSideEncryption: "aws:kms",
	}
	_, err := s.Put(t.Context(), "segment-logs/a/b.gz", strings.NewReader("body"), opts)
	require.NoError(t, err)
	before, err := s.Head(t.Context(), "segment-logs/a/b.gz")
	require.NoError(t, err)
	require.NotEqual(t, "841a2d689ad86bd1611447453c22c6fc", before.ETag, "under SSE-KMS it is not the MD5")

	f.restart(t)
	after, err := s.Head(t.Context(), "segment-logs/a/b.gz")
	require.NoError(t, err)
	require.Equal(t, before, after)
	require.Equal(t, "gzip", after.ContentEncoding)
	require.ErrorIs(t, put(t, s, "segment-logs/a/b.gz", "other"), objstore.ErrExists)
	list, err := s.List(t.Context(), "segment-logs/", "", 0)
	require.NoError(t, err)
	require.Len(t, list, 1)
	requireRefused(t, put(t, f.store("bucket", func(c *objstore.S3Config) { c.ExpectedOwner = "1" }), "k", "x"), 403, "AccessDenied")
}

func TestOneProcessPerDirectory(t *testing.T) {
	f := start(t)
	_, err := s3server.Open(s3server.Config{Dir: f.dir, AccessKey: accessKey, SecretKey: secretKey})
	require.ErrorIs(t, err, flock.ErrHeld)
}

func TestFaults(t *testing.T) {
	f := start(t)
	require.NoError(t, f.CreateBucket("bucket"))
	s := f.store("bucket")
	for name, c := range map[string]struct {
		fault  s3server.Fault
		stored bool
		want   error
	}{
		"before_503":   {s3server.Fault{Status: 503, Code: "SlowDown"}, false, objstore.ErrUnavailable},
		"after_500":    {s3server.Fault{Status: 500, Code: "InternalError", After: true}, true, objstore.ErrUnavailable},
		"before_409":   {s3server.Fault{Status: 409, Code: "ConditionalRequestConflict"}, false, objstore.ErrConflict},
		"before_403":   {s3server.Fault{Status: 403, Code: "AccessDenied"}, false, objstore.ErrDenied},
		"cut_before":   {s3server.Fault{Cut: true}, false, objstore.ErrUnavailable},
		"cut_after":    {s3server.Fault{Cut: true, After: true}, true, objstore.ErrUnavailable},
		"without_code": {s3server.Fault{Status: 502}, false, objstore.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			f.SetFault(func(*http.Request) s3server.Fault { return c.fault })
			require.ErrorIs(t, put(t, s, name, "x"), c.want)
			f.SetFault(nil)
			_, err := s.Head(t.Context(), name)
			if c.stored {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, objstore.ErrNotFound)
			}
		})
	}
	require.EqualValues(t, 7, f.Requests()["PutObject"])
	require.EqualValues(t, 7, f.Requests()["HeadObject"])
}

// A client gets to read why its upload was refused, whatever its size.
func TestRefusalIsReadable(t *testing.T) {
	f := start(t)
	for _, size := range []int{1 << 10, 1 << 20, 1<<21 - 1, 4 << 20} {
		body := make([]byte, size)
		_, err := f.store("missing").Put(t.Context(), "k", bytes.NewReader(body), objstore.PutOptions{})
		require.ErrorIs(t, err, objstore.ErrNoBucket, "%d bytes", size)
	}
}

func TestAnonymousAndUnknown(t *testing.T) {
	f := start(t)
	require.NoError(t, f.CreateBucket("bucket"))
	for target, status := range map[string]int{"/": 403, "/bucket": 403, "/bucket/key": 403, "/bucket?acl": 403, "/bucket/%ZZ": 400} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.url, nil)
		require.NoError(t, err)
		r.URL.Opaque = target
		response, err := f.client.Do(r)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, status, response.StatusCode, "%s: %s", target, body)
	}
	response, err := f.client.Post(f.url, "application/x-www-form-urlencoded", strings.NewReader("Action=AssumeRole&Version=2011-06-15"))
	require.NoError(t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, 403, response.StatusCode)
	require.Contains(t, string(body), "MissingAuthenticationToken")
	require.EqualValues(t, 1, f.Requests()["AssumeRole"])
}

// serveForever runs in the process that TestSurvivesKill kills.
func serveForever(dir string) {
	server, err := s3server.Open(s3server.Config{Dir: dir, AccessKey: accessKey, SecretKey: secretKey})
	if err == nil {
		err = server.CreateBucket("bucket")
	}
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	h := httptest.NewServer(server)
	fmt.Println(h.URL)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the parent is gone
	os.Exit(0)
}

// What was answered 200 is still there after a kill -9, whole, and nothing is torn.
func TestSurvivesKill(t *testing.T) {
	dir := t.TempDir()
	answered := map[string][]byte{}
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for round := range 5 {
		cmd, endpoint := child(t, dir)
		s := objstore.NewS3(objstore.S3Config{
			Bucket: "bucket", Region: "us-east-1", Endpoint: endpoint, PathStyle: true, HTTPClient: client, Credentials: staticCredentials(accessKey, secretKey, ""),
		})
		for key, want := range answered {
			require.Equal(t, want, get(t, s, key))
		}
		list, err := s.List(t.Context(), "", "", 0)
		require.NoError(t, err)
		for _, i := range list {
			require.Len(t, get(t, s, i.Key), int(i.Size))
		}

		// Writers continue until the process is killed.
		type result struct {
			key  string
			body []byte
			err  error
		}
		results := make(chan result)
		const writers = 4
		for w := range writers {
			go func() {
				for n := 0; ; n++ {
					body := make([]byte, 1+n*5000)
					_, _ = rand.Read(body)
					key := fmt.Sprintf("%d/%d/%d", round, w, n)
					_, err := s.Put(context.Background(), key, bytes.NewReader(body), objstore.PutOptions{IfAbsent: true})
					results <- result{key, body, err}
					if err != nil {
						return
					}
				}
			}()
		}
		for ended := 0; ended < writers; {
			r := <-results
			if r.err != nil {
				require.ErrorIs(t, r.err, objstore.ErrUnavailable)
				ended++
				continue
			}
			answered[r.key] = r.body
			if len(answered) == 40*(round+1) {
				require.NoError(t, cmd.Process.Kill())
			}
		}
		err = cmd.Wait()
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit)
	}
	require.GreaterOrEqual(t, len(answered), 200)
}

func child(t *testing.T, dir string) (*exec.Cmd, string) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childDir+"="+dir)
	_, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, "http://")
	return cmd, strings.TrimSpace(line)
}

func get(t *testing.T, s objstore.Store, key string) []byte {
	t.Helper()
	r, _, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return body
}
