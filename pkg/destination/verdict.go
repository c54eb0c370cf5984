package destination

import (
	"errors"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
)

// Class says whether trying again may help.
type Class int

// Classes.
const (
	Transient Class = iota // it may pass by itself
	Permanent              // somebody must change something
	Hopeless               // trying again is pointless until somebody did
)

// Scope says whose failure it is. Only a destination's own failures count
// against it.
type Scope int

// Scopes.
const (
	OfDestination Scope = iota
	OfFile              // this file's alone
)

// Verdict is what a failed try means to people and to a scheduler.
type Verdict struct {
	Class  Class
	Scope  Scope
	Reason string // a metric label
	Cause  string // what is wrong
	Fix    string // what to do about it; "none: …" if it is tried again
}

// NewVerdict returns one with everything that it has to have.
func NewVerdict(class Class, scope Scope, reason, cause, fix string) Verdict {
	return Verdict{Class: class, Scope: scope, Reason: reason, Cause: cause, Fix: fix}
}

// Judge says what the error of a Put into t means. It is pure.
func Judge(err error, t catalog.Target) Verdict {
	var refused interface{ RefusedEndpoint() bool } // pkg/netguard
	switch {
	case errors.As(err, &refused) && refused.RefusedEndpoint():
		return Verdict{Permanent, OfDestination, "endpoint_refused", err.Error(),
			fmt.Sprintf("add the endpoint %q to destinations.allowed_endpoints, if it is meant to be reached", t.Endpoint)}
	case errors.Is(err, assumerole.ErrOwnCredentials):
		return Verdict{Transient, OfFile, "own_credentials", err.Error(), "give this process valid AWS credentials; `aws sts get-caller-identity` must work"}
	case errors.Is(err, assumerole.ErrTrustsAnyone):
		return Verdict{Permanent, OfDestination, "role_open", err.Error(),
			fmt.Sprintf(`in the trust policy of role %s, add to the statement that allows sts:AssumeRole: "Condition": {"StringEquals": {"sts:ExternalId": %q}}; `+
				"`sealift destinations policy %s` prints the whole policy", t.RoleARN, t.Workspace, t.ID)}
	case errors.Is(err, assumerole.ErrDenied):
		return Verdict{Permanent, OfDestination, "role_denied", err.Error(),
			fmt.Sprintf("let the trust policy of role %s allow sts:AssumeRole to Sealift's principal with the condition sts:ExternalId = %q", t.RoleARN, t.Workspace)}
	case errors.Is(err, assumerole.ErrInvalid):
		return Verdict{Permanent, OfDestination, "role_invalid", err.Error(),
			"correct role_arn in the catalog; it looks like arn:aws:iam::123456789012:role/segment-logs"}
	case errors.Is(err, assumerole.ErrUnavailable):
		return Verdict{Transient, OfDestination, "sts_unavailable", err.Error(), "none: it is tried again; if it lasts, check that this host reaches STS (sts.endpoint)"}
	}
	var e *objstore.Error
	if !errors.As(err, &e) {
		return Verdict{Transient, OfDestination, "unknown", err.Error(), "none: it is tried again"}
	}
	if v, ok := byCode(e, t); ok {
		return v
	}
	switch {
	case errors.Is(err, objstore.ErrNoBucket):
		return Verdict{Permanent, OfDestination, "no_bucket", fmt.Sprintf("bucket %q does not exist", t.BucketName),
			"create the bucket, or correct bucket in the catalog"}
	case errors.Is(err, errNoFIPS):
		return Verdict{Permanent, OfDestination, "no_fips", fmt.Sprintf("bucket %q is in region %q, where S3 has no FIPS endpoint", t.BucketName, e.Region),
			"set fips: false in the catalog, or use a bucket in a region of the US or Canada"}
	case errors.Is(err, objstore.ErrWrongRegion):
		return Verdict{Permanent, OfDestination, "wrong_region", fmt.Sprintf("bucket %q is not in region %q: %v", t.BucketName, t.Region, err),
			"set region in the catalog to the bucket's own"}
	case errors.Is(err, objstore.ErrDenied):
		return denied(e, t)
	case errors.Is(err, objstore.ErrInvalid):
		return Verdict{Permanent, OfDestination, "refused", fmt.Sprintf("the store refuses the request: %v", err),
			"see what the store says, and correct the destination in the catalog or the bucket's settings"}
	case errors.Is(err, objstore.ErrConflict):
		return Verdict{Transient, OfFile, "conflict", err.Error(), "none: it is tried again"}
	}
	return Verdict{Transient, OfDestination, "unavailable", err.Error(), "none: it is tried again"}
}

// byCode judges the codes that say more than their class. They are from
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
func byCode(e *objstore.Error, t catalog.Target) (Verdict, bool) {
	said := fmt.Sprintf("%s: %s", e.Code, e.Message)
	switch {
	case strings.HasPrefix(e.Code, "KMS.") || strings.Contains(e.Message, "kms:"):
		return Verdict{Permanent, OfDestination, "kms", "the bucket's KMS key cannot be used: " + said,
			"enable the key, and let its policy allow kms:GenerateDataKey and kms:Decrypt to " + principal(t)}, true
	case e.Code == "AccessControlListNotSupported":
		return Verdict{Permanent, OfDestination, "acl_unsupported", fmt.Sprintf("bucket %q does not allow ACLs", t.BucketName),
			"remove acl from the destination (the bucket owner owns every object anyway)"}, true
	case e.Code == "RequestTimeTooSkewed":
		return Verdict{Transient, OfDestination, "clock_skew", "this host's clock is wrong: " + said, "let NTP set this host's clock"}, true
	case e.Code == "ExpiredToken", e.Code == "TokenRefreshRequired":
		return Verdict{Transient, OfDestination, "token_expired", said, "none: it is tried again with new credentials; if it lasts, check this host's clock"}, true
	case e.Code == "InvalidAccessKeyId", e.Code == "SignatureDoesNotMatch", e.Code == "InvalidToken":
		return Verdict{Permanent, OfDestination, "credentials_refused", "the store does not know the credentials: " + said,
			"check Sealift's own AWS credentials and, for a custom endpoint, that it trusts them"}, true
	case e.Code == "AllAccessDisabled", e.Code == "AccountProblem", e.Code == "NotSignedUp":
		return Verdict{Permanent, OfDestination, "account", "the bucket's account is not in order: " + said, "the bucket's owner must take it up with AWS"}, true
	case e.Code == "BadDigest", e.Code == "XAmzContentSHA256Mismatch", e.Code == "XAmzContentChecksumMismatch":
		return Verdict{Transient, OfFile, "damaged_on_the_way", said, "none: it is tried again; if it lasts, check this host's memory and disk"}, true
	case e.Code == "KeyTooLongError":
		return Verdict{Permanent, OfFile, "key_too_long", said, "shorten the path prefix in bucket"}, true
	case e.Code == "EntityTooLarge":
		return Verdict{Permanent, OfFile, "too_large", said, "lower appender.max_bytes to what the store takes"}, true
	}
	return Verdict{}, false
}

// denied explains a 403 of the PUT as far as the answer allows.
func denied(e *objstore.Error, t catalog.Target) Verdict {
	v := Verdict{Class: Permanent, Scope: OfDestination, Reason: "put_denied",
		Cause: fmt.Sprintf("s3:PutObject into bucket %q is denied (%d %s: %s)", t.BucketName, e.Status, e.Code, e.Message)}
	var fixes []string
	if strings.Contains(e.Message, "explicit deny") {
		v.Reason = "put_denied_explicitly"
		encryption := "a policy denies it; if it demands aws:kms encryption, set server_side_encryption: false"
		if !t.SSE {
			encryption = "a policy denies it; if it demands AES256 encryption, set server_side_encryption: true"
		}
		fixes = append(fixes, encryption)
	} else {
		actions := "s3:PutObject"
		if t.ACL != "" {
			actions += " and s3:PutObjectAcl"
		}
		where := "the bucket's policy"
		if t.RoleARN != "" {
			where = "the role's policy"
		}
		fixes = append(fixes, fmt.Sprintf("let %s allow %s on %s to %s", where, actions, policy.ObjectARN(t, "*"), principal(t)))
	}
	if t.Owner != "" {
		fixes = append(fixes, fmt.Sprintf("check that the bucket belongs to account %s (expected_bucket_owner)", t.Owner))
	}
	v.Fix = strings.Join(fixes, "; ")
	return v
}

func principal(t catalog.Target) string {
	if t.RoleARN != "" {
		return "the role " + t.RoleARN
	}
	return "Sealift's principal"
}
