package awstest

import (
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

// parts are what a world consists of.
type parts struct {
	operator s3server.User
	// unknownKey makes the operator sign with an access key that AWS does not know.
	unknownKey  bool
	role        s3server.Role
	bucket      s3server.Bucket
	key         s3server.Key // no ARN: there is no key
	destination catalog.Destination

	noRole, noBucket bool
	noTLS            bool // no TLS
	withoutSTS       []string
}

func (p parts) accessKey() string {
	if p.unknownKey {
		return "AKIANOBODY"
	}
	return p.operator.AccessKey
}

// ARNs of the delivered objects, of everything in the bucket, and of the other accounts.
const (
	objects    = "arn:aws:s3:::" + BucketName + "/" + Prefix + "/segment-logs/*"
	everything = "arn:aws:s3:::" + BucketName + "/*"
	customer   = "arn:aws:iam::" + CustomerAccount + ":root"
	third      = "arn:aws:iam::" + ThirdAccount + ":root"
)

// doc returns a policy with the statements.
func doc(statements ...iam.Statement) *iam.Policy {
	return &iam.Policy{Version: iam.Version, Statement: statements}
}

// allow and deny return statements of identity-based policies.
func allow(resource string, actions ...string) iam.Statement {
	return iam.Statement{Effect: iam.Allow, Action: actions, Resource: iam.Strings{resource}}
}

func deny(resource string, actions ...string) iam.Statement {
	s := allow(resource, actions...)
	s.Effect = iam.Deny
	return s
}

// withPrincipal returns the statement with principals, for resource-based policies.
func withPrincipal(p *iam.Principals, s iam.Statement) iam.Statement {
	s.Principal = p
	return s
}

// withCondition returns the statement with a condition.
func withCondition(s iam.Statement, operator, key string, values ...string) iam.Statement {
	s.Condition = iam.Condition{operator: {key: values}}
	return s
}

func trust(principal *iam.Principals, operator string, ids ...string) *iam.Policy {
	s := iam.Statement{Effect: iam.Allow, Principal: principal, Action: iam.Strings{"sts:AssumeRole"}}
	if operator != "" {
		s = withCondition(s, operator, "sts:ExternalId", ids...)
	}
	return doc(s)
}

// roleParts returns a sound destination with a role.
func roleParts() parts {
	return parts{
		operator: s3server.User{
			ARN: OperatorARN, AccessKey: "AKIAOPERATOR", SecretKey: "operators-secret",
			Policies: []*iam.Policy{doc(allow("*", "sts:AssumeRole"))},
		},
		role: s3server.Role{
			ARN: RoleARN, Trust: trust(iam.AWS(OperatorARN), "StringEquals", WorkspaceID),
			Policies: []*iam.Policy{doc(allow(objects, "s3:PutObject", "s3:PutObjectAcl"))},
		},
		bucket: s3server.Bucket{Name: BucketName, Region: Region, Owner: CustomerAccount},
		destination: catalog.Destination{
			Name: Destination, Sources: []string{SourceID}, Bucket: BucketName + "/" + Prefix, Region: Region,
			RoleARN: RoleARN, ExpectedBucketOwner: CustomerAccount,
		},
	}
}

// withKey makes SSE-KMS the bucket's default encryption, and leaves the encryption to the bucket.
// The caller may use the key.
func withKey(p parts) parts {
	off := false
	p.destination.ServerSideEncryption = &off
	p.bucket.Key = KeyARN
	use := allow(KeyARN, "kms:GenerateDataKey", "kms:Decrypt")
	p.key = s3server.Key{ARN: KeyARN, Policy: doc(withPrincipal(iam.AWS(customer), allow("*", "kms:*")))}
	if p.destination.RoleARN == "" {
		p.operator.Policies = append(p.operator.Policies, doc(use))
		p.key.Policy.Statement = append(p.key.Policy.Statement, withPrincipal(iam.AWS(OperatorARN), allow("*", "kms:GenerateDataKey", "kms:Decrypt")))
		return p
	}
	p.role.Policies = append(p.role.Policies, doc(use))
	return p
}

// withACL enables ACLs for the bucket, and makes the destination set the one that gives its objects
// to the bucket's owner.
func withACL(p parts) parts {
	p.bucket.Ownership = s3server.ObjectWriter
	p.destination.ACL = "bucket-owner-full-control"
	return p
}

// classicParts returns a sound destination without a role: the bucket's policy admits the
// operator's principal.
func classicParts() parts {
	p := roleParts()
	p.noRole = true
	p.destination.RoleARN = ""
	p.operator.Policies = []*iam.Policy{doc(allow("arn:aws:s3:::*", "s3:PutObject", "s3:PutObjectAcl"))}
	p.bucket.Policy = doc(withPrincipal(iam.AWS(OperatorARN), allow(objects, "s3:PutObject", "s3:PutObjectAcl")))
	return p
}
