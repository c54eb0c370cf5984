package s3server

import (
	"net/http"
)

// Fault says what goes wrong with one request. The zero Fault: nothing.
type Fault struct {
	// After lets the effect take place first. Otherwise there is none.
	After bool
	// Status, Code and Message are the answer instead of the right one. Only
	// used when Status is not 0.
	Status        int
	Code, Message string
	// Cut ends the connection without an answer.
	Cut bool
}

// SetFault sets the function that decides what goes wrong with each request,
// nil for nothing. It is called before a request is looked at, by many
// goroutines at once; it must not read the body; while it blocks, the request
// waits.
func (s *Server) SetFault(decide func(*http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault = decide
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

// happen answers a request with its fault; the effect took place already, or
// never does.
func (f Fault) happen(w http.ResponseWriter, r *request) {
	if f.Cut {
		panic(http.ErrAbortHandler) // net/http cuts the connection, and logs nothing
	}
	code, message := f.Code, f.Message
	if code == "" {
		code = http.StatusText(f.Status)
	}
	writeError(w, r, fail(f.Status, code, "%s", message))
}

// unheard is a ResponseWriter whose answer nobody gets.
type unheard struct{ header http.Header }

func (u *unheard) Header() http.Header         { return u.header }
func (u *unheard) Write(p []byte) (int, error) { return len(p), nil }
func (u *unheard) WriteHeader(int)             {}
