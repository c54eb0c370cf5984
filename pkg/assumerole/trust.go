package assumerole

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
	"time"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/jitter"
)

const (
	// trustTTL is how long a role that was found safe is not probed again, reduced by up to a
	// quarter at random.
	trustTTL = 24 * time.Hour
	// distrustTTL is how long a role that was found open is refused without a probe. It is short,
	// so that a corrected trust policy is noticed soon.
	distrustTTL = 3 * time.Minute
	// probeTimeout limits a probe that nobody waits for any more. It is shorter than retryAfter.
	probeTimeout = 10 * time.Second
)

// denyAllPolicy is the session policy of probes. It denies everything, so credentials that a probe
// should not have obtained are worthless.
const denyAllPolicy = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// trustKey identifies a role and its external id. The other fields of a Request do not matter for
// trust.
type trustKey struct{ roleARN, externalID string }

// trust is what is known about a role's trust policy.
type trust struct {
	asking chan struct{} // holds one token while STS is asked

	// Guarded by Roles.mu.
	known bool // err is an answer of STS
	err   error
	until time.Time // from then on it is probed again
}

// VerifyTrust returns nil if STS refuses to assume the request's role both without its external id
// and with a wrong one. Otherwise another customer could name this role and have Sealift assume it,
// and the error matches ErrTrustsAnyone.
//
// The result is meaningful only for a role for which Credentials succeeds with the right id. A good
// result is kept for a day, and longer while STS is unavailable; a bad one for some minutes.
//
// VerifyTrust blocks until STS answers, like Credentials, and of those who wait for the same role
// one asks. If a result is known, they wait for less than a second and then return it, while the
// probe continues, since STS may be slow. If the known result is good, callers that arrive during
// the probe get it at once. Every error is an *Error; one that matches ErrUnavailable means that
// nothing is known.
func (r *Roles) VerifyTrust(ctx context.Context, request Request) error {
	if r.cfg.NoExternalID {
		return nil
	}
	request = r.withDefaults(request)
	t := r.trustEntry(request)
	known, fresh, old := r.trustState(t)
	if fresh || known && old == nil && len(t.asking) > 0 {
		return old
	}
	var enough <-chan time.Time // when to stop waiting; nil: there is no known result
	if known {
		timer := time.NewTimer(refreshTimeout)
		defer timer.Stop()
		enough = timer.C
	}
	select {
	case t.asking <- struct{}{}:
	case <-enough:
		return old
	case <-ctx.Done():
		return classify(ctx, request, ctx.Err())
	}
	if _, fresh, err := r.trustState(t); fresh { // another caller asked in the meantime
		<-t.asking
		return err
	}
	askedAt := time.Now()
	if !known {
		defer func() { <-t.asking }()
		err := r.probe(ctx, request)
		if ctx.Err() != nil {
			return err // the failure says nothing to others
		}
		return r.recordTrust(t, askedAt, err)
	}
	answer := make(chan error, 1)
	r.probes.Go(func() {
		defer func() { <-t.asking }()
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
		defer cancel()
		defer context.AfterFunc(r.base, cancel)()
		answer <- r.recordTrust(t, askedAt, r.probe(asking, request))
	})
	select {
	case err := <-answer:
		return err
	case <-enough:
		return old
	case <-ctx.Done():
		return classify(ctx, request, ctx.Err())
	}
}

// trustState returns what is known, and whether it is fresh.
func (r *Roles) trustState(t *trust) (known, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.known, time.Now().Before(t.until), t.err
}

// recordTrust records the result of a probe that began at askedAt, and returns what is known now.
func (r *Roles) recordTrust(t *trust, askedAt time.Time, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		t.known, t.err, t.until = true, nil, time.Now().Add(trustTTL-jitter.N(trustTTL/4))
	case !isUnavailable(err):
		t.known, t.err, t.until = true, err, time.Now().Add(distrustTTL)
	default: // what is known remains valid
		if !t.known {
			t.err = err
		}
		t.until = askedAt.Add(retryAfter)
	}
	return t.err
}

func (r *Roles) trustEntry(request Request) *trust {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := trustKey{request.RoleARN, request.ExternalID}
	t := r.trusts[key]
	if t == nil {
		for k := range r.trusts {
			if len(r.trusts) < r.cfg.MaxCached {
				break
			}
			delete(r.trusts, k) // any of them: it costs two requests
		}
		t = &trust{asking: make(chan struct{}, 1)}
		r.trusts[key] = t
	}
	return t
}

// probe asks STS. Except for the external id the request is like a real one, since a trust policy
// may depend on anything; only the session policy makes its result worthless.
func (r *Roles) probe(ctx context.Context, request Request) error {
	for _, wrong := range []struct{ id, how string }{{"", "without an external id"}, {wrongID(request.ExternalID), "with a wrong external id"}} {
		try := request
		try.ExternalID, try.SessionPolicy = wrong.id, denyAllPolicy
		_, err := r.assume(ctx, try) // the credentials are discarded
		var e *Error
		switch {
		case err == nil:
			return &Error{RoleARN: request.RoleARN, ExternalID: request.ExternalID, Region: request.Region, Kind: ErrTrustsAnyone,
				Err: errors.New("it was assumed " + wrong.how), OtherSTS: r.otherSTS()}
		case errors.Is(err, ErrDenied):
		case errors.As(err, &e):
			e.ExternalID = request.ExternalID
			return err
		}
	}
	return nil
}

// otherSTS returns the URL of the STS if it is not one of AWS's.
func (r *Roles) otherSTS() string {
	u, err := url.Parse(r.cfg.Endpoint)
	if err != nil || u.Hostname() == "" {
		return ""
	}
	if _, ok := iam.CutDomain(u.Hostname()); ok {
		return ""
	}
	return r.cfg.Endpoint
}

// wrongID returns a random id of the same length whose first half is that of the right one, to find
// out trust policies that compare only a prefix.
func wrongID(right string) string {
	noise := rand.Text() + rand.Text() // 52 letters
	keep := len(right) / 2
	return right[:keep] + noise[:min(max(len(right)-keep, 8), len(noise))]
}
