package destination

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

// Class says whether trying again can help.
type Class int

// Classes.
const (
	Transient Class = iota // it may pass by itself
	Permanent              // somebody must change something
	Hopeless               // trying again is pointless until somebody has changed something
)

// Scope says what a failure is about. Only a destination's own failures count against it.
type Scope int

// Scopes.
const (
	ScopeDestination Scope = iota
	ScopeFile              // only this file
)

// Verdict is what a failed try means, for people and for a scheduler.
type Verdict struct {
	Class      Class       `json:"-"`
	Scope      Scope       `json:"-"`
	Reason     string      `json:"reason"` // a metric label
	Cause      string      `json:"cause"`  // what is wrong
	Fix        Fix         `json:"fix"`
	Statements []Statement `json:"statements,omitempty"`

	needsGrant bool // the fix is to allow something, which does not help against a Deny
}

// NewVerdict returns a verdict with all required fields; do is its Fix.
func NewVerdict(class Class, scope Scope, reason, cause, do string) Verdict {
	return Verdict{Class: class, Scope: scope, Reason: reason, Cause: cause, Fix: Fix{Do: do}}
}

// TransientVerdict returns the verdict of a failure that may pass by itself. ifItLasts is what to
// do otherwise, and may be "".
func TransientVerdict(scope Scope, reason, cause, ifItLasts string) Verdict {
	return NewVerdict(Transient, scope, reason, cause, ifItLasts).WithRetry("it is tried again")
}

func permanent(reason, cause, do string) Verdict {
	return NewVerdict(Permanent, ScopeDestination, reason, cause, do)
}

// WithRetry returns the verdict with the Retry of its Fix set.
func (v Verdict) WithRetry(why string) Verdict {
	v.Fix.Retry = why
	return v
}

func (v Verdict) with(s ...Statement) Verdict {
	v.Statements = append(v.Statements, s...)
	return v
}

// Judge returns what the error of a Put into t means. It is pure.
func Judge(err error, t catalog.Target) Verdict { return judge(err, t, "") }

// judge is like Judge; ownARN is the ARN of Sealift's own principal, or "" if it is not known.
func judge(err error, t catalog.Target, ownARN string) Verdict {
	var refused interface{ RefusedEndpoint() bool } // pkg/netguard
	if errors.As(err, &refused) && refused.RefusedEndpoint() {
		return permanent("endpoint_refused", err.Error(), "if it is meant to be reached, permit it in destinations.allowed_endpoints, as host:port or CIDR")
	}
	if errors.Is(err, objstore.ErrBody) {
		return TransientVerdict(ScopeFile, "spool", err.Error(), "check the copier's disk (copier.spool_dir)")
	}
	var role *assumerole.Error
	if errors.As(err, &role) {
		return judgeRole(role, t, ownARN)
	}
	var e *objstore.Error
	if !errors.As(err, &e) {
		return TransientVerdict(ScopeDestination, "unknown", err.Error(), "the copier's log says more")
	}
	if v, ok := judgeCode(e, t, ownARN); ok {
		return v
	}
	switch {
	case errors.Is(err, objstore.ErrNoBucket):
		return permanent("no_bucket", fmt.Sprintf("bucket %q does not exist", t.BucketName), "create the bucket, or correct bucket in the catalog")
	case errors.Is(err, errNoFIPS):
		return permanent("no_fips", fmt.Sprintf("bucket %q is in region %q, where S3 has no FIPS endpoint", t.BucketName, e.Region),
			"set fips: false in the catalog, or use a bucket in a region of the US or Canada")
	case errors.Is(err, objstore.ErrWrongRegion):
		return permanent("wrong_region", fmt.Sprintf("bucket %q is not in region %q: %v", t.BucketName, t.Region, err), "set region in the catalog to the bucket's own")
	case errors.Is(err, objstore.ErrDenied):
		return judgeDenied(e, t, ownARN)
	case errors.Is(err, objstore.ErrInvalid) && e.Status == 0:
		return permanent("refused", fmt.Sprintf("the request cannot be made: %v", err), "correct the destination in the catalog: bucket, region and endpoint")
	case errors.Is(err, objstore.ErrInvalid):
		return permanent("refused", fmt.Sprintf("the store refuses the request: %v", err),
			"see what the store says, and correct the destination in the catalog or the bucket's settings")
	case errors.Is(err, objstore.ErrConflict):
		return TransientVerdict(ScopeFile, "conflict", err.Error(), "")
	case e.Status == 0:
		return judgeUnreached(err, addressOf(t), "destinations.ca_file")
	}
	return TransientVerdict(ScopeDestination, "unavailable", err.Error(), "ask whoever runs the store")
}

// judgeRole judges an error of STS.
func judgeRole(e *assumerole.Error, t catalog.Target, ownARN string) Verdict {
	cause := e.Error()
	switch {
	case errors.Is(e, assumerole.ErrOwnCredentials):
		return NewVerdict(Transient, ScopeFile, "own_credentials", cause, "give this process valid AWS credentials, and its host the right time; `aws sts get-caller-identity` must work")
	case errors.Is(e, assumerole.ErrTrustsAnyone):
		return permanent("role_open", cause, fmt.Sprintf(`in the trust policy of role %s, add to the statement that allows sts:AssumeRole: "Condition": {"StringEquals": {"sts:ExternalId": %q}}; `+
			"`sealift destinations policy %s` prints the whole policy", t.RoleARN, t.Workspace, t.ID)+e.OtherSTSHint()).with(trustStatements(t, ownARN)...)
	case errors.Is(e, assumerole.ErrDenied):
		return judgeDeniedRole(e, t, ownARN)
	case errors.Is(e, assumerole.ErrUnavailable) && e.Status == 0:
		v := judgeUnreached(e, "check this host's DNS", "sts.ca_file")
		v.Reason, v.Cause = "sts_unavailable", "STS: "+v.Cause
		v.Fix.Do += "; STS is looked for at sts.endpoint, by default at AWS"
		return v
	case errors.Is(e, assumerole.ErrUnavailable):
		return TransientVerdict(ScopeDestination, "sts_unavailable", cause, "check that this host reaches STS (sts.endpoint)")
	}
	switch e.Code {
	case "RegionDisabledException":
		return permanent("sts_region_disabled", cause, fmt.Sprintf("activate STS in %s in the account settings of IAM, or set sts.endpoint", e.Region))
	case "PackedPolicyTooLarge", "PackedPolicyTooLargeException":
		return permanent("policy_too_large", cause, "shorten the path prefix in bucket: the session policy that holds it is too large for STS")
	case "MalformedPolicyDocument", "MalformedPolicyDocumentException":
		return permanent("policy_malformed", cause, "STS does not take the session policy that Sealift made of the destination: correct bucket and prefix in the catalog, and report it")
	}
	return permanent("role_invalid", cause, "correct role_arn in the catalog; it looks like arn:aws:iam::123456789012:role/segment-logs")
}

// judgeDeniedRole judges that the role may not be assumed. STS says the same about a role that does
// not exist.
func judgeDeniedRole(e *assumerole.Error, t catalog.Target, ownARN string) Verdict {
	v := permanent("role_denied", e.Error(), "")
	trust := fmt.Sprintf("let the trust policy of role %s allow sts:AssumeRole to %s with the condition sts:ExternalId = %q", t.RoleARN, principalName(ownARN), t.Workspace)
	assume := fmt.Sprintf("let the policy of %s allow sts:AssumeRole on %s", principalName(ownARN), t.RoleARN)
	switch d := readDenial(e.Message); {
	case strings.Contains(e.Message, "root account"):
		v.Fix.Do = "run Sealift as a user or a role: an account's root can assume none"
	case d.explicit:
		v.Fix.Do = "a Deny applies to sts:AssumeRole: find it in the trust policy of role " + t.RoleARN + ", in the policies of " + principalName(ownARN) + " and in those of both organizations"
		if d.policy == kindIdentity {
			v.Fix.Do = fmt.Sprintf("a Deny applies to sts:AssumeRole on %s: find it in the %s of %s", t.RoleARN, d.policy, principalName(ownARN))
		}
	case d.policy == kindIdentity:
		v.Fix.Do = assume
		v = v.with(assumeStatement(t))
	case d.policy == kindResource:
		v.Fix.Do = trust
		v = v.with(trustStatements(t, ownARN)...)
	case d.policy != "":
		v.Fix.Do = fmt.Sprintf("let the %s of %s allow sts:AssumeRole on %s", d.policy, principalName(ownARN), t.RoleARN)
	default:
		v.Fix.Do = fmt.Sprintf("%s; check that the role exists (role_arn); %s", trust, assume)
		v = v.with(append(trustStatements(t, ownARN), assumeStatement(t))...)
	}
	return v
}

func principalName(arn string) string {
	if arn == "" {
		return "Sealift's principal"
	}
	return "Sealift's principal " + arn
}

// judgeCode judges the codes that say more than their class. They are listed at
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func judgeCode(e *objstore.Error, t catalog.Target, ownARN string) (Verdict, bool) {
	answer := fmt.Sprintf("%s: %s", e.Code, e.Message)
	switch {
	case isKMS(e):
		return judgeKMS(e, t, ownARN), true
	case e.Code == "AccessControlListNotSupported":
		return permanent("acl_unsupported", fmt.Sprintf("bucket %q does not allow ACLs", t.BucketName),
			"remove acl from the destination (the bucket owner owns every object anyway)"), true
	case e.ClockSkewed(): // our clock or, if the server is not AWS, its own: it concerns no file in particular
		return NewVerdict(Transient, ScopeFile, "clock_skew", "this host's clock is wrong: "+answer, "let NTP set this host's clock"), true
	case e.CredentialsExpired() && t.RoleARN == "":
		return TransientVerdict(ScopeFile, "token_expired", "Sealift's own credentials: "+answer, "renew them, and check this host's clock").WithRetry("it is tried again with new ones"), true
	case e.CredentialsExpired():
		return TransientVerdict(ScopeDestination, "token_expired", answer, "check this host's clock").WithRetry("it is tried again with new credentials"), true
	case t.RoleARN != "" && (e.Code == "InvalidAccessKeyId" || e.Code == "InvalidToken"):
		return permanent("credentials_refused", fmt.Sprintf("the store does not know what STS gave for role %s: %s", t.RoleARN, answer),
			"none for a role that was just made; for a custom endpoint, check that it trusts sts.endpoint"), true
	case e.Code == "InvalidAccessKeyId", e.Code == "SignatureDoesNotMatch", e.Code == "InvalidToken":
		return permanent("credentials_refused", "the store does not know the credentials: "+answer,
			"check Sealift's own AWS credentials and, for a custom endpoint, that it trusts them"), true
	case e.Code == "AllAccessDisabled", e.Code == "AccountProblem", e.Code == "NotSignedUp":
		return permanent("account", "the bucket's account is not in order: "+answer, "the bucket's owner must take it up with AWS"), true
	case isChecksumMismatch(e):
		return TransientVerdict(ScopeFile, "damaged_on_the_way", answer, "check this host's memory and disk"), true
	case e.Code == "KeyTooLongError":
		return NewVerdict(Permanent, ScopeFile, "key_too_long", answer, "shorten the path prefix in bucket"), true
	case e.Code == "EntityTooLarge":
		return NewVerdict(Permanent, ScopeFile, "too_large", answer, "lower appender.max_bytes to what the store takes"), true
	case e.Code == "SlowDown", strings.HasPrefix(e.Code, "Throttling"), e.Code == "RequestLimitExceeded":
		return TransientVerdict(ScopeDestination, "throttled", answer, "lower copier.per_destination").WithRetry("it is tried again, and less at a time"), true
	case e.Code == "InvalidBucketName":
		return permanent("bucket_name", answer, "correct bucket in the catalog: the bucket's name, with a path prefix if wanted"), true
	case e.Code == "InvalidRequest" && strings.Contains(strings.ToLower(e.Message), "requester pays"):
		return permanent("requester_pays", fmt.Sprintf("bucket %q has Requester Pays: %s", t.BucketName, answer), "turn Requester Pays off for the bucket; Sealift does not agree to pay for customers' requests"), true
	}
	return Verdict{}, false
}
