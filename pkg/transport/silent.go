package transport

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"
)

// firstAnswer is how long a server may take for its first answer.
const firstAnswer = 15 * time.Second

// GiveUpSilent returns a transport for a command that somebody waits for: requests to a server that
// has never answered fail after 15 seconds without an answer or when connecting times out, and from
// then on at once, so that it does not help to repeat them. A server that has answered once is
// given as much time as next gives it.
func GiveUpSilent(next http.RoundTripper) http.RoundTripper {
	return &silenceTransport{next: next, answered: map[string]bool{}, silent: map[string]error{}}
}

type silenceTransport struct {
	next http.RoundTripper

	mu       sync.Mutex // guards the maps, by host
	answered map[string]bool
	silent   map[string]error // why it was given up
}

// RoundTrip implements http.RoundTripper.
func (s *silenceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	host := r.URL.Host
	s.mu.Lock()
	answered, silent := s.answered[host], s.silent[host]
	s.mu.Unlock()
	switch {
	case answered:
		return s.next.RoundTrip(r)
	case silent != nil:
		return nil, silent
	}
	ctx, cancel := context.WithCancel(r.Context()) // not canceled after an answer, whose body is read later
	silence := time.AfterFunc(firstAnswer, func() {
		if !s.hasAnswered(host) {
			cancel()
		}
	})
	silence.Stop()
	res, err := s.next.RoundTrip(r.WithContext(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { silence.Reset(firstAnswer) }, // a large body takes its time
	})))
	silence.Stop()
	if err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.answered[host] = true
		return res, nil
	}
	defer cancel()
	var timeout net.Error
	switch {
	case r.Context().Err() != nil:
		return nil, err
	case ctx.Err() != nil:
		err = &silenceError{host}
	case !errors.As(err, &timeout) || !timeout.Timeout():
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent[host] = err
	return nil, err
}

func (s *silenceTransport) hasAnswered(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.answered[host]
}

// CloseIdleConnections makes http.Client.CloseIdleConnections work.
func (s *silenceTransport) CloseIdleConnections() {
	if c, ok := s.next.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}

// silenceError is why a server was given up.
type silenceError struct{ host string }

func (e *silenceError) Error() string {
	return fmt.Sprintf("no answer from %s in %s", e.host, firstAnswer)
}
func (e *silenceError) Timeout() bool { return true }
