package assumerole_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	roleARN    = "arn:aws:iam::123456789012:role/segment-logs"
	externalID = "ws_0123456789abcdef"
)

var request = assumerole.Request{RoleARN: roleARN, ExternalID: externalID, Region: "eu-west-1"}

func ownCredentials(context.Context) (objstore.Credentials, error) {
	return objstore.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: secret.New("secret")}, nil
}

// serve runs the embedded STS and S3.
func serve(t *testing.T) (*s3server.Server, string, *http.Client) {
	server, err := s3server.Open(s3server.Config{Dir: t.TempDir(), AccessKey: "AKIAOPERATOR", SecretKey: "secret"})
	require.NoError(t, err)
	require.NoError(t, server.PutRole(s3server.PutOnlyRole(roleARN, server.OperatorARN(), externalID, "acme-logs")))
	h := httptest.NewServer(server)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(func() { client.CloseIdleConnections(); h.Close(); require.NoError(t, server.Close()) })
	return server, h.URL, client
}

// The real SDK against the embedded STS and S3, end to end.
func TestAssumedRoleDelivers(t *testing.T) {
	server, endpoint, client := serve(t)
	require.NoError(t, server.CreateBucket("acme-logs"))
	require.NoError(t, server.CreateBucket("other-logs"))
	roles := assumerole.New(assumerole.Config{Endpoint: endpoint, Credentials: ownCredentials, HTTPClient: client})
	open := func(bucket string) objstore.Store {
		return objstore.NewS3(objstore.S3Config{
			Bucket: bucket, Region: "us-east-1", Endpoint: endpoint, PathStyle: true, HTTPClient: client,
			Credentials: func(ctx context.Context) (objstore.Credentials, error) { return roles.Credentials(ctx, request) },
		})
	}
	put := func(s objstore.Store) error {
		_, err := s.Put(t.Context(), "segment-logs/x.gz", strings.NewReader("x"), objstore.PutOptions{
			IfAbsent: true, ACL: "bucket-owner-full-control", ServerSideEncryption: "AES256",
		})
		return err
	}
	acme := open("acme-logs")
	require.NoError(t, put(acme))
	require.ErrorIs(t, put(acme), objstore.ErrExists)
	require.ErrorIs(t, put(open("other-logs")), objstore.ErrDenied, "a bucket that is not the role's")

	_, err := acme.Head(t.Context(), "segment-logs/x.gz")
	require.ErrorIs(t, err, objstore.ErrDenied, "put only")
	_, _, err = acme.Get(t.Context(), "segment-logs/x.gz")
	require.ErrorIs(t, err, objstore.ErrDenied)
	_, err = acme.List(t.Context(), "", "", 1)
	require.ErrorIs(t, err, objstore.ErrDenied)
	require.ErrorIs(t, acme.Delete(t.Context(), "segment-logs/x.gz"), objstore.ErrDenied)
	require.EqualValues(t, 1, server.Requests()["AssumeRole"], "cached")
}

func TestIdentity(t *testing.T) {
	_, endpoint, client := serve(t)
	arn, err := assumerole.New(assumerole.Config{Endpoint: endpoint, Credentials: ownCredentials, HTTPClient: client}).Identity(t.Context())
	require.NoError(t, err)
	require.Equal(t, "arn:aws:iam::000000000000:root", arn)

	stranger := assumerole.New(assumerole.Config{Endpoint: endpoint, HTTPClient: client, Credentials: func(context.Context) (objstore.Credentials, error) {
		return objstore.Credentials{AccessKeyID: "AKIASTRANGER", SecretAccessKey: secret.New("secret")}, nil
	}})
	_, err = stranger.Identity(t.Context())
	require.ErrorIs(t, err, assumerole.ErrOwnCredentials)
}

func TestRefusals(t *testing.T) {
	_, endpoint, client := serve(t)
	roles := assumerole.New(assumerole.Config{Endpoint: endpoint, Credentials: ownCredentials, HTTPClient: client})
	for name, c := range map[string]struct {
		change func(*assumerole.Request)
		kind   error
		class  error
		code   string
	}{
		"wrong_external_id":   {func(r *assumerole.Request) { r.ExternalID = "ws_another" }, assumerole.ErrDenied, objstore.ErrDenied, "AccessDenied"},
		"missing_external_id": {func(r *assumerole.Request) { r.ExternalID = "" }, assumerole.ErrDenied, objstore.ErrDenied, "AccessDenied"},
		"no_such_role":        {func(r *assumerole.Request) { r.RoleARN += "-x" }, assumerole.ErrDenied, objstore.ErrDenied, "AccessDenied"},
		"malformed_arn":       {func(r *assumerole.Request) { r.RoleARN = "arn:aws:iam::1:role/segment-logs" }, assumerole.ErrInvalid, objstore.ErrInvalid, "ValidationError"},
		"policy_too_large":    {func(r *assumerole.Request) { r.SessionPolicy = strings.Repeat(" ", 2049) }, assumerole.ErrInvalid, objstore.ErrInvalid, "ValidationError"},
		"policy_malformed":    {func(r *assumerole.Request) { r.SessionPolicy = "{}" }, assumerole.ErrInvalid, objstore.ErrInvalid, "MalformedPolicyDocument"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := request
			c.change(&bad)
			_, err := roles.Credentials(t.Context(), bad)
			require.ErrorIs(t, err, c.kind)
			require.ErrorIs(t, err, c.class)
			var e *assumerole.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, c.code, e.Code)
			require.NotEmpty(t, e.Message)
			if errors.Is(err, assumerole.ErrDenied) {
				require.ErrorContains(t, err, "sts:ExternalId")
			}
		})
	}

	t.Run("own_credentials_wrong", func(t *testing.T) {
		stranger := assumerole.New(assumerole.Config{Endpoint: endpoint, HTTPClient: client, Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{AccessKeyID: "AKIAOPERATOR", SecretAccessKey: secret.New("wrong")}, nil
		}})
		_, err := stranger.Credentials(t.Context(), request)
		require.ErrorIs(t, err, assumerole.ErrOwnCredentials)
		require.ErrorIs(t, err, assumerole.ErrUnavailable, "counted as the customer's fault")
		require.ErrorContains(t, err, "SignatureDoesNotMatch")
	})
	t.Run("own_credentials_missing", func(t *testing.T) {
		cause := errors.New("no profile")
		none := assumerole.New(assumerole.Config{Endpoint: endpoint, HTTPClient: client, Credentials: func(context.Context) (objstore.Credentials, error) {
			return objstore.Credentials{}, cause
		}})
		_, err := none.Credentials(t.Context(), request)
		require.ErrorIs(t, err, assumerole.ErrOwnCredentials)
		require.ErrorIs(t, err, cause)
	})
}

// fakeSTS is an STS in memory. Its answers contain the number of the request.
type fakeSTS struct {
	requests atomic.Int64
	last     atomic.Pointer[url.Values]
	region   atomic.Pointer[string]
	// answer returns the answer to a request; nil: credentials for an hour.
	answer func(n int64, r *http.Request) (status int, body string)
}

func (s *fakeSTS) RoundTrip(r *http.Request) (*http.Response, error) {
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(raw))
	if err != nil {
		return nil, err
	}
	s.last.Store(&form)
	host := r.URL.Host
	s.region.Store(&host)
	n := s.requests.Add(1)
	status, body := 200, grantedAnswer(n, time.Hour)
	if s.answer != nil {
		if status, body = s.answer(n, r); status == 0 {
			return nil, errors.New("connection reset by peer")
		}
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{"Date": {time.Now().UTC().Format(http.TimeFormat)}},
		Body: io.NopCloser(strings.NewReader(body)), Request: r,
	}, nil
}

func grantedAnswer(n int64, life time.Duration) string {
	return fmt.Sprintf(`<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIA%d</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
		`<SessionToken>t</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		n, time.Now().Add(life).UTC().Format(time.RFC3339))
}

func deniedAnswer() (int, string) {
	return 403, `<ErrorResponse><Error><Code>AccessDenied</Code><Message>not authorized</Message></Error></ErrorResponse>`
}

func newRoles(s *fakeSTS, change func(*assumerole.Config)) *assumerole.Roles {
	cfg := assumerole.Config{Region: "us-east-1", Credentials: ownCredentials, HTTPClient: &http.Client{Transport: s}}
	if change != nil {
		change(&cfg)
	}
	return assumerole.New(cfg)
}

func get(t *testing.T, r *assumerole.Roles, request assumerole.Request) string {
	t.Helper()
	c, err := r.Credentials(t.Context(), request)
	require.NoError(t, err)
	return c.AccessKeyID
}

func TestRequestForm(t *testing.T) {
	s := &fakeSTS{}
	roles := newRoles(s, nil)
	with := request
	with.SessionPolicy = `{"Statement":[]}`
	get(t, roles, with)
	form := *s.last.Load()
	require.Equal(t, roleARN, form.Get("RoleArn"))
	require.Equal(t, externalID, form.Get("ExternalId"))
	require.Equal(t, "sealift", form.Get("RoleSessionName"))
	require.Equal(t, "3600", form.Get("DurationSeconds"))
	require.Equal(t, with.SessionPolicy, form.Get("Policy"))
	require.Equal(t, "sts.eu-west-1.amazonaws.com", *s.region.Load(), "the request's region")
	get(t, roles, assumerole.Request{RoleARN: roleARN})
	require.Equal(t, "sts.us-east-1.amazonaws.com", *s.region.Load(), "the configured region")
	require.False(t, s.last.Load().Has("ExternalId"))
	require.False(t, s.last.Load().Has("Policy"))
}

func TestFIPS(t *testing.T) {
	for region, want := range map[string]string{
		"us-west-2": "sts-fips.us-west-2.amazonaws.com", "us-gov-west-1": "sts.us-gov-west-1.amazonaws.com",
		"eu-west-1": "sts-fips.us-east-1.amazonaws.com", // Europe has none
	} {
		s := &fakeSTS{}
		roles := newRoles(s, func(c *assumerole.Config) { c.Region = region })
		with := assumerole.Request{RoleARN: roleARN, ExternalID: externalID, FIPS: true}
		key := get(t, roles, with)
		require.Equal(t, want, *s.region.Load(), region)
		without := with
		without.FIPS = false
		require.NotEqual(t, key, get(t, roles, without))
		require.Equal(t, "sts."+region+".amazonaws.com", *s.region.Load(), region)
		roles.Forget(with)
		require.NotEqual(t, key, get(t, roles, with), "%s: Forget had no effect", region)
	}
	s := &fakeSTS{}
	get(t, newRoles(s, func(c *assumerole.Config) { c.Endpoint = "https://sts.example.com" }), assumerole.Request{RoleARN: roleARN, FIPS: true})
	require.Equal(t, "sts.example.com", *s.region.Load(), "an endpoint of one's own is taken as it is")
}

// A role that is assumed with a role's credentials can be used for an hour at most, and STS refuses
// requests for more.
func TestSessionDurationIsOneHour(t *testing.T) {
	s := &fakeSTS{}
	s.answer = func(n int64, _ *http.Request) (int, string) {
		if seconds, _ := strconv.Atoi(s.last.Load().Get("DurationSeconds")); seconds > 3600 {
			return 400, `<ErrorResponse><Error><Code>ValidationError</Code><Message>The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining</Message></Error></ErrorResponse>`
		}
		return 200, grantedAnswer(n, time.Hour)
	}
	chained := func(context.Context) (objstore.Credentials, error) {
		return objstore.Credentials{AccessKeyID: "ASIAOPERATOR", SecretAccessKey: secret.New("secret"), SessionToken: secret.New("token")}, nil
	}
	get(t, newRoles(s, func(c *assumerole.Config) { c.Credentials = chained }), request)
	require.Equal(t, "3600", s.last.Load().Get("DurationSeconds"))
}

// Two tenants never share credentials: every part of the request belongs to the cache key.
func TestCacheKey(t *testing.T) {
	s := &fakeSTS{}
	roles := newRoles(s, nil)
	seen := map[string]bool{}
	for _, change := range []func(*assumerole.Request){
		func(*assumerole.Request) {},
		func(r *assumerole.Request) { r.RoleARN += "2" },
		func(r *assumerole.Request) { r.ExternalID += "2" },
		func(r *assumerole.Request) { r.Region = "eu-west-2" },
		func(r *assumerole.Request) { r.SessionPolicy = "{}" },
	} {
		r := request
		change(&r)
		key := get(t, roles, r)
		require.False(t, seen[key])
		seen[key] = true
		require.Equal(t, key, get(t, roles, r), "cached")
	}
	require.EqualValues(t, 5, s.requests.Load())
	noRegion, named := request, request
	noRegion.Region, named.Region = "", "us-east-1"
	require.Equal(t, get(t, roles, noRegion), get(t, roles, named), "the default region is that region")
}

func TestSingleFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(n int64, _ *http.Request) (int, string) {
			time.Sleep(time.Second)
			return 200, grantedAnswer(n, time.Hour)
		}}
		roles := newRoles(s, nil)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				c, err := roles.Credentials(t.Context(), request)
				if err != nil || c.AccessKeyID != "ASIA1" {
					t.Errorf("got %v, %v", c, err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, s.requests.Load())
	})
}

func TestSharedFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(int64, *http.Request) (int, string) {
			time.Sleep(time.Second)
			return deniedAnswer()
		}}
		roles := newRoles(s, nil)
		var all sync.WaitGroup
		for range 20 {
			all.Go(func() {
				if _, err := roles.Credentials(t.Context(), request); !errors.Is(err, assumerole.ErrDenied) {
					t.Errorf("got %v", err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 1, s.requests.Load())
		_, err := roles.Credentials(t.Context(), request)
		require.ErrorIs(t, err, assumerole.ErrDenied)
		require.EqualValues(t, 2, s.requests.Load(), "failures are not cached")
	})
}

func TestCancelledLeaderDoesNotFailWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(n int64, r *http.Request) (int, string) {
			select {
			case <-r.Context().Done():
				return 0, ""
			case <-time.After(10 * time.Second):
			}
			return 200, grantedAnswer(n, time.Hour)
		}}
		roles := newRoles(s, nil)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { // leads, and gives up
			_, err := roles.Credentials(short, request)
			if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, assumerole.ErrUnavailable) {
				t.Errorf("leader got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() { // waits, and gives up
			_, err := roles.Credentials(short, request)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiter got %v", err)
			}
		})
		for range 5 {
			all.Go(func() {
				if _, err := roles.Credentials(t.Context(), request); err != nil {
					t.Errorf("survivor got %v", err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 2, s.requests.Load())
	})
}

func TestRefreshedEarly(t *testing.T) {
	for life, early := range map[time.Duration]time.Duration{time.Hour: 10 * time.Minute, 12 * time.Hour: 10 * time.Minute, 20 * time.Minute: 5 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &fakeSTS{answer: func(n int64, _ *http.Request) (int, string) { return 200, grantedAnswer(n, life) }}
				roles := newRoles(s, nil)
				require.Equal(t, "ASIA1", get(t, roles, request))
				time.Sleep(life - early - time.Minute)
				require.Equal(t, "ASIA1", get(t, roles, request))
				time.Sleep(2 * time.Minute)
				require.Equal(t, "ASIA2", get(t, roles, request))
			})
		})
	}
}

// outages are ways in which a service can be unavailable. Callers wait for half a minute, which is
// what a copier allows for a PUT.
var outages = map[string]func(*http.Request) (int, string){
	"refuses": func(*http.Request) (int, string) { return awayAnswer() },
	"resets":  func(*http.Request) (int, string) { return 0, "" },
	"silent":  func(r *http.Request) (int, string) { <-r.Context().Done(); return 0, "" },
}

const putTimeout = 30 * time.Second

// hangAfter is how long a copier waits before it treats a PUT as one that hangs.
const hangAfter = 2 * time.Second

func TestCredentialsWhileSTSIsAway(t *testing.T) {
	for name, away := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				unavailable := false
				s := &fakeSTS{}
				s.answer = func(n int64, r *http.Request) (int, string) {
					if unavailable {
						return away(r)
					}
					return 200, grantedAnswer(n, time.Hour)
				}
				roles := newRoles(s, nil)
				ask := func() (objstore.Credentials, error) {
					ctx, cancel := context.WithTimeout(t.Context(), putTimeout)
					defer cancel()
					c, err := roles.Credentials(ctx, request)
					if err == nil && ctx.Err() != nil {
						t.Errorf("the answer came too late for a PUT")
					}
					return c, err
				}
				old := func(msg string) {
					t.Helper()
					c, err := ask()
					require.NoError(t, err, msg)
					require.Equal(t, "ASIA1", c.AccessKeyID, msg)
				}
				old("the first")
				unavailable = true
				time.Sleep(55 * time.Minute)
				var all sync.WaitGroup
				all.Go(func() {
					begun := time.Now()
					if c, err := ask(); err != nil || c.AccessKeyID != "ASIA1" || time.Since(begun) >= hangAfter/2 {
						t.Errorf("want the old credentials, got %v, %v, after %v", c, err, time.Since(begun))
					}
				})
				synctest.Wait()
				start := time.Now()
				old("waited although a result is known")
				require.Zero(t, time.Since(start))
				all.Wait()
				requests := s.requests.Load()
				old("")
				require.Equal(t, requests, s.requests.Load(), "asked again too soon")
				time.Sleep(4*time.Minute + 20*time.Second)
				_, err := ask()
				require.ErrorIs(t, err, assumerole.ErrUnavailable, "less than a minute is left")
				if name == "refuses" {
					var e *assumerole.Error
					require.ErrorAs(t, err, &e)
					require.Equal(t, 503, e.Status)
				}
				unavailable = false
				c, err := ask()
				require.NoError(t, err)
				require.NotEqual(t, "ASIA1", c.AccessKeyID)
			})
		})
	}
}

func TestDenialIsNotHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(n int64, _ *http.Request) (int, string) {
			if n > 1 {
				return deniedAnswer()
			}
			return 200, grantedAnswer(n, time.Hour)
		}}
		roles := newRoles(s, nil)
		get(t, roles, request)
		time.Sleep(55 * time.Minute)
		for range 2 {
			_, err := roles.Credentials(t.Context(), request)
			require.ErrorIs(t, err, assumerole.ErrDenied)
		}
	})
}

func TestForget(t *testing.T) {
	s := &fakeSTS{}
	roles := newRoles(s, nil)
	require.Equal(t, "ASIA1", get(t, roles, request))
	roles.Forget(request)
	require.Equal(t, "ASIA2", get(t, roles, request))
	roles.Forget(assumerole.Request{RoleARN: "never seen"})
}

func TestForgetDuringAFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(n int64, _ *http.Request) (int, string) {
			time.Sleep(time.Second)
			return 200, grantedAnswer(n, time.Hour)
		}}
		roles := newRoles(s, nil)
		var flown sync.WaitGroup
		flown.Go(func() { _, _ = roles.Credentials(t.Context(), request) })
		synctest.Wait()
		roles.Forget(request)
		flown.Wait()
		require.Equal(t, "ASIA2", get(t, roles, request), "a result that was requested before Forget was kept")
	})
}

func TestCacheIsBounded(t *testing.T) {
	s := &fakeSTS{}
	roles := newRoles(s, func(c *assumerole.Config) { c.MaxCached = 3 })
	role := func(i int) assumerole.Request {
		return assumerole.Request{RoleARN: fmt.Sprintf("%s-%d", roleARN, i), Region: "us-east-1"}
	}
	for i := range 3 {
		get(t, roles, role(i))
	}
	get(t, roles, role(0)) // used again
	get(t, roles, role(3)) // evicts 1
	require.EqualValues(t, 4, s.requests.Load())
	for _, i := range []int{0, 2, 3} {
		get(t, roles, role(i))
	}
	require.EqualValues(t, 4, s.requests.Load())
	get(t, roles, role(1))
	require.EqualValues(t, 5, s.requests.Load())
}

func TestClassification(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		code   string
		want   error
	}{
		"denied":          {403, "AccessDenied", assumerole.ErrDenied},
		"expired_own":     {403, "ExpiredToken", assumerole.ErrOwnCredentials},
		"unknown_own":     {403, "InvalidClientTokenId", assumerole.ErrOwnCredentials},
		"throttled":       {400, "Throttling", assumerole.ErrUnavailable},
		"region_disabled": {403, "RegionDisabledException", assumerole.ErrInvalid},
		"packed_policy":   {400, "PackedPolicyTooLarge", assumerole.ErrInvalid},
		"internal":        {500, "InternalFailure", assumerole.ErrUnavailable},
		"reset":           {0, "", assumerole.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { // because the SDK's retries sleep
				s := &fakeSTS{answer: func(int64, *http.Request) (int, string) {
					return c.status, "<ErrorResponse><Error><Code>" + c.code + "</Code><Message>m</Message></Error></ErrorResponse>"
				}}
				_, err := newRoles(s, nil).Credentials(t.Context(), request)
				require.ErrorIs(t, err, c.want)
				var e *assumerole.Error
				require.ErrorAs(t, err, &e)
				require.Equal(t, c.status, e.Status)
				require.Equal(t, c.code, e.Code)
				require.ErrorContains(t, err, roleARN)
			})
		})
	}
}

// TestAnswerWithoutCredentialsIsAnError: the SDK accepts an empty document, for instance that of a
// load balancer, as an answer.
func TestAnswerWithoutCredentialsIsAnError(t *testing.T) {
	for name, document := range map[string]string{
		"empty":          "",
		"no_credentials": "<AssumeRoleResponse><AssumeRoleResult></AssumeRoleResult></AssumeRoleResponse>",
	} {
		t.Run(name, func(t *testing.T) {
			s := &fakeSTS{answer: func(int64, *http.Request) (int, string) { return http.StatusOK, document }}
			_, err := newRoles(s, nil).Credentials(t.Context(), request)
			require.ErrorIs(t, err, assumerole.ErrUnavailable)
		})
	}
}

// TestMissingCredentialsError: without credentials STS was not asked, so the error must not suggest
// it.
func TestMissingCredentialsError(t *testing.T) {
	err := &assumerole.Error{Kind: assumerole.ErrOwnCredentials, Err: fmt.Errorf("%w: set some", objstore.ErrNoCredentials)}
	require.EqualError(t, err, "ask STS who we are: no AWS credentials: set some")
}
