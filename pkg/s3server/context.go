package s3server

import (
	"crypto/tls"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/iam"
)

// knownConditionKeys lists the condition keys that requests have here; a policy with any other key
// is refused. S3's keys that are named like headers are in headerConditionKeys.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-keys.html
// https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazons3.html
// https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
var knownConditionKeys = []string{
	"aws:currenttime", "aws:epochtime", "aws:principalaccount", "aws:principalarn", "aws:principalisawsservice", "aws:principaltype",
	"aws:referer", "aws:requestedregion", "aws:resourceaccount", "aws:securetransport", "aws:sourceip", "aws:tokenissuetime", "aws:useragent",
	"aws:username", "aws:viaawsservice",
	// Always absent: no request reaches this server in such a way.
	"aws:calledvia", "aws:multifactorauthage", "aws:multifactorauthpresent", "aws:sourceaccount", "aws:sourcearn", "aws:sourcevpc",
	"aws:sourcevpce", "aws:vpcsourceip",
	"s3:authtype", "s3:delimiter", "s3:locationconstraint", "s3:max-keys", "s3:prefix", "s3:resourceaccount", "s3:signatureversion", "s3:tlsversion",
	"sts:externalid", "sts:rolesessionname",
	"kms:calleraccount", "kms:encryptioncontext:aws:s3:arn", "kms:encryptioncontextkeys", "kms:viaservice",
}

// headerConditionKeys lists the headers that are condition keys by their own name.
var headerConditionKeys = []string{
	"if-match", "if-none-match", "x-amz-acl", "x-amz-content-sha256", "x-amz-copy-source", "x-amz-grant-full-control", "x-amz-grant-read",
	"x-amz-grant-read-acp", "x-amz-grant-write", "x-amz-grant-write-acp", "x-amz-metadata-directive", "x-amz-object-ownership",
	"x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id", "x-amz-storage-class",
}

func knowsConditionKey(key string) bool {
	header, s3 := strings.CutPrefix(key, "s3:")
	return slices.Contains(knownConditionKeys, key) || s3 && slices.Contains(headerConditionKeys, header)
}

// context returns the values of a request's condition keys.
func (s *Server) context(r *request, owner string) iam.Context {
	caller, now := r.auth.principal, s.now().UTC()
	c := iam.Context{
		"aws:CurrentTime":           {now.Format(time.RFC3339)},
		"aws:EpochTime":             {strconv.FormatInt(now.Unix(), 10)},
		"aws:PrincipalAccount":      {caller.Account},
		"aws:PrincipalArn":          {caller.ARN},
		"aws:PrincipalIsAWSService": {"false"},
		"aws:PrincipalType":         {"User"},
		"aws:RequestedRegion":       {r.auth.region},
		"aws:ResourceAccount":       {owner},
		"aws:SecureTransport":       {strconv.FormatBool(r.TLS != nil)},
		"aws:ViaAWSService":         {"false"},
	}
	set := func(key, value string) {
		if value != "" {
			c[key] = []string{value}
		}
	}
	switch {
	case caller.Role != "":
		c["aws:PrincipalArn"], c["aws:PrincipalType"] = []string{caller.Role}, []string{"AssumedRole"}
		set("aws:TokenIssueTime", caller.issued.UTC().Format(time.RFC3339))
	case strings.HasSuffix(caller.ARN, ":root"):
		c["aws:PrincipalType"] = []string{"Account"}
	default:
		set("aws:username", caller.ARN[strings.LastIndex(caller.ARN, "/")+1:])
	}
	if host, _, err := net.SplitHostPort(r.RemoteAddr); err == nil {
		set("aws:SourceIp", host)
	}
	set("aws:UserAgent", r.UserAgent())
	set("aws:Referer", r.Referer())
	if r.service == serviceSTS {
		set("sts:ExternalId", r.form.Get("ExternalId"))
		set("sts:RoleSessionName", r.form.Get("RoleSessionName"))
		return c
	}
	set("s3:ResourceAccount", owner)
	set("s3:signatureversion", algorithm)
	set("s3:authType", "REST-HEADER")
	if r.TLS != nil {
		set("s3:TlsVersion", map[uint16]string{tls.VersionTLS12: "1.2", tls.VersionTLS13: "1.3"}[r.TLS.Version])
	}
	if r.query.Has("X-Amz-Signature") {
		set("s3:authType", "REST-QUERY-STRING")
	}
	for _, name := range headerConditionKeys {
		set("s3:"+name, r.Header.Get(name))
	}
	if strings.HasPrefix(r.op, "ListObjects") {
		for _, name := range []string{"prefix", "delimiter", "max-keys"} {
			if r.query.Has(name) {
				c["s3:"+name] = []string{r.query.Get(name)}
			}
		}
	}
	return c
}
