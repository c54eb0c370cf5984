package mirror

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/shell"
	"github.com/sealift/sealift/pkg/transport"
)

// credentialCodes are S3's error codes for credentials that are useless.
var credentialCodes = []string{
	"ExpiredToken", "TokenRefreshRequired", "InvalidToken", "InvalidAccessKeyId", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
}

func badCredentials(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e) && slices.Contains(credentialCodes, e.Code)
}

// Fix says what the reader of a place can do about an error of this package, or "" if the error
// says everything.
func Fix(err error, p Place) string {
	var disk *diskError
	if errors.As(err, &disk) {
		return diskFix(err)
	}
	var e *objstore.Error
	if !errors.As(err, &e) {
		return ""
	}
	switch e.Code {
	case "ExpiredToken", "TokenRefreshRequired":
		return "the credentials have expired: renew them, as with aws sso login, and run it again"
	case "InvalidToken":
		return "the session token is no good: AWS_SESSION_TOKEN has to belong to AWS_ACCESS_KEY_ID"
	case "InvalidAccessKeyId":
		return "this store does not know the access key: see AWS_PROFILE, AWS_ACCESS_KEY_ID, --profile and --endpoint; aws sts get-caller-identity shows who you are"
	case "SignatureDoesNotMatch":
		return "the secret key does not belong to the access key: see AWS_SECRET_ACCESS_KEY or the profile"
	case "RequestTimeTooSkewed":
		return "set this machine's clock"
	case "InvalidObjectState":
		return "it is archived: restore it first, as with aws s3api restore-object"
	}
	if fix := transport.ProxyFix(err); fix != "" {
		return fix
	}
	switch {
	case errors.Is(err, objstore.ErrNoBucket):
		return fmt.Sprintf("there is no bucket %q: write its name as it is in AWS, or name the server with --endpoint", p.Bucket)
	case errors.Is(err, objstore.ErrWrongRegion):
		return "the answer does not name the bucket's region: name it with --region"
	case errors.Is(err, objstore.ErrNotFound):
		p.Name = "" // suggest listing the rest of the day
		return "it was deleted after it was listed, or never existed; list what is there: sealift files ls --files " + shell.QuoteIfNeeded(p.String())
	case errors.Is(err, objstore.ErrChanged):
		return "it was replaced while it was read: run it again"
	case errors.Is(err, objstore.ErrDenied):
		return deniedFix(e, p)
	case errors.Is(err, objstore.ErrUnavailable):
		return "run it again; if this persists, check the network, --endpoint and --region"
	}
	return ""
}

// diskFix is Fix for failures of the local disk.
func diskFix(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "make room, or name a directory on another disk, and run it again: it continues where it stopped; files as they are stored (without --decompress) take less"
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EROFS):
		return "name a directory that you may write to"
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EEXIST):
		return "a file is where a folder has to be: move it away, or name another directory"
	}
	return ""
}

// deniedFix names the statement that a policy lacks. S3 answers 403 for an object that does not
// exist if the caller may not list.
func deniedFix(e *objstore.Error, p Place) string {
	if e.Status == 0 { // the provider of credentials refused
		return "see AWS_PROFILE and --profile; aws sts get-caller-identity shows who you are"
	}
	what := fmt.Sprintf("s3:GetObject on arn:aws:s3:::%s/%s*", p.Bucket, p.root())
	if e.Op == "list" {
		what = fmt.Sprintf("s3:ListBucket on arn:aws:s3:::%s, at least for the s3:prefix %s*", p.Bucket, p.root())
	}
	fix := "your policy, or the bucket's, has to allow " + what
	if e.Op != "list" {
		fix += "; unless you may list the whole bucket, S3 says the same of a file that does not exist"
	}
	if strings.Contains(e.Message, "kms:") || strings.HasPrefix(e.Code, "KMS.") {
		fix = "your policy and the key's have to allow kms:Decrypt on the key that the bucket is encrypted with, besides " + what
	}
	if strings.Contains(e.Message, "explicit deny") {
		fix = "a Deny in your policy, the bucket's, or your organization's forbids it: " + what
	}
	return fix
}
