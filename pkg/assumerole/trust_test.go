package assumerole_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/s3server"
)

// stsWithTrust returns an STS that uses f to judge the external id.
func stsWithTrust(f func(given bool, id string) bool) *fakeSTS {
	s := &fakeSTS{}
	s.answer = func(n int64, _ *http.Request) (int, string) {
		form := *s.last.Load()
		if f(form.Has("ExternalId"), form.Get("ExternalId")) {
			return 200, grantedAnswer(n, time.Hour)
		}
		return deniedAnswer()
	}
	return s
}

func awayAnswer() (int, string) {
	return 503, `<ErrorResponse><Error><Code>ServiceUnavailable</Code><Message>later</Message></Error></ErrorResponse>`
}

// The trust policies that people write instead of the right one are detected.
func TestVerifyTrust(t *testing.T) {
	for policy, c := range map[string]struct {
		trusts   func(given bool, id string) bool
		how      string // part of the error; "" if the role is safe
		requests int64
	}{
		"right":               {func(_ bool, id string) bool { return id == externalID }, "", 2},
		"nobody":              {func(bool, string) bool { return false }, "", 2},
		"no_condition":        {func(bool, string) bool { return true }, "without an external id", 1},
		"if_exists":           {func(given bool, id string) bool { return !given || id == externalID }, "without an external id", 1},
		"any_id":              {func(given bool, _ string) bool { return given }, "with a wrong external id", 2},
		"any_workspace":       {func(_ bool, id string) bool { return strings.HasPrefix(id, "ws_") }, "with a wrong external id", 2},
		"any_of_this_length":  {func(_ bool, id string) bool { return len(id) == len(externalID) }, "with a wrong external id", 2},
		"begins_like_this_id": {func(_ bool, id string) bool { return strings.HasPrefix(id, externalID[:9]) }, "with a wrong external id", 2},
	} {
		t.Run(policy, func(t *testing.T) {
			s := stsWithTrust(c.trusts)
			roles := newRoles(s, nil)
			err := roles.VerifyTrust(t.Context(), request)
			require.Equal(t, c.requests, s.requests.Load())
			if c.how == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, assumerole.ErrTrustsAnyone)
			require.ErrorIs(t, err, objstore.ErrDenied)
			require.NotErrorIs(t, err, assumerole.ErrDenied)
			require.ErrorContains(t, err, c.how)
			require.ErrorContains(t, err, `"Condition": {"StringEquals": {"sts:ExternalId": "`+externalID+`"}}`)
			require.NotContains(t, err.Error(), "verify_trust", "AWS's STS supports external ids")
		})
	}
}

// An STS that does not know external ids, such as MinIO's, makes every role look open.
func TestOpenRoleOfAnotherSTS(t *testing.T) {
	s := stsWithTrust(func(bool, string) bool { return true })
	for endpoint, other := range map[string]string{
		"http://minio:9000":                                 "http://minio:9000",
		"https://sts.eusc-de-east-1.amazonaws.eu":           "",
		"https://vpce-1-x.sts.eu-west-1.vpce.amazonaws.com": "",
	} {
		roles := newRoles(s, func(cfg *assumerole.Config) { cfg.Endpoint = endpoint })
		err := roles.VerifyTrust(t.Context(), request)
		var e *assumerole.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, other, e.OtherSTS)
		require.Equal(t, other != "", strings.Contains(err.Error(), "set sts.verify_trust: false"))
	}
}

// Credentials that a probe obtains can do nothing, and are not kept.
func TestProbeCredentialsAreWorthless(t *testing.T) {
	var forms []url.Values
	s := &fakeSTS{}
	s.answer = func(n int64, _ *http.Request) (int, string) {
		forms = append(forms, *s.last.Load())
		return 200, grantedAnswer(n, time.Hour)
	}
	roles := newRoles(s, nil)
	require.Equal(t, "ASIA1", get(t, roles, request))
	require.ErrorIs(t, roles.VerifyTrust(t.Context(), request), assumerole.ErrTrustsAnyone)
	require.JSONEq(t, `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`, forms[1].Get("Policy"))
	for _, field := range []string{"RoleArn", "RoleSessionName", "DurationSeconds"} {
		require.Equal(t, forms[0].Get(field), forms[1].Get(field), "a trust policy may look at %s", field)
	}
	without := request
	without.ExternalID = ""
	require.Equal(t, "ASIA3", get(t, roles, without))
}

func TestNoExternalIDAsksNothing(t *testing.T) {
	s := stsWithTrust(func(bool, string) bool { return true })
	roles := newRoles(s, func(c *assumerole.Config) { c.NoExternalID = true })
	require.NoError(t, roles.VerifyTrust(t.Context(), request))
	require.Zero(t, s.requests.Load())
}

// VerifyTrust works against the embedded STS, as in sealift dev.
func TestVerifyTrustOfEmbeddedRoles(t *testing.T) {
	server, endpoint, client := serve(t)
	open := request
	open.RoleARN += "-open"
	require.NoError(t, server.PutRole(s3server.PutOnlyRole(open.RoleARN, server.OperatorARN(), "", "acme-logs")))
	roles := assumerole.New(assumerole.Config{Endpoint: endpoint, Credentials: ownCredentials, HTTPClient: client})
	require.NoError(t, roles.VerifyTrust(t.Context(), request))
	require.ErrorIs(t, roles.VerifyTrust(t.Context(), open), assumerole.ErrTrustsAnyone)
}

func TestTrustIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		safe := true
		s := stsWithTrust(func(_ bool, id string) bool { return !safe || id == externalID })
		roles := newRoles(s, nil)
		verify := func() error { return roles.VerifyTrust(t.Context(), request) }
		require.NoError(t, verify())
		time.Sleep(17 * time.Hour)
		other := request
		other.SessionPolicy = `{"Statement":[]}`
		require.NoError(t, roles.VerifyTrust(t.Context(), other), "trust depends on the session policy")
		require.EqualValues(t, 2, s.requests.Load(), "a good answer for at least 18 hours")

		safe = false // the customer removes the condition
		time.Sleep(8 * time.Hour)
		require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone, "and at most 24")
		safe = true
		require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone)
		require.EqualValues(t, 3, s.requests.Load(), "a bad answer is kept too")
		time.Sleep(3*time.Minute + time.Second)
		require.NoError(t, verify(), "but not for long")
	})
}

func TestTrustWhileSTSIsAway(t *testing.T) {
	for name, away := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var unavailable, open atomic.Bool
				unavailable.Store(true)
				s := &fakeSTS{}
				s.answer = func(n int64, r *http.Request) (int, string) {
					switch {
					case unavailable.Load():
						return away(r)
					case open.Load():
						return 200, grantedAnswer(n, time.Hour)
					}
					return deniedAnswer()
				}
				roles := newRoles(s, nil)
				defer roles.Close()
				verify := func() error {
					ctx, cancel := context.WithTimeout(t.Context(), putTimeout)
					defer cancel()
					err := roles.VerifyTrust(ctx, request)
					if err == nil && ctx.Err() != nil {
						t.Errorf("the answer came too late for a PUT")
					}
					return err
				}
				err := verify()
				require.ErrorIs(t, err, assumerole.ErrUnavailable, "nothing is known")
				require.ErrorContains(t, err, externalID)
				requests := s.requests.Load()
				require.ErrorIs(t, verify(), assumerole.ErrUnavailable)
				if name != "silent" { // in that case the caller stopped waiting
					require.Equal(t, requests, s.requests.Load(), "asked again too soon")
				}

				unavailable.Store(false)
				time.Sleep(21 * time.Second)
				require.NoError(t, verify())
				unavailable.Store(true)
				time.Sleep(72 * time.Hour)
				var all sync.WaitGroup
				all.Go(func() {
					begun := time.Now()
					if err := verify(); err != nil || time.Since(begun) >= hangAfter/2 {
						t.Errorf("want the known good result, got %v, after %v", err, time.Since(begun))
					}
				})
				synctest.Wait()
				start := time.Now()
				require.NoError(t, verify())
				require.Zero(t, time.Since(start), "waited although a result is known")
				all.Wait()
				requests = s.requests.Load()
				require.NoError(t, verify())
				require.Equal(t, requests, s.requests.Load(), "asked again too soon")
				unavailable.Store(false)
				open.Store(true)
				time.Sleep(21 * time.Second)
				require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone)
				unavailable.Store(true)
				time.Sleep(time.Hour)
				require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone, "a known bad result was forgotten")
			})
		})
	}
}

// TestTrustIsProbedWhereSTSIsSlow: the probe is repeated each day even if STS is slower
// than a PUT can wait. Otherwise a good result would be kept forever.
func TestTrustIsProbedWhereSTSIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var open atomic.Bool
		s := &fakeSTS{}
		s.answer = func(n int64, r *http.Request) (int, string) {
			select {
			case <-r.Context().Done():
				return 0, ""
			case <-time.After(1500 * time.Millisecond):
			}
			if open.Load() {
				return 200, grantedAnswer(n, time.Hour)
			}
			return deniedAnswer()
		}
		roles := newRoles(s, nil)
		defer roles.Close()
		verify := func() error {
			begun := time.Now()
			err := roles.VerifyTrust(t.Context(), request)
			require.Less(t, time.Since(begun), time.Second)
			return err
		}
		require.NoError(t, roles.VerifyTrust(t.Context(), request))
		time.Sleep(25 * time.Hour)
		require.NoError(t, verify())
		time.Sleep(3 * time.Second)
		requests := s.requests.Load()
		time.Sleep(17 * time.Hour)
		require.NoError(t, verify())
		require.Equal(t, requests, s.requests.Load(), "asked again although the answer is known")

		open.Store(true)
		time.Sleep(8 * time.Hour)
		require.NoError(t, verify(), "not known yet")
		time.Sleep(2 * time.Second)
		require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone)
		open.Store(false)
		time.Sleep(4 * time.Minute)
		require.ErrorIs(t, verify(), assumerole.ErrTrustsAnyone)
		time.Sleep(4 * time.Second)
		require.NoError(t, verify(), "the corrected trust policy was not noticed")

		time.Sleep(25 * time.Hour)
		require.NoError(t, verify())
		begun := time.Now()
		roles.Close()
		require.Zero(t, time.Since(begun), "Close waits for a probe that nobody waits for")
	})
}

func TestTrustProbesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fakeSTS{answer: func(_ int64, r *http.Request) (int, string) {
			select {
			case <-r.Context().Done():
				return 0, ""
			case <-time.After(time.Second):
				return deniedAnswer()
			}
		}}
		roles := newRoles(s, nil)
		short, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		var all sync.WaitGroup
		all.Go(func() { // asks, and gives up
			if err := roles.VerifyTrust(short, request); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, assumerole.ErrUnavailable) {
				t.Errorf("leader got %v", err)
			}
		})
		synctest.Wait()
		all.Go(func() { // waits, and gives up
			if err := roles.VerifyTrust(short, request); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("waiter got %v", err)
			}
		})
		for range 20 {
			all.Go(func() {
				if err := roles.VerifyTrust(t.Context(), request); err != nil {
					t.Errorf("a survivor got %v", err)
				}
			})
		}
		all.Wait()
		require.EqualValues(t, 3, s.requests.Load(), "one by the cancelled caller, two by its successor")
	})
}

func TestTrustIsBounded(t *testing.T) {
	s := stsWithTrust(func(_ bool, id string) bool { return id == externalID })
	roles := newRoles(s, func(c *assumerole.Config) { c.MaxCached = 3 })
	for i := range 10 {
		require.NoError(t, roles.VerifyTrust(t.Context(), assumerole.Request{RoleARN: fmt.Sprint(roleARN, i), ExternalID: externalID}))
	}
	require.EqualValues(t, 20, s.requests.Load())
	for i := range 10 {
		require.NoError(t, roles.VerifyTrust(t.Context(), assumerole.Request{RoleARN: fmt.Sprint(roleARN, i), ExternalID: externalID}))
	}
	require.GreaterOrEqual(t, s.requests.Load(), int64(20+2*7), "no more than three were kept")
}

func TestRequestCounter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // because the SDK's retries sleep
		s := &fakeSTS{}
		s.answer = func(n int64, _ *http.Request) (int, string) {
			if n == 1 {
				return awayAnswer()
			}
			return 200, grantedAnswer(n, time.Hour)
		}
		roles := newRoles(s, nil)
		var n atomic.Int64
		ctx := assumerole.WithRequestCounter(t.Context(), &n)
		for range 2 {
			_, err := roles.Credentials(ctx, request)
			require.NoError(t, err)
		}
		require.EqualValues(t, 2, n.Load(), "one that failed, one that did not, none for the cache")
		require.ErrorIs(t, roles.VerifyTrust(ctx, request), assumerole.ErrTrustsAnyone)
		require.EqualValues(t, 3, n.Load())
	})
}
