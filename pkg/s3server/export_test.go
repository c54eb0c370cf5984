package s3server

import "time"

// SetClockForTesting replaces the clock.
func (s *Server) SetClockForTesting(now func() time.Time) { s.now = now }

// IssueForTesting issues a session with any expiry.
func (s *Server) IssueForTesting(role string, expires time.Time) (accessKey, secret, token string) {
	return s.issue(role, "test", "", expires)
}
