package objstore

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/sealift/sealift/pkg/transport"
)

// hint says which configuration key to change when a bucket from the configuration refuses us. For
// customers' buckets it returns nothing: pkg/destination explains their errors.
func (s *S3) hint(e *Error) string {
	if s.section == "" {
		return ""
	}
	key := func(name string) string { return s.section + "." + name }
	switch e.Code {
	case "InvalidAccessKeyId":
		return "the server does not know this access key: correct AWS_ACCESS_KEY_ID, or what else the AWS SDK's chain takes credentials from; keys are of one server, " +
			"see " + key("endpoint")
	case "SignatureDoesNotMatch":
		return "the secret is not that of the access key: correct AWS_SECRET_ACCESS_KEY, or what else the AWS SDK's chain takes credentials from"
	case "ExpiredToken", "InvalidToken", "TokenRefreshRequired":
		return "renew this process's own AWS credentials (AWS_SESSION_TOKEN, and restart, or the shared file, which is read again every five minutes)"
	case "RequestTimeTooSkewed":
		return "correct the clock of this machine"
	}
	switch {
	case errors.Is(e.Kind, ErrNoBucket):
		return fmt.Sprintf("create bucket %q, or correct %s", s.bucket, key("bucket"))
	case errors.Is(e.Kind, ErrWrongRegion):
		return fmt.Sprintf("set %s: %s", key("region"), cmp.Or(e.Region, "to the bucket's"))
	case errors.Is(e.Kind, ErrDenied) && e.Status == http.StatusForbidden && s.owner != "":
		return fmt.Sprintf("account %s of %s has to own the bucket, and this process's own policy to allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on it",
			s.owner, key("expected_bucket_owner"))
	case errors.Is(e.Kind, ErrDenied) && e.Status == http.StatusForbidden:
		return fmt.Sprintf("this process's own policy has to allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on the bucket of %s", key("bucket"))
	case strings.HasPrefix(e.Code, "KMS."):
		return fmt.Sprintf("enable the KMS key that encrypts the bucket of %s, cancel its deletion, or give the bucket another key", key("bucket"))
	case e.Status == http.StatusRequestEntityTooLarge:
		return fmt.Sprintf("let what stands before the server of %s take bodies of appender.max_bytes", key("endpoint"))
	case e.Status == http.StatusBadRequest && strings.HasPrefix(s.endpoint, "http:"):
		return fmt.Sprintf("if that server speaks https, write %s with https", key("endpoint"))
	}
	if fix := transport.ProxyFix(e.Err); fix != "" {
		return fix
	}
	var lookup *net.DNSError
	switch unknown := errors.As(e.Err, &lookup) && lookup.IsNotFound; {
	case unknown && s.endpoint == "":
		return fmt.Sprintf("correct %s, or look at this machine's DNS", key("region"))
	case unknown && !s.pathStyle:
		return fmt.Sprintf("set %s: true, if that server has no host name for each bucket, or correct %s", key("force_path_style"), key("endpoint"))
	case unknown:
		return fmt.Sprintf("correct %s, or look at this machine's DNS", key("endpoint"))
	case s.endpoint != "" && errors.Is(e.Err, syscall.ECONNREFUSED):
		return fmt.Sprintf("start that server, or correct %s", key("endpoint"))
	}
	var late net.Error
	switch noAnswer := lookup == nil && errors.As(e.Err, &late) && late.Timeout(); {
	case noAnswer && s.endpoint == "":
		return fmt.Sprintf("no answer in time; if that lasts, look at the network between here and S3, and at %s", key("region"))
	case noAnswer:
		return fmt.Sprintf("no answer in time; if that lasts, look at that server, the network on the way to it, and %s", key("endpoint"))
	}
	return ""
}
