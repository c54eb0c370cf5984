package assumerole

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/sealift/sealift/pkg/objstore"
)

// Sentinel errors. Every error of Roles is an *Error that matches one of them, and thereby the
// class of pkg/objstore with the same name, so that a store whose credentials fail reports the
// right class.
var (
	// ErrDenied says that the role's trust policy or the operator's own policy does not allow it.
	// Somebody must change one of them.
	ErrDenied = fmt.Errorf("role refused: %w", objstore.ErrDenied)
	// ErrInvalid says that STS will never accept this request: a malformed ARN, a session policy
	// that is too large, or a region that is not enabled.
	ErrInvalid = fmt.Errorf("role request invalid: %w", objstore.ErrInvalid)
	// ErrUnavailable says that STS is throttling or unreachable, or matches ErrOwnCredentials.
	// Trying again may help.
	ErrUnavailable = fmt.Errorf("token service unavailable: %w", objstore.ErrUnavailable)
	// ErrTrustsAnyone says that the role can be assumed without its external id, so any customer
	// could have Sealift assume it. Somebody must change its trust policy. Only VerifyTrust returns
	// it.
	ErrTrustsAnyone = fmt.Errorf("role can be assumed without its external id: %w", objstore.ErrDenied)
	// ErrOwnCredentials says that the operator's own credentials are missing, expired or wrong.
	// That is not a customer's fault, so it matches ErrUnavailable.
	ErrOwnCredentials = fmt.Errorf("own credentials missing or refused: %w", ErrUnavailable)
)

// Error says why a role could not be assumed.
type Error struct {
	RoleARN    string // "" if Identity failed
	ExternalID string
	Region     string // region of the STS that was asked
	Status     int    // HTTP status; 0 if there was no answer
	Code       string // STS's error code, such as "AccessDenied"
	Message    string // STS's message, for people
	Kind       error  // one of the sentinels above
	Err        error  // the cause
	OtherSTS   string // with ErrTrustsAnyone: URL of the STS if it is not AWS's, and perhaps supports no external ids
}

func (e *Error) Error() string {
	s := fmt.Sprintf("assume role %q with external id %q: ", e.RoleARN, e.ExternalID)
	if e.RoleARN == "" {
		s = "ask STS who we are: "
	}
	if errors.Is(e.Err, objstore.ErrNoCredentials) { // STS was not asked
		return s + e.Err.Error()
	}
	s += e.Kind.Error()
	if e.Code != "" {
		s += fmt.Sprintf(" (%d %s: %s)", e.Status, e.Code, e.Message)
	} else if e.Err != nil {
		s += fmt.Sprintf(" (%v)", e.Err)
	}
	if hint := e.Hint(); hint != "" {
		s += "; " + hint
	}
	return s
}

// Hint says what to change; "" if there is nothing to change.
func (e *Error) Hint() string {
	switch {
	case errors.Is(e.Kind, ErrOwnCredentials):
		return "check this process's own AWS credentials (aws sts get-caller-identity)"
	case errors.Is(e.Kind, ErrTrustsAnyone):
		return fmt.Sprintf(`add to the statement of its trust policy that allows sts:AssumeRole: "Condition": {"StringEquals": {"sts:ExternalId": %q}}`, e.ExternalID) + e.OtherSTSHint()
	case errors.Is(e.Kind, ErrDenied):
		return fmt.Sprintf("the role must exist and its trust policy must allow sts:AssumeRole to the principal named above "+
			"with the condition StringEquals sts:ExternalId %q; that principal's own policy must allow sts:AssumeRole on the role", e.ExternalID)
	case e.Code == "RegionDisabledException":
		return fmt.Sprintf("activate STS in %s in the account settings of IAM, or set sts.endpoint", e.Region)
	}
	return ""
}

// OtherSTSHint says, after another hint, what to change if OtherSTS supports no external ids.
func (e *Error) OtherSTSHint() string {
	if e.OtherSTS == "" {
		return ""
	}
	return fmt.Sprintf("; if the STS at %s supports no external ids, set sts.verify_trust: false instead", e.OtherSTS)
}

// Unwrap returns the class and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Kind}
	}
	return []error{e.Kind, e.Err}
}

// ownCredentialsError marks a failure to get the operator's own credentials, so that it can be
// recognised in an error of the SDK.
type ownCredentialsError struct{ err error }

func (e *ownCredentialsError) Error() string { return e.err.Error() }
func (e *ownCredentialsError) Unwrap() error { return e.err }

// classify turns what the SDK returned into an *Error.
func classify(ctx context.Context, request Request, err error) error {
	e := &Error{RoleARN: request.RoleARN, ExternalID: request.ExternalID, Region: request.Region, Kind: ErrUnavailable, Err: err}
	if cause := context.Cause(ctx); cause != nil {
		e.Err = cause
		return e
	}
	var own *ownCredentialsError
	if errors.As(err, &own) {
		e.Kind, e.Err = ErrOwnCredentials, own.err
		return e
	}
	var api smithy.APIError
	if errors.As(err, &api) {
		e.Code, e.Message = api.ErrorCode(), objstore.Redact(api.ErrorMessage())
	}
	var response *smithyhttp.ResponseError
	if errors.As(err, &response) {
		e.Status = response.HTTPStatusCode()
	}
	e.Kind = kindOf(err, e.Status, e.Code)
	return e
}

// kindOf returns the class of an answer. The codes are from
// https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html and CommonErrors.html.
func kindOf(err error, status int, code string) error {
	switch code {
	case "AccessDenied", "AccessDeniedException":
		return ErrDenied
	case "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
		"IncompleteSignature", "MissingAuthenticationToken", "MissingAuthenticationTokenException", "OptInRequired", "RequestExpired":
		return ErrOwnCredentials
	case "Throttling", "ThrottlingException", "RequestLimitExceeded", "RequestThrottled", "TooManyRequestsException":
		return ErrUnavailable // sent with status 400
	}
	var (
		params *smithy.InvalidParamsError
		form   *smithy.SerializationError
	)
	switch {
	case status == http.StatusRequestTimeout, status == http.StatusTooManyRequests:
		return ErrUnavailable
	case status >= 400 && status < 500 && code != "":
		return ErrInvalid
	case errors.As(err, &params), errors.As(err, &form):
		return ErrInvalid
	}
	return ErrUnavailable
}

// isUnavailable reports whether the failure says nothing about the role.
func isUnavailable(err error) bool { return errors.Is(err, ErrUnavailable) }
