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
	// probeFor bounds a probe that nobody waits for any more: shorter than askAgain.
	probeFor = 10 * time.Second
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
// same role one asks. If something is known they wait for less than a second and take
// that, and whoever comes meanwhile does so at once, if it is good; STS, which may be
// slow, is listened to for longer. Every error is an *Error; one that matches ErrUnavailable
// means that nothing is known.
func (r *Roles) VerifyTrust(ctx context.Context, request Request) error {
	if r.cfg.AnyTrust {
		return nil
	}
	request = r.complete(request)
	t := r.trustOf(request)
	known, fresh, old := r.trusted(t)
	if fresh || known && old == nil && len(t.asking) > 0 {
		return old
	}
	var enough <-chan time.Time // of waiting; nil: nothing is known that would do
	if known {
		timer := time.NewTimer(patience)
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
	if _, fresh, err := r.trusted(t); fresh { // somebody asked meanwhile
		<-t.asking
		return err
	}
	asked := time.Now()
	if !known {
		defer func() { <-t.asking }()
		err := r.probe(ctx, request)
		if ctx.Err() != nil {
			return err // it says nothing about anybody else
		}
		return r.learn(t, asked, err)
	}
	answer := make(chan error, 1)
	r.probes.Go(func() {
		defer func() { <-t.asking }()
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeFor)
		defer cancel()
		defer context.AfterFunc(r.life, cancel)()
		answer <- r.learn(t, asked, r.probe(asking, request))
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

// trusted returns what is known, and whether that is fresh.
func (r *Roles) trusted(t *trust) (known, fresh bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return t.known, time.Now().Before(t.until), t.err
}

// learn keeps the answer to what was asked then, and returns what it means.
func (r *Roles) learn(t *trust, asked time.Time, err error) error {
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
		t.until = asked.Add(askAgain)
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
