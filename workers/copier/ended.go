package copier

import (
	"errors"

	"github.com/sealift/sealift/pkg/destination"
)

// ended is the error of a try that delivered nothing, and whose outcome is known.
type ended struct{ outcome }

func (e *ended) Error() string { return "the try is over: " + e.verdict.Cause }

var (
	errMoot = &ended{outcome{kind: outcomeMoot}}
	errBusy = &ended{outcome{kind: outcomeBusy}}
)

func failedAs(v destination.Verdict) error {
	return &ended{outcome{kind: outcomeFailed, verdict: v}}
}

// fileFailed is the error of a try that failed for a reason that does not count against the
// destination.
func fileFailed(class destination.Class, reason, cause, do string) error {
	return failedAs(destination.NewVerdict(class, destination.ScopeFile, reason, cause, do))
}

// outcomeOf returns the outcome of a try that returned err.
func outcomeOf(err error) outcome {
	var over *ended
	reason := "unknown"
	switch {
	case err == nil:
		return outcome{kind: outcomeDone}
	case errors.As(err, &over):
		return over.outcome
	case errors.As(err, new(*away)): // a dependency that answers pings and nothing else
		reason = "dependency"
	}
	return outcome{kind: outcomeFailed, verdict: destination.TransientVerdict(destination.ScopeFile, reason, err.Error(), "")}
}
