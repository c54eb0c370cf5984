package s3server

import (
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/iam"
)

var (
	sessionName = regexp.MustCompile(`^[\w+=,.@-]{2,64}$`)
	externalID  = regexp.MustCompile(`^[\w+=,.@:/-]{2,}$`)
)

// maxExternalID is AWS's limit, in characters.
const maxExternalID = 1224

// DisableSTS disables STS in these regions and enables it in all others, as when an account has not
// activated it there.
func (s *Server) DisableSTS(regions ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stsDisabledRegions = map[string]bool{}
	for _, r := range regions {
		s.stsDisabledRegions[r] = true
	}
}

func (s *Server) stsDisabled(region string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.stsDisabledRegions[region]
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
	arn, name, policy, caller := r.form.Get("RoleArn"), r.form.Get("RoleSessionName"), r.form.Get("Policy"), r.auth.principal
	duration, failed := checkAssumeRole(r)
	if failed != nil {
		return failed
	}
	if caller.isRoot() {
		return apiErrorf(http.StatusForbidden, "AccessDenied", "Roles may not be assumed by root accounts.")
	}
	role, failed := s.authorizeAssume(r, arn)
	if failed != nil {
		return failed
	}
	switch {
	case caller.Role != "" && duration > time.Hour:
		return validationError("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining.")
	case duration > role.MaxSession:
		return validationError("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	expires := s.now().Add(duration).UTC().Truncate(time.Second)
	access, secret, token := s.issueSession(arn, name, policy, expires)
	writeXML(w, http.StatusOK, assumeRoleResponse{
		AccessKeyID: access, SecretAccessKey: secret, SessionToken: token, Expiration: expires.Format(time.RFC3339),
		ARN: sessionARN(arn, name), AssumedRoleID: "AROA" + strings.ToUpper(hashHex(arn)[:16]) + ":" + name,
		PackedSize: (len(policy)*100 + iam.Session.MaxBytes() - 1) / iam.Session.MaxBytes(), RequestID: r.id,
	})
	return nil
}

// authorizeAssume evaluates a role's trust policy and the caller's own policies.
//
// A missing role and a refusal look the same: AWS does not reveal to strangers which roles exist.
// Callers from the role's account are told why:
// https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_access-denied.html.
func (s *Server) authorizeAssume(r *request, arn string) (Role, *apiError) {
	caller, owner := r.auth.principal, accountOf(arn)
	s.mu.RLock()
	role, exists := s.roles[arn]
	s.mu.RUnlock()
	d := iam.Evaluate(
		iam.Request{Caller: caller.Caller, Action: "sts:AssumeRole", Resource: arn, Owner: owner, Context: s.context(r, owner)},
		iam.Policies{Identity: caller.policies, Session: caller.session, Resource: role.Trust, Kind: iam.Trust},
	)
	if d.Allowed {
		return role, nil
	}
	message := fmt.Sprintf("User: %s is not authorized to perform: sts:AssumeRole on resource: %s", caller.ARN, arn)
	if exists && caller.Account == owner {
		message += " " + d.Reason("sts:AssumeRole")
	}
	return role, apiErrorf(http.StatusForbidden, "AccessDenied", "%s", message)
}

func validExternalID(id string) bool { return len(id) <= maxExternalID && externalID.MatchString(id) }

func validationError(format string, args ...any) *apiError {
	return apiErrorf(http.StatusBadRequest, "ValidationError", format, args...)
}

// checkAssumeRole refuses what STS refuses before it looks up the role.
func checkAssumeRole(r *request) (time.Duration, *apiError) {
	invalid := func(value, name, constraint string) (time.Duration, *apiError) {
		return 0, validationError("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: %s", value, name, constraint)
	}
	if arn := r.form.Get("RoleArn"); !roleARN.MatchString(arn) {
		return 0, validationError("%s is invalid", arn)
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
		switch {
		case err != nil || seconds < 900:
			return invalid(value, "durationSeconds", "Member must have value greater than or equal to 900")
		case seconds > 43200:
			return invalid(value, "durationSeconds", "Member must have value less than or equal to 43200")
		}
		duration = time.Duration(seconds) * time.Second
	}
	policy := r.form.Get("Policy")
	if len(policy) > iam.Session.MaxBytes() {
		return invalid(policy, "policy", "Member must have length less than or equal to 2048")
	}
	if policy != "" {
		p, err := iam.Parse(iam.Session, []byte(policy))
		if err == nil {
			err = checkPolicies(iam.Session, p)
		}
		if err != nil {
			return 0, apiErrorf(http.StatusBadRequest, "MalformedPolicyDocument", "%v", err)
		}
	}
	return duration, nil
}

// getCallerIdentity is sts:GetCallerIdentity.
func (s *Server) getCallerIdentity(w http.ResponseWriter, r *request) *apiError {
	caller := r.auth.principal
	writeXML(w, http.StatusOK, struct {
		XMLName   xml.Name `xml:"https://sts.amazonaws.com/doc/2011-06-15/ GetCallerIdentityResponse"`
		ARN       string   `xml:"GetCallerIdentityResult>Arn"`
		UserID    string   `xml:"GetCallerIdentityResult>UserId"`
		Account   string   `xml:"GetCallerIdentityResult>Account"`
		RequestID string   `xml:"ResponseMetadata>RequestId"`
	}{ARN: caller.ARN, UserID: caller.Account, Account: caller.Account, RequestID: r.id})
	return nil
}
