package mirror

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
)

func TestFix(t *testing.T) {
	p := Place{Bucket: "acme-logs", Prefix: "some/path/"}
	for hazard, c := range map[string]struct {
		err  error
		says string
	}{
		"no_list": {&objstore.Error{Op: "list", Status: 403, Code: "AccessDenied", Kind: objstore.ErrDenied},
			"s3:ListBucket on arn:aws:s3:::acme-logs, at least for the s3:prefix some/path/segment-logs/*"},
		"no_get":        {&objstore.Error{Op: "get", Status: 403, Code: "AccessDenied", Kind: objstore.ErrDenied}, "s3:GetObject on arn:aws:s3:::acme-logs/some/path/segment-logs/*"},
		"no_get_head":   {&objstore.Error{Op: "head", Status: 403, Kind: objstore.ErrDenied}, "s3:GetObject on"},
		"perhaps_gone":  {&objstore.Error{Op: "head", Status: 403, Kind: objstore.ErrDenied}, "S3 says the same of a file that does not exist"},
		"archived":      {&objstore.Error{Op: "get", Status: 403, Code: "InvalidObjectState", Kind: objstore.ErrDenied}, "restore-object"},
		"no_key":        {&objstore.Error{Op: "get", Status: 403, Message: "is not authorized to perform: kms:Decrypt on", Kind: objstore.ErrDenied}, "kms:Decrypt on the key"},
		"explicit_deny": {&objstore.Error{Op: "get", Status: 403, Message: "with an explicit deny in a resource-based policy", Kind: objstore.ErrDenied}, "a Deny in your policy"},
		"expired":       {&objstore.Error{Op: "list", Status: 400, Code: "ExpiredToken", Kind: objstore.ErrDenied}, "aws sso login"},
		"token":         {&objstore.Error{Op: "list", Status: 400, Code: "InvalidToken", Kind: objstore.ErrDenied}, "AWS_SESSION_TOKEN"},
		"key_id":        {&objstore.Error{Op: "list", Status: 403, Code: "InvalidAccessKeyId", Kind: objstore.ErrDenied}, "AWS_PROFILE"},
		"secret":        {&objstore.Error{Op: "list", Status: 403, Code: "SignatureDoesNotMatch", Kind: objstore.ErrDenied}, "secret key"},
		"clock":         {&objstore.Error{Op: "list", Status: 403, Code: "RequestTimeTooSkewed", Kind: objstore.ErrDenied}, "clock"},
		"no_bucket":     {&objstore.Error{Op: "list", Status: 404, Code: "NoSuchBucket", Kind: objstore.ErrNoBucket}, `no bucket "acme-logs"`},
		"region":        {&objstore.Error{Op: "list", Status: 301, Kind: objstore.ErrWrongRegion}, "--region"},
		"deleted":       {&objstore.Error{Op: "get", Status: 404, Kind: objstore.ErrNotFound}, "deleted after it was listed, or never existed; list what is there: sealift files ls --files s3://acme-logs/some/path/segment-logs/"},
		"changed":       {&objstore.Error{Op: "get", Status: 412, Kind: objstore.ErrChanged}, "run it again"},
		"away":          {&objstore.Error{Op: "get", Kind: objstore.ErrUnavailable}, "--endpoint"},
		"proxy_away":    {&objstore.Error{Op: "get", Kind: objstore.ErrUnavailable, Err: &net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}}, "HTTPS_PROXY"},
		"disk_full":     {&diskError{&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}}, "make room"},
		"quota":         {&diskError{&fs.PathError{Op: "write", Path: "x", Err: syscall.EDQUOT}}, "make room"},
		"read_only":     {&diskError{&fs.PathError{Op: "open", Path: "x", Err: syscall.EROFS}}, "may write to"},
		"not_ours":      {&diskError{&fs.PathError{Op: "open", Path: "x", Err: syscall.EACCES}}, "may write to"},
	} {
		require.Contains(t, Fix(fmt.Errorf("wrapped: %w", c.err), p), c.says, hazard)
	}
	require.Empty(t, Fix(errors.New("something else"), p))
}
