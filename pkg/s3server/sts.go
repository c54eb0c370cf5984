package s3server

import (
	"crypto/subtle"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Role is a role that the root principal may assume.
type Role struct {
	// ARN is arn:aws:iam::{12 digits}:role/{name}.
	ARN string
	// ExternalID must be given to assume it. Empty: the role's trust policy
	// has no such condition, anybody's id will do, as with a customer who
	// forgot it.
	ExternalID string
	// Buckets are the names of those that it may put objects into.
	Buckets []string
}

var (
	roleARN     = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}):role/([\w+=,.@/-]+)$`)
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
)

// maxExternalID is AWS's bound, in characters.
const maxExternalID = 1224

// maxPolicy is AWS's bound on a session policy, in characters.
const maxPolicy = 2048

// PutRole registers a role, or replaces the one with its ARN. Roles are not
// kept over a restart: whoever runs the server registers them again.
func (s *Server) PutRole(role Role) error {
	if !roleARN.MatchString(role.ARN) {
		return fmt.Errorf("register role %q: not a role's ARN; want arn:aws:iam::123456789012:role/name", role.ARN)
	}
	if role.ExternalID != "" && !validExternalID(role.ExternalID) {
		return fmt.Errorf("register role %q: ExternalID %q: want 2 to 1224 letters, digits or _+=,.@:/-", role.ARN, role.ExternalID)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roles[role.ARN] = role
	return nil
}

// DeleteRole removes a role; its sessions can do nothing any more.
func (s *Server) DeleteRole(arn string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.roles, arn)
}

type assumeRoleResponse struct {
	XMLName         xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ AssumeRoleResponse"`
	AccessKeyID     string   `xml:"AssumeRoleResult>Credentials>AccessKeyId"`
	SecretAccessKey string   `xml:"AssumeRoleResult>Credentials>SecretAccessKey"`
	SessionToken    string   `xml:"AssumeRoleResult>Credentials>SessionToken"`
	Expiration      string   `xml:"AssumeRoleResult>Credentials>Expiration"`
	ARN             string   `xml:"AssumeRoleResult>AssumedRoleUser>Arn"`
	AssumedRoleID   string   `xml:"AssumeRoleResult>AssumedRoleUser>AssumedRoleId"`
	PackedSize      int      `xml:"AssumeRoleResult>PackedPolicySize,omitempty"`
	RequestID       string   `xml:"ResponseMetadata>RequestId"`
}

// assumeRole is sts:AssumeRole.
func (s *Server) assumeRole(w http.ResponseWriter, r *request) *apiError {
	arn, name, policy := r.form.Get("RoleArn"), r.form.Get("RoleSessionName"), r.form.Get("Policy")
	duration, failed := checkAssume(r)
	if failed != nil {
		return failed
	}
	s.mu.RLock()
	role, registered := s.roles[arn]
	s.mu.RUnlock()
	// A missing role and a refusing trust policy look the same: AWS does not
	// tell strangers which roles exist.
	if !registered || !r.auth.principal.root || !trusts(role, r.form.Get("ExternalId")) {
		return fail(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: sts:AssumeRole on resource: %s", r.auth.principal.arn, arn)
	}
	expires := s.now().Add(duration).UTC().Truncate(time.Second)
	access, secret, token := s.issue(arn, name, policy, expires)
	writeXML(w, http.StatusOK, assumeRoleResponse{
		AccessKeyID: access, SecretAccessKey: secret, SessionToken: token, Expiration: expires.Format(time.RFC3339),
		ARN: sessionARN(arn, name), AssumedRoleID: "AROA" + strings.ToUpper(hashHex(arn)[:16]) + ":" + name,
		PackedSize: (len(policy)*100 + maxPolicy - 1) / maxPolicy, RequestID: r.id,
	})
	return nil
}

func validExternalID(id string) bool { return len(id) <= maxExternalID && externalID.MatchString(id) }

// trusts evaluates the role's trust policy.
func trusts(role Role, id string) bool {
	return role.ExternalID == "" || subtle.ConstantTimeCompare([]byte(role.ExternalID), []byte(id)) == 1
}

// checkAssume refuses what STS refuses before it looks for the role.
func checkAssume(r *request) (time.Duration, *apiError) {
	invalid := func(value, name, constraint string) (time.Duration, *apiError) {
		return 0, fail(http.StatusBadRequest, "ValidationError",
			"1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, name, constraint)
	}
	if arn := r.form.Get("RoleArn"); !roleARN.MatchString(arn) {
		return 0, fail(http.StatusBadRequest, "ValidationError", "%s is invalid", arn)
	}
	if name := r.form.Get("RoleSessionName"); !sessionName.MatchString(name) {
		return invalid(name, "roleSessionName", `Member must satisfy regular expression pattern: [\w+=,.@-]*`)
	}
	if id := r.form.Get("ExternalId"); r.form.Has("ExternalId") && !validExternalID(id) {
		return invalid(id, "externalId", `Member must satisfy regular expression pattern: [\w+=,.@:\/-]*`)
	}
	duration := time.Hour
	if value := r.form.Get("DurationSeconds"); value != "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 900 {
			return invalid(value, "durationSeconds", "Member must have value greater than or equal to 900")
		}
		if seconds > 3600 { // the default MaxSessionDuration of a role
			return 0, fail(http.StatusBadRequest, "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
		}
		duration = time.Duration(seconds) * time.Second
	}
	policy := r.form.Get("Policy")
	if len(policy) > maxPolicy {
		return invalid("…", "policy", "Member must have length less than or equal to 2048")
	}
	var document struct {
		Statement json.RawMessage
	}
	if policy != "" && (json.Unmarshal([]byte(policy), &document) != nil || len(document.Statement) == 0) {
		return 0, fail(http.StatusBadRequest, "MalformedPolicyDocument", "The policy is not in the valid JSON format.")
	}
	return duration, nil
}

// getCallerIdentity is sts:GetCallerIdentity.
func (s *Server) getCallerIdentity(w http.ResponseWriter, r *request) *apiError {
	account := s.cfg.Account
	if m := roleARN.FindStringSubmatch(r.auth.principal.role); m != nil {
		account = m[1]
	}
	writeXML(w, http.StatusOK, struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
		ARN       string   `xml:"GetCallerIdentityResult>Arn"`
		UserID    string   `xml:"GetCallerIdentityResult>UserId"`
		Account   string   `xml:"GetCallerIdentityResult>Account"`
		RequestID string   `xml:"ResponseMetadata>RequestId"`
	}{ARN: r.auth.principal.arn, UserID: account, Account: account, RequestID: r.id})
	return nil
}
