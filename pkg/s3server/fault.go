package s3server

import (
	"context"
	"net/http"
	"time"

	"github.com/sealift/sealift/pkg/sleep"
)

// Fault says what goes wrong with one request. The zero Fault does nothing.
type Fault struct {
	// Delay is waited before anything else.
	Delay time.Duration
	// After lets the request take effect first. Otherwise it has no effect.
	After bool
	// Status, Code and Message replace the real answer. Only used if Status is not 0.
	Status        int
	Code, Message string
	// Cut closes the connection without an answer.
	Cut bool
}

// SetFault sets the function that decides what goes wrong with each request; nil for nothing. It is
// called before a request is examined, by many goroutines concurrently, and must not read the body.
// The request waits while it blocks.
func (s *Server) SetFault(decide func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = decide
}

// Answers of AWS that do not depend on policies.
//
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html and
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html
var (
	SlowDown          = Fault{Status: 503, Code: "SlowDown", Message: "Please reduce your request rate."}
	Throttling        = Fault{Status: 400, Code: "Throttling", Message: "Rate exceeded"} // from STS
	AccountProblem    = Fault{Status: 403, Code: "AccountProblem", Message: "There is a problem with your AWS account that prevents the operation from completing successfully."}
	AllAccessDisabled = Fault{Status: 403, Code: "AllAccessDisabled", Message: "All access to this object has been disabled"}
	ExpiredToken      = Fault{Status: 400, Code: "ExpiredToken", Message: "The provided token has expired."}
	// PackedPolicyTooLarge is STS's answer if the packed form of session policy and tags is too
	// large. How AWS packs them is not documented, so this server does not decide it by itself.
	PackedPolicyTooLarge = Fault{Status: 400, Code: "PackedPolicyTooLarge", Message: "Packed policy consumes 104% of allotted space, please use smaller policy."}
)

// standingFault returns the fault of the request's bucket or role.
func (s *Server) standingFault(r *request) Fault {
	s.mu.RLock()
	b, role := s.buckets[r.bucket], s.roles[r.form.Get("RoleArn")]
	s.mu.RUnlock()
	if r.op == "AssumeRole" {
		return role.Fault
	}
	if b == nil {
		return Fault{}
	}
	return b.metadata().Fault
}

// wait waits for the delay, or until the client is gone.
func (f Fault) wait(ctx context.Context) {
	if f.Delay > 0 {
		_ = sleep.For(ctx, f.Delay)
	}
}

func (s *Server) decideFault(r *http.Request) Fault {
	s.mu.RLock()
	decide := s.fault
	s.mu.RUnlock()
	if decide == nil {
		return Fault{}
	}
	return decide(r)
}

// answer answers a request with its fault. By then the request has taken effect, or never will.
func (f Fault) answer(w http.ResponseWriter, r *request) {
	if f.Cut {
		panic(http.ErrAbortHandler) // net/http closes the connection without logging anything
	}
	code, message := f.Code, f.Message
	if code == "" {
		code = http.StatusText(f.Status)
	}
	writeError(w, r, apiErrorf(f.Status, code, "%s", message))
}

// discardResponse is a ResponseWriter whose answer is discarded.
type discardResponse struct{ header http.Header }

func (u *discardResponse) Header() http.Header         { return u.header }
func (u *discardResponse) Write(p []byte) (int, error) { return len(p), nil }
func (u *discardResponse) WriteHeader(int)             {}
