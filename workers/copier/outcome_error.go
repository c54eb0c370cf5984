package copier

import (
	"errors"

	"github.com/sealift/sealift/pkg/destination"
)

// outcomeError is the error of a try that delivered nothing, and whose outcome is known.
type outcomeError struct{ outcome }

func (e *outcomeError) Error() string { return "the try is over: " + e.verdict.Cause }

var (
	errMoot = &outcomeError{outcome{kind: outcomeMoot}}
	errBusy = &outcomeError{outcome{kind: outcomeBusy}}
)

func verdictError(v destination.Verdict) error {
	return &outcomeError{outcome{kind: outcomeFailed, verdict: v}}
}

// fileFailed is the error of a try that failed for a reason that does not count against the
// destination.
func fileFailed(class destination.Class, reason, cause, do string) error {
	return verdictError(destination.NewVerdict(class, destination.ScopeFile, reason, cause, do))
}

// outcomeOf returns the outcome of a try that returned err.
func outcomeOf(err error) outcome {
	var known *outcomeError
	reason := "unknown"
	switch {
	case err == nil:
		return outcome{kind: outcomeDone}
	case errors.As(err, &known):
		return known.outcome
	case errors.As(err, new(*awayError)): // a dependency that answers pings and nothing else
		reason = "dependency"
	}
	return outcome{kind: outcomeFailed, verdict: destination.TransientVerdict(destination.ScopeFile, reason, err.Error(), "")}
}
