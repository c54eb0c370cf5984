package assumerole

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
)

const (
	// trustFor is how long a role that was found safe is not asked about
	// again, jittered down to three quarters.
	trustFor = 24 * time.Hour
	// distrustFor is how long one that was found open is refused unasked: short,
	// so that a mended trust policy is soon noticed.
	distrustFor = 3 * time.Minute
)

// nothing is the session policy of probes: what they should not have obtained
// is worth nothing.
const nothing = `{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Action":"*","Resource":"*"}]}`

// trustKey says whose trust in whom. The rest of a Request does not matter to
// it.
type trustKey struct{ roleARN, externalID string }

// trust is what is known of a role's trust policy.
type trust struct {
	asking chan struct{} // holds one token while STS is asked

	// Guarded by Roles.mu.
	known bool // err is an answer, and not that there was none
	err   error
	until time.Time // from here on it is asked for again
}

// VerifyTrust returns nil if the request's role cannot be assumed without its
// external id, nor with a wrong one, as far as asking shows: STS must refuse
// both. Otherwise, whoever has another role assumed here could name this one,
// and the error matches ErrTrustsAnyone.
//
// It means something only for a role that gives Credentials with the right id.
// A good answer is kept for a day, and longer while STS is away; a bad one for
// some minutes. It blocks for STS as Credentials does: of those who wait for the
// same role one asks, for a second at most if something is known, and whoever comes
// meanwhile takes that, if it is good. Every error is an *Error; one that matches ErrUnavailable
// means that nothing is known.
func (r *Roles) VerifyTrust(ctx context.Context, request Request) error {
	if r.cfg.AnyTrust {
		return nil
	}
	request = r.complete(request)
	t := r.trustOf(request)
	if known, fresh, err := r.trusted(t); fresh || known && err == nil && len(t.asking) > 0 {
		return err
	}
	select {
	case t.asking <- struct{}{}:
		defer func() { <-t.asking }()
	case <-ctx.Done():
		return classify(ctx, request, ctx.Err())
	}
	known, fresh, err := r.trusted(t)
	if fresh { // somebody asked meanwhile
		return err
	}
	asking, cancel := within(ctx, known)
	defer cancel()
	err = r.probe(asking, request)
	if ctx.Err() != nil {
		return err // it says nothing about anybody else
	}
	return r.learn(t, err)
}

// trusted returns what is known, and whether that is fresh.
func (r *Roles) trusted(t *trust) (known, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.known, time.Now().Before(t.until), t.err
}

// learn keeps an answer and returns what it means.
func (r *Roles) learn(t *trust, err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err == nil:
		t.known, t.err, t.until = true, nil, time.Now().Add(trustFor-jitter.N(trustFor/4))
	case !isAway(err):
		t.known, t.err, t.until = true, err, time.Now().Add(distrustFor)
	default: // what is known stands
		if !t.known {
			t.err = err
		}
		t.until = time.Now().Add(askAgain)
	}
	return t.err
}

func (r *Roles) trustOf(request Request) *trust {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := trustKey{request.RoleARN, request.ExternalID}
	t := r.trusts[key]
	if t == nil {
		for k := range r.trusts {
			if len(r.trusts) < r.cfg.MaxCached {
				break
			}
			delete(r.trusts, k) // whichever: it costs two requests
		}
		t = &trust{asking: make(chan struct{}, 1)}
		r.trusts[key] = t
	}
	return t
}

// probe asks STS. All but the external id is as in a real request, since a
// trust policy may look at anything; only what comes of it may do nothing.
func (r *Roles) probe(ctx context.Context, request Request) error {
	for _, wrong := range []struct{ id, how string }{{"", "without an external id"}, {wrongID(request.ExternalID), "with a wrong external id"}} {
		try := request
		try.ExternalID, try.SessionPolicy = wrong.id, nothing
		_, err := r.assume(ctx, try) // what it returns is dropped
		var e *Error
		switch {
		case err == nil:
			return &Error{RoleARN: request.RoleARN, ExternalID: request.ExternalID, Region: request.Region, Kind: ErrTrustsAnyone,
				Err: errors.New("it was assumed " + wrong.how)}
		case errors.Is(err, ErrDenied):
		case errors.As(err, &e):
			e.ExternalID = request.ExternalID
			return err
		}
	}
	return nil
}

// wrongID returns a random id of the same length that begins as the right one
// does, so that a trust policy which compares only so much is found out too.
func wrongID(right string) string {
	noise := rand.Text() + rand.Text() // 52 letters
	keep := len(right) / 2
	return right[:keep] + noise[:min(max(len(right)-keep, 8), len(noise))]
}
