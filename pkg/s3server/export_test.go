package s3server

import "time"

// IssueForTesting issues a session with any expiry.
func (s *Server) IssueForTesting(role string, expires time.Time) (accessKey, secret, token string) {
	return s.issueSession(role, "test", "", expires)
}
