package s3server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/iam"
)

// User is a principal with an access key of its own: a user, or an account's
// root.
type User struct {
	// ARN is arn:aws:iam::{12 digits}:user/{name}, or …:root.
	ARN                  string
	AccessKey, SecretKey string
	// Policies are identity-based. Across accounts, and for AssumeRole, they
	// must allow what the user does.
	Policies []*iam.Policy
}

var userARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):(root|user/[\w+=,.@/-]+)$`)

// PutUser registers a user, or replaces the one with its ARN. Users are not
// kept over a restart.
func (s *Server) PutUser(u User) error {
	switch {
	case !userARN.MatchString(u.ARN):
		return fmt.Errorf("register user %q: not a user's ARN; want arn:aws:iam::123456789012:user/name", u.ARN)
	case u.AccessKey == "" || u.SecretKey == "" || u.AccessKey == s.cfg.AccessKey || strings.HasPrefix(u.AccessKey, temporary):
		return fmt.Errorf("register user %q: access key and secret must be set, and be nobody else's", u.ARN)
	}
	if err := checkPolicies(iam.Identity, u.Policies...); err != nil {
		return fmt.Errorf("register user %q: %w", u.ARN, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, old := range s.users {
		if old.ARN == u.ARN {
			delete(s.users, key)
		}
	}
	s.users[u.AccessKey] = u
	return nil
}

// Operator is the ARN of the principal with Config.AccessKey.
func (s *Server) Operator() string { return "arn:aws:iam::" + s.cfg.Account + ":root" }

// principal is who sent a request.
type principal struct {
	iam.Caller
	root     bool          // the server's operator, who may do everything
	policies []*iam.Policy // of the user, or of the session's role
	session  *iam.Policy   // what the session is cut down to, nil for nothing
	issued   time.Time     // of a session
}

func (p principal) isRoot() bool { return !p.root && strings.HasSuffix(p.ARN, ":root") }

// everything is what the operator's own policies would be.
var everything = []*iam.Policy{{Version: iam.Version, Statement: []iam.Statement{{
	Effect: iam.Allow, Action: iam.Strings{"*"}, Resource: iam.Strings{"*"},
}}}}

// principalOf returns whom a claim's keys belong to, and their secret.
func (s *Server) principalOf(c *claim, service string) (principal, string, *apiError) {
	if c.accessKey == s.cfg.AccessKey {
		return principal{Caller: iam.Caller{Account: s.cfg.Account, ARN: s.Operator()}, root: true, policies: everything}, s.cfg.SecretKey, nil
	}
	s.mu.RLock()
	user, known := s.users[c.accessKey]
	s.mu.RUnlock()
	if known {
		return principal{Caller: iam.Caller{Account: accountOf(user.ARN), ARN: user.ARN}, policies: user.Policies}, user.SecretKey, nil
	}
	unknown := fail(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	invalid := fail(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.")
	expired := fail(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
	if service == serviceSTS {
		unknown = fail(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
		invalid = unknown
		expired = fail(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	if !strings.HasPrefix(c.accessKey, temporary) || c.token == "" {
		return principal{}, "", unknown
	}
	session, ok := s.readToken(c.token)
	if !ok || session.AccessKey != c.accessKey {
		return principal{}, "", invalid
	}
	s.mu.RLock()
	role, over := s.roles[session.Role], s.over
	s.mu.RUnlock()
	if s.now().Unix() >= session.Expires || !time.UnixMicro(session.Issued).After(over) {
		return principal{}, "", expired
	}
	who := principal{
		Caller:   iam.Caller{Account: accountOf(session.Role), ARN: sessionARN(session.Role, session.Name), Role: session.Role},
		policies: role.Policies, issued: time.UnixMicro(session.Issued),
	}
	if session.Policy != "" {
		p, err := iam.Parse(iam.Session, []byte(session.Policy))
		if err != nil {
			return principal{}, "", internal(err) // it was read when the session was made
		}
		who.session = p
	}
	return who, s.sessionSecret(session.AccessKey), nil
}

// SetClockForTesting replaces the clock. No requests may be under way.
func (s *Server) SetClockForTesting(now func() time.Time) { s.now = now }

// ExpireSessionsForTesting ends all sessions that there are, as if their time
// were over.
func (s *Server) ExpireSessionsForTesting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = s.now()
}

// accountOf is the account in an ARN.
func accountOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[4]
}

// checkPolicies says what AWS would refuse when the policies are attached, and
// which of their condition keys this server cannot tell: an absent key would
// be judged in silence, and wrongly.
func checkPolicies(kind iam.Kind, policies ...*iam.Policy) error {
	for _, p := range policies {
		if p == nil {
			return errors.New("a policy is nil")
		}
		if err := p.Validate(kind); err != nil {
			return err
		}
		raw, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if len(raw) > kind.MaxBytes() {
			return fmt.Errorf("this %s has %d bytes, and may have %d", kind, len(raw), kind.MaxBytes())
		}
		for _, key := range p.Keys() {
			if !tells(key) {
				return fmt.Errorf("condition key %q is not one that this server knows", key)
			}
		}
	}
	return nil
}
