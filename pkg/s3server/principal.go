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

// User is a principal with its own access key: a user, or an account's root.
type User struct {
	// ARN is arn:aws:iam::{12 digits}:user/{name}, or …:root.
	ARN                  string
	AccessKey, SecretKey string
	// Policies are identity-based. They must allow what the user does across accounts, and
	// AssumeRole.
	Policies []*iam.Policy
}

var userARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):(root|user/[\w+=,.@/-]+)$`)

// PutUser registers a user, or replaces the one with the same ARN. Users do not survive a restart.
func (s *Server) PutUser(u User) error {
	switch {
	case !userARN.MatchString(u.ARN):
		return fmt.Errorf("register user %q: not a user's ARN; want arn:aws:iam::123456789012:user/name", u.ARN)
	case u.AccessKey == "" || u.SecretKey == "" || u.AccessKey == s.cfg.AccessKey || strings.HasPrefix(u.AccessKey, temporaryKeyPrefix):
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

// OperatorARN returns the ARN of the principal with Config.AccessKey.
func (s *Server) OperatorARN() string { return "arn:aws:iam::" + s.cfg.Account + ":root" }

// principal is who sent a request.
type principal struct {
	iam.Caller
	isOperator bool          // the server's operator, who may do everything
	policies   []*iam.Policy // of the user, or of the session's role
	session    *iam.Policy   // limits the session further; nil: no session policy
	issued     time.Time     // when the session was issued
}

func (p principal) isRoot() bool { return !p.isOperator && strings.HasSuffix(p.ARN, ":root") }

// operatorPolicies stands for the operator's own policies.
var operatorPolicies = []*iam.Policy{{Version: iam.Version, Statement: []iam.Statement{{
	Effect: iam.Allow, Action: iam.Strings{"*"}, Resource: iam.Strings{"*"},
}}}}

// principalOf returns the principal with a claim's access key, and its secret.
func (s *Server) principalOf(c *claim, service string) (principal, string, *apiError) {
	if c.accessKey == s.cfg.AccessKey {
		return principal{Caller: iam.Caller{Account: s.cfg.Account, ARN: s.OperatorARN()}, isOperator: true, policies: operatorPolicies}, s.cfg.SecretKey, nil
	}
	s.mu.RLock()
	user, known := s.users[c.accessKey]
	s.mu.RUnlock()
	if known {
		return principal{Caller: iam.Caller{Account: accountOf(user.ARN), ARN: user.ARN}, policies: user.Policies}, user.SecretKey, nil
	}
	unknown := apiErrorf(http.StatusForbidden, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
	invalid := apiErrorf(http.StatusBadRequest, "InvalidToken", "The provided token is malformed or otherwise invalid.")
	expired := apiErrorf(http.StatusBadRequest, "ExpiredToken", "The provided token has expired.")
	if service == serviceSTS {
		unknown = apiErrorf(http.StatusForbidden, "InvalidClientTokenId", "The security token included in the request is invalid.")
		invalid = unknown
		expired = apiErrorf(http.StatusForbidden, "ExpiredToken", "The security token included in the request is expired")
	}
	if !strings.HasPrefix(c.accessKey, temporaryKeyPrefix) || c.token == "" {
		return principal{}, "", unknown
	}
	session, ok := s.readToken(c.token)
	if !ok || session.AccessKey != c.accessKey {
		return principal{}, "", invalid
	}
	s.mu.RLock()
	role, over := s.roles[session.Role], s.sessionsEndedAt
	s.mu.RUnlock()
	if s.now().Unix() >= session.Expires || !time.UnixMicro(session.Issued).After(over) {
		return principal{}, "", expired
	}
	caller := principal{
		Caller:   iam.Caller{Account: accountOf(session.Role), ARN: sessionARN(session.Role, session.Name), Role: session.Role},
		policies: role.Policies, issued: time.UnixMicro(session.Issued),
	}
	if session.Policy != "" {
		p, err := iam.Parse(iam.Session, []byte(session.Policy))
		if err != nil {
			return principal{}, "", internalError(err) // it was parsed when the session was issued
		}
		caller.session = p
	}
	return caller, s.sessionSecret(session.AccessKey), nil
}

// SetClockForTesting replaces the clock. No requests may be in progress.
func (s *Server) SetClockForTesting(now func() time.Time) { s.now = now }

// ExpireSessionsForTesting ends all existing sessions, as if they had expired.
func (s *Server) ExpireSessionsForTesting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessionsEndedAt = s.now()
}

// accountOf returns the account in an ARN.
func accountOf(arn string) string {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) < 6 {
		return ""
	}
	return parts[4]
}

// checkPolicies returns what AWS would refuse when the policies are attached. It also refuses
// condition keys that this server does not know: they would count as absent, and the policy would
// silently be evaluated wrongly.
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
		for _, key := range p.ConditionKeys() {
			if !knowsConditionKey(key) {
				return fmt.Errorf("condition key %q is not one that this server knows", key)
			}
		}
	}
	return nil
}
