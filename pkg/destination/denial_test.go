package destination

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/transport"
)

// The texts are as quoted in AWS's documentation and by its users.
func TestReadDenial(t *testing.T) {
	const key = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
	for message, want := range map[string]denial{
		"Access Denied": {},
		`User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no identity-based policy allows the s3:PutObject action`:                                                                          {action: "s3:PutObject", policy: kindIdentity},
		`User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: s3:PutObjectAcl on resource: "arn:aws:s3:::b/k" because no session policy allows the s3:PutObjectAcl action`:                                                                           {action: "s3:PutObjectAcl", policy: kindSession},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no resource-based policy allows the s3:PutObject action`:                                                                                    {action: "s3:PutObject", policy: kindResource},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no permissions boundary allows the s3:PutObject action`:                                                                                     {action: "s3:PutObject", policy: "permissions boundary"},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" because no VPC endpoint policy allows the s3:PutObject action`:                                                                                      {action: "s3:PutObject", policy: kindEndpoint},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a resource-based policy`:                                                                                                   {action: "s3:PutObject", policy: kindResource, explicit: true},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in an identity-based policy`:                                                                                                  {action: "s3:PutObject", policy: kindIdentity, explicit: true},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a service control policy`:                                                                                                  {action: "s3:PutObject", policy: "service control policy", explicit: true},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny in a resource control policy`:                                                                                                 {action: "s3:PutObject", policy: "resource control policy", explicit: true},
		`User: arn:aws:iam::1:user/u is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::b/k" with an explicit deny`:                                                                                                                              {action: "s3:PutObject", explicit: true},
		"User: arn:aws:iam::1:user/u is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::2:role/r":                                                                                                                                               {action: "sts:AssumeRole"},
		"User: arn:aws:iam::1:user/u is not authorized to perform: sts:AssumeRole on resource: arn:aws:iam::2:role/r with an explicit deny in the role trust policy":                                                                                                {action: "sts:AssumeRole", policy: "role trust policy", explicit: true},
		"User: arn:aws:iam::1:user/u is not authorized to perform: kms:GenerateDataKey on resource: " + key + " because no identity-based policy allows the kms:GenerateDataKey action":                                                                             {action: "kms:GenerateDataKey", policy: kindIdentity, key: key},
		"User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: kms:GenerateDataKey on resource: " + key + " because no resource-based policy allows the kms:GenerateDataKey action":                                                                   {action: "kms:GenerateDataKey", policy: kindResource, key: key},
		"User: arn:aws:sts::1:assumed-role/r/s is not authorized to perform: kms:GenerateDataKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access": {action: "kms:GenerateDataKey", policy: kindResource},
	} {
		require.Equal(t, want, readDenial(message), message)
	}
}

// verdictCase is a failure and the verdict expected.
type verdictCase struct {
	change    func(*catalog.Target)
	err       error
	reason    string
	fix       string
	statement string // part of one of them, with where it belongs
}

// Every failure has a cause and a fix.
func TestEveryFailureHasACauseAndAFix(t *testing.T) {
	const put = "is not authorized to perform: s3:PutObject on resource: \"arn:aws:s3:::acme-logs/segment-logs/web/x\" "
	const use = "is not authorized to perform: kms:GenerateDataKey on resource: arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555 "
	s3 := func(kind error, status int, code, message string) error {
		return fmt.Errorf("put: %w", &objstore.Error{Op: "put", Bucket: "acme-logs", Kind: kind, Status: status, Code: code, Message: message})
	}
	denied := func(message string) error { return s3(objstore.ErrDenied, 403, "AccessDenied", message) }
	key := func(code string) error { return s3(objstore.ErrInvalid, 400, code, "the key") }
	sts := func(kind error, status int, code, message string) error {
		return &assumerole.Error{RoleARN: roleARN, ExternalID: workspace, Region: "eu-west-1", Kind: kind, Status: status, Code: code, Message: message}
	}
	refusedRole := func(message string) error { return sts(assumerole.ErrDenied, 403, "AccessDenied", message) }
	unsent := func(err error) error {
		return &objstore.Error{Op: "put", Bucket: "acme-logs", Kind: objstore.ErrUnavailable, Err: fmt.Errorf("request send failed, %w", err)}
	}
	classic := func(t *catalog.Target) { t.RoleARN = "" }
	acl := func(t *catalog.Target) { t.ACL = "bucket-owner-full-control" }
	endpoint := func(t *catalog.Target) { t.Endpoint = "https://minio.example" }
	for hazard, c := range map[string]verdictCase{
		"plain_role":               {nil, denied("Access Denied"), "put_denied", "sealift destinations check " + workspace + "/acme", "role/logs {\"Sid\""},
		"plain_classic":            {classic, denied("Access Denied"), "put_denied", "the policy of bucket \"acme-logs\"", `bucket acme-logs {"Sid":"SealiftPutAcme03e8dd77","Effect":"Allow","Principal":{"AWS":"` + testPrincipal + `"}`},
		"role_lacks":               {nil, denied(put + "because no identity-based policy allows the s3:PutObject action"), "put_denied", "the role's policy", "an IAM policy of role"},
		"own_policy_lacks":         {classic, denied(put + "because no identity-based policy allows the s3:PutObject action"), "put_denied", "the IAM policy of Sealift's principal", "the IAM policy of Sealift's principal"},
		"bucket_lacks":             {nil, denied(put + "because no resource-based policy allows the s3:PutObject action"), "put_denied", "the policy of bucket", `"Principal":{"AWS":"` + roleARN + `"}`},
		"acl_lacks":                {acl, denied(`is not authorized to perform: s3:PutObjectAcl on resource: "x" because no identity-based policy allows the s3:PutObjectAcl action`), "put_denied", "allow s3:PutObjectAcl on", `"s3:PutObjectAcl"]`},
		"boundary_lacks":           {nil, denied(put + "because no permissions boundary allows the s3:PutObject action"), "put_denied", "let the permissions boundary allow s3:PutObject", ""},
		"scp_lacks":                {nil, denied(put + "because no service control policy allows the s3:PutObject action"), "put_denied", "let the service control policy allow", ""},
		"vpc_endpoint_lacks":       {nil, denied(put + "because no VPC endpoint policy allows the s3:PutObject action"), "put_denied", "let the VPC endpoint policy allow", ""},
		"session_lacks":            {nil, denied(put + "because no session policy allows the s3:PutObject action"), "put_denied", "report it", ""},
		"bucket_denies":            {nil, denied(put + "with an explicit deny in a resource-based policy"), "put_denied_explicitly", "the Deny in the policy of bucket \"acme-logs\"", ""},
		"identity_denies":          {nil, denied(put + "with an explicit deny in an identity-based policy"), "put_denied_explicitly", "the Deny in a policy of the role", ""},
		"session_denies":           {nil, denied(put + "with an explicit deny in a session policy"), "put_denied_explicitly", "report it", ""},
		"scp_denies":               {nil, denied(put + "with an explicit deny in a service control policy"), "put_denied_explicitly", "the Deny in a service control policy", ""},
		"rcp_denies":               {nil, denied(put + "with an explicit deny in a resource control policy"), "put_denied_explicitly", "the Deny in a resource control policy", ""},
		"boundary_denies":          {nil, denied(put + "with an explicit deny in a permissions boundary"), "put_denied_explicitly", "the Deny in a permissions boundary", ""},
		"vpc_endpoint_denies":      {nil, denied(put + "with an explicit deny in a VPC endpoint policy"), "put_denied_explicitly", "the endpoint's policy permit", ""},
		"something_denies":         {nil, denied(put + "with an explicit deny"), "put_denied_explicitly", "the Deny in some policy", ""},
		"key_identity":             {nil, denied(use + "because no identity-based policy allows the kms:GenerateDataKey action"), "kms", "let the role's policy allow kms:GenerateDataKey", `"Resource":"arn:aws:kms:eu-west-1`},
		"key_policy":               {nil, denied(use + "because no resource-based policy allows the kms:GenerateDataKey action"), "kms", "let the key's policy allow", "the policy of KMS key arn:aws:kms"},
		"key_of_other_account":     {classic, denied("not authorized to perform: kms:GenerateDataKey on this resource because the resource does not exist in this Region, no resource-based policies allow access, or a resource-based policy explicitly denies access"), "kms", "aws/s3 cannot be used from another account", `"Principal":{"AWS":"` + testPrincipal + `"}`},
		"key_session":              {nil, denied(use + "because no session policy allows the kms:GenerateDataKey action"), "kms", "server_side_encryption: false", ""},
		"key_denies":               {nil, denied(use + "with an explicit deny in a resource-based policy"), "kms", "a Deny applies", ""},
		"key_not_named":            {nil, denied("kms: no"), "kms", "enable the key", placeholderKey},
		"key_disabled":             {nil, key("KMS.DisabledException"), "kms", "enable the key", ""},
		"key_pending_deletion":     {nil, key("KMS.KMSInvalidStateException"), "kms", "cancel the deletion", ""},
		"key_not_found":            {nil, key("KMS.NotFoundException"), "kms", "existing key of the bucket's own region", ""},
		"key_of_another_usage":     {nil, key("KMS.InvalidKeyUsageException"), "kms", "symmetric", ""},
		"key_throttled":            {nil, key("KMS.ThrottlingException"), "kms", "quota", ""},
		"acl_unsupported":          {acl, s3(objstore.ErrInvalid, 400, "AccessControlListNotSupported", "The bucket does not allow ACLs"), "acl_unsupported", "remove acl", ""},
		"no_bucket":                {nil, s3(objstore.ErrNoBucket, 404, "NoSuchBucket", "none"), "no_bucket", "create the bucket", ""},
		"bucket_name":              {nil, s3(objstore.ErrInvalid, 400, "InvalidBucketName", "bad"), "bucket_name", "correct bucket", ""},
		"wrong_region":             {nil, s3(objstore.ErrWrongRegion, 301, "PermanentRedirect", "elsewhere"), "wrong_region", "set region", ""},
		"requester_pays":           {nil, s3(objstore.ErrInvalid, 400, "InvalidRequest", "Requester Pays bucket"), "requester_pays", "turn Requester Pays off", ""},
		"refused":                  {nil, s3(objstore.ErrInvalid, 400, "InvalidArgument", "no"), "refused", "see what the store says", ""},
		"request_not_made":         {nil, s3(objstore.ErrInvalid, 0, "", ""), "refused", "bucket, region and endpoint", ""},
		"throttled":                {nil, s3(objstore.ErrUnavailable, 503, "SlowDown", "slower"), "throttled", "copier.per_destination", ""},
		"internal_error":           {nil, s3(objstore.ErrUnavailable, 500, "InternalError", "oops"), "unavailable", "if it lasts", ""},
		"clock":                    {nil, s3(objstore.ErrDenied, 403, "RequestTimeTooSkewed", "late"), "clock_skew", "NTP", ""},
		"keys_unknown":             {endpoint, s3(objstore.ErrDenied, 403, "InvalidAccessKeyId", "who"), "credentials_refused", "custom endpoint", ""},
		"account":                  {nil, s3(objstore.ErrDenied, 403, "AllAccessDisabled", "off"), "account", "take it up with AWS", ""},
		"role_plain":               {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r"), "role_denied", "check that the role exists", `"StringEquals":{"sts:ExternalId":"` + workspace + `"}`},
		"role_own_policy":          {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r because no identity-based policy allows the sts:AssumeRole action"), "role_denied", testPrincipal + " allow sts:AssumeRole", `the IAM policy of Sealift's principal {"Sid":"SealiftAssumesRoles"`},
		"role_trust":               {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r because no resource-based policy allows the sts:AssumeRole action"), "role_denied", "let the trust policy", `"Principal":{"AWS":"` + testPrincipal + `"}`},
		"role_trust_denies":        {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r with an explicit deny in the role trust policy"), "role_denied", "a Deny", ""},
		"role_own_policy_denies":   {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r with an explicit deny in an identity-based policy"), "role_denied", "find it in the identity-based policy of Sealift's principal " + testPrincipal, ""},
		"role_boundary":            {nil, refusedRole("not authorized to perform: sts:AssumeRole on resource: r because no permissions boundary allows the sts:AssumeRole action"), "role_denied", "permissions boundary", ""},
		"role_open":                {nil, sts(assumerole.ErrTrustsAnyone, 0, "", ""), "role_open", "add to the statement", `"sts:ExternalId"`},
		"role_malformed":           {nil, sts(assumerole.ErrInvalid, 400, "ValidationError", "x is invalid"), "role_invalid", "correct role_arn", ""},
		"session_policy_too_large": {nil, sts(assumerole.ErrInvalid, 400, "PackedPolicyTooLarge", "large"), "policy_too_large", "shorten the path prefix", ""},
		"session_policy_malformed": {nil, sts(assumerole.ErrInvalid, 400, "MalformedPolicyDocument", "bad"), "policy_malformed", "correct bucket", ""},
		"sts_region":               {nil, sts(assumerole.ErrInvalid, 403, "RegionDisabledException", "off"), "sts_region_disabled", "activate STS in eu-west-1", ""},
		"sts_throttled":            {nil, sts(assumerole.ErrUnavailable, 400, "Throttling", "slower"), "sts_unavailable", "sts.endpoint", ""},
		"sts_unreached":            {nil, &assumerole.Error{Kind: assumerole.ErrUnavailable, Err: &net.DNSError{Name: "sts.example", IsNotFound: true}}, "sts_unavailable", "sts.endpoint", ""},
		"own_credentials":          {nil, sts(assumerole.ErrOwnCredentials, 403, "InvalidClientTokenId", "who"), "own_credentials", "aws sts get-caller-identity", ""},
		"no_such_host":             {endpoint, unsent(&net.DNSError{Name: "minio.example", IsNotFound: true}), "dns", "correct endpoint", ""},
		"no_host_for_the_bucket":   {func(t *catalog.Target) { endpoint(t); t.PathStyle = new(bool) }, unsent(&net.DNSError{Name: "acme-logs.minio.example", IsNotFound: true}), "dns", "path_style: true", ""},
		"no_such_host_of_aws":      {nil, unsent(&net.DNSError{Name: "acme-logs.s3.eu-west-9.amazonaws.com", IsNotFound: true}), "dns", "check region", ""},
		"dns_away":                 {nil, unsent(&net.DNSError{Name: "x", IsTemporary: true}), "dns", "this host's DNS", ""},
		"nothing_listens":          {endpoint, unsent(&net.OpError{Err: syscall.ECONNREFUSED}), "unreachable", "start the server", ""},
		"no_route":                 {endpoint, unsent(&net.OpError{Err: syscall.EHOSTUNREACH}), "unreachable", "firewall", ""},
		"no_answer":                {endpoint, unsent(context.DeadlineExceeded), "timeout", "security groups", ""},
		"connection_reset":         {endpoint, unsent(syscall.ECONNRESET), "unavailable", "network", ""},
		"unknown_authority":        {endpoint, unsent(x509.UnknownAuthorityError{}), "tls", "destinations.ca_file", ""},
		"sts_unknown_authority":    {nil, &assumerole.Error{Kind: assumerole.ErrUnavailable, Err: x509.UnknownAuthorityError{}}, "sts_unavailable", "sts.ca_file", ""},
		"proxy_away":               {nil, unsent(&net.OpError{Op: "proxyconnect", Err: &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}}), "proxy", "HTTPS_PROXY", ""},
		"proxy_forbids":            {nil, unsent(&transport.ProxyError{Proxy: "proxy:3128", Server: "acme-logs.s3.eu-west-1.amazonaws.com:443", Status: 403}), "proxy", "let the proxy connect to acme-logs", ""},
		"sts_proxy_away":           {nil, &assumerole.Error{Kind: assumerole.ErrUnavailable, Err: &net.OpError{Op: "proxyconnect", Err: syscall.ECONNREFUSED}}, "sts_unavailable", "HTTPS_PROXY", ""},
		"certificate_of_another":   {endpoint, unsent(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "minio.example"}), "tls", "the certificate names", ""},
		"certificate_expired":      {endpoint, unsent(x509.CertificateInvalidError{Cert: &x509.Certificate{}, Reason: x509.Expired}), "tls", "renewed", ""},
		"server_without_tls":       {endpoint, unsent(tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}), "tls", "http://", ""},
		"http_to_https":            {endpoint, unsent(errors.New("http: server gave HTTP response to HTTPS client")), "tls", "http://", ""},
		"https_to_http":            {endpoint, unsent(errors.New(`net/http: HTTP/1.x transport connection broken: malformed HTTP response "\x15\x03\x01"`)), "tls", "https://", ""},
		"endpoint_refused":         {endpoint, refusedEndpoint{}, "endpoint_refused", "destinations.allowed_endpoints, as host:port or CIDR", ""},
		"unknown_error":            {nil, errors.New("boom"), "unknown", "if it lasts", ""},
	} {
		t.Run(hazard, func(t *testing.T) {
			target := catalog.Target{
				Destination: catalog.Destination{Name: "acme", RoleARN: roleARN}, ID: workspace + "/acme", Workspace: workspace, BucketName: "acme-logs", SSE: true,
			}
			if c.change != nil {
				c.change(&target)
			}
			v := judge(c.err, target, testPrincipal)
			require.Equal(t, c.reason, v.Reason, "%+v", v)
			require.NotEmpty(t, v.Cause)
			require.Contains(t, v.Fix.String(), c.fix)
			require.Equal(t, v.Reason, Judge(c.err, target).Reason, "the verdict depends on Sealift's ARN")
			var all []string
			for _, s := range v.Statements {
				_, err := iam.Parse(kindOf(s), fmt.Appendf(nil, `{"Version":"2012-10-17","Statement":%s}`, s.JSON))
				if !strings.Contains(string(s.JSON), placeholderKey) { // a placeholder is no valid ARN
					require.NoError(t, err, "%s %s", s.Where, s.JSON)
				}
				all = append(all, s.Where+" "+string(s.JSON))
			}
			require.Contains(t, strings.Join(all, "\n"), c.statement)
		})
	}
}

const testPrincipal = "arn:aws:iam::999999999999:role/sealift"

// A body that does not match its checksum does not mean that the store does not know If-None-Match,
// although S3's message mentions a header.
func TestChecksumMismatchIsNotConditionRefusal(t *testing.T) {
	message := "The provided 'x-amz-content-sha256' header does not match what was computed."
	require.False(t, refusesCondition(&objstore.Error{Status: http.StatusBadRequest, Code: "XAmzContentSHA256Mismatch", Message: message}))
	require.True(t, refusesCondition(&objstore.Error{Status: http.StatusBadRequest, Code: "X", Message: "unknown header"}))
	require.False(t, refusesCondition(&objstore.Error{
		Status: http.StatusBadRequest, Code: "IncompleteBody", Kind: objstore.ErrUnavailable,
		Message: "You did not provide the number of bytes specified by the Content-Length HTTP header",
	}))
}
