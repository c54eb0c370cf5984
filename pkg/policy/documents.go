package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
)

// ErrContradiction is matched by the errors of NewSet for options that do not fit together, or do
// not fit the destination. The text says what to change.
var ErrContradiction = errors.New("no policies for this")

// Kind says what a document is attached to.
type Kind string

// Kinds of documents, in the order in which they are attached.
const (
	Trust  Kind = "trust"  // of the role: who may assume it
	Role   Kind = "role"   // of the role: what it may do
	Bucket Kind = "bucket" // of the bucket
	KMS    Kind = "kms"    // a statement for the policy of the KMS key
)

// Kinds are all kinds of documents.
var Kinds = []Kind{Trust, Role, Bucket, KMS}

// Options complete the documents, in addition to the destination.
type Options struct {
	// Principal is the ARN of the operator's user, role or account root, which assumes the role, or
	// puts files. Required.
	Principal string
	// KMSKey is the ARN of the key of the bucket's default encryption; "" if that is not a key of
	// the customer's.
	KMSKey string
	// EnforceEncryption denies PUTs into the folder with any encryption other than the
	// destination's.
	EnforceEncryption bool
	// SecureTransport denies requests to the bucket that do not use TLS.
	SecureTransport bool
}

// Document is a policy that a customer attaches.
type Document struct {
	Kind   Kind
	Policy iam.Policy
}

// Set is everything that a destination needs; a kind of document that is missing is not needed. It
// is sufficient, if the operator's own policy allows sts:AssumeRole on the role, or s3:PutObject
// and kms:GenerateDataKey for a bucket in another account. And it is minimal.
type Set struct {
	Target    catalog.Target
	Options   Options
	Documents []Document // at most one of each kind, in the order of Kinds
}

// Only returns the set reduced to documents of these kinds.
func (s Set) Only(kinds ...Kind) Set {
	s.Documents = slices.DeleteFunc(slices.Clone(s.Documents), func(d Document) bool { return !slices.Contains(kinds, d.Kind) })
	return s
}

// document returns the document of a kind, or nil if there is none.
func (s Set) document(k Kind) *iam.Policy {
	i := slices.IndexFunc(s.Documents, func(d Document) bool { return d.Kind == k })
	if i < 0 {
		return nil
	}
	return &s.Documents[i].Policy
}

// NewSet returns the documents of a destination. It returns an ErrContradiction if no documents
// would make it work.
func NewSet(t catalog.Target, o Options) (Set, error) {
	p, err := ParsePrincipal(o.Principal)
	if err != nil {
		return Set{}, fmt.Errorf("%w: %w", ErrContradiction, err)
	}
	o.Principal = p.ARN
	if err := o.check(t); err != nil {
		return Set{}, err
	}
	s := Set{Target: t, Options: o}
	for _, k := range Kinds {
		var statements []iam.Statement
		switch k {
		case Trust:
			statements = s.trustStatements()
		case Role:
			statements = s.roleStatements()
		case Bucket:
			statements = s.bucketStatements()
		case KMS:
			statements = s.keyStatements()
		}
		if len(statements) > 0 {
			s.Documents = append(s.Documents, Document{k, iam.Policy{Version: iam.Version, Statement: statements}})
		}
	}
	return s, nil
}

// trustStatements allow the operator to assume the role, for this customer only.
func (s Set) trustStatements() []iam.Statement {
	if s.Target.RoleARN == "" {
		return nil
	}
	return []iam.Statement{{
		Sid: s.sid("Assume"), Effect: iam.Allow, Principal: iam.AWS(s.Options.Principal), Action: iam.Strings{"sts:AssumeRole"},
		Condition: iam.Condition{"StringEquals": {"sts:ExternalId": {s.Target.Workspace}}},
	}}
}

// roleStatements allow the role to put files.
func (s Set) roleStatements() []iam.Statement {
	if s.Target.RoleARN == "" {
		return nil
	}
	out := []iam.Statement{{Sid: s.sid("Put"), Effect: iam.Allow, Action: s.putActions(), Resource: iam.Strings{s.objectsARN()}}}
	if s.Options.KMSKey != "" {
		out = append(out, iam.Statement{Sid: s.sid("Encrypt"), Effect: iam.Allow, Action: kmsActions(), Resource: iam.Strings{s.Options.KMSKey}})
	}
	return out
}

// bucketStatements allow principals of other accounts to put files, and enforce what the options
// ask for.
func (s Set) bucketStatements() []iam.Statement {
	var out []iam.Statement
	if s.Target.RoleARN == "" || s.Target.Owner != accountOf(s.Target.RoleARN) {
		out = append(out, iam.Statement{
			Sid: s.sid("Put"), Effect: iam.Allow, Principal: iam.AWS(s.writerARN()), Action: s.putActions(), Resource: iam.Strings{s.objectsARN()},
		})
	}
	if s.Options.EnforceEncryption {
		deny := iam.Statement{
			Sid: s.sid("DenyOtherEncryption"), Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{s.objectsARN()},
			// A PUT without the header is denied too: StringNotEquals is true for a missing header.
			Condition: iam.Condition{"StringNotEquals": {"s3:x-amz-server-side-encryption": {"AES256"}}},
		}
		if s.Options.KMSKey != "" {
			// A PUT without the header gets the bucket's default encryption; a key that is named
			// must be this one.
			deny.Condition = iam.Condition{
				"Null":            {"s3:x-amz-server-side-encryption": {"false"}},
				"StringNotEquals": {"s3:x-amz-server-side-encryption-aws-kms-key-id": {s.Options.KMSKey}},
			}
		}
		out = append(out, deny)
	}
	if s.Options.SecureTransport {
		arn := "arn:" + s.partition() + ":s3:::" + s.Target.BucketName
		out = append(out, iam.Statement{
			Sid: s.sid("DenyPlainText"), Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"s3:*"}, Resource: iam.Strings{arn, arn + "/*"},
			Condition: iam.Condition{"Bool": {"aws:SecureTransport": {"false"}}},
		})
	}
	return out
}

// keyStatements make the key's policy consent. If the key is in the role's account, it leaves the
// rest to the role's policy, like keys created in the console do for their whole account. And if
// the role is deleted and created again, the statement still works, which it would not if it named
// the role as principal.
func (s Set) keyStatements() []iam.Statement {
	if s.Options.KMSKey == "" {
		return nil
	}
	st := iam.Statement{Sid: s.sid("Encrypt"), Effect: iam.Allow, Principal: iam.AWS(s.writerARN()), Action: kmsActions(), Resource: iam.Strings{"*"}}
	if s.ownKey() {
		st.Principal = iam.AWS("arn:" + s.partition() + ":iam::" + accountOf(s.Options.KMSKey) + ":root")
		st.Condition = iam.Condition{"ArnEquals": {"aws:PrincipalArn": {s.Target.RoleARN}}}
	}
	return []iam.Statement{st}
}

// ownKey reports whether the key belongs to the role's account.
func (s Set) ownKey() bool {
	return s.Target.RoleARN != "" && accountOf(s.Target.RoleARN) == accountOf(s.Options.KMSKey)
}

// putActions returns the actions of a delivery on the bucket.
func (s Set) putActions() iam.Strings { return putActions(s.Target.ACL != "") }

func putActions(acl bool) iam.Strings {
	if acl {
		return iam.Strings{"s3:PutObject", "s3:PutObjectAcl"}
	}
	return iam.Strings{"s3:PutObject"}
}

// kmsActions returns the actions that S3 performs with the key for a delivery. A delivery is a
// single PUT; only multipart uploads need kms:Decrypt
// (https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html).
func kmsActions() iam.Strings { return iam.Strings{"kms:GenerateDataKey"} }

// writerARN returns the principal that the bucket sees.
func (s Set) writerARN() string {
	if s.Target.RoleARN != "" {
		return s.Target.RoleARN
	}
	return s.Options.Principal
}

func (s Set) objectsARN() string { return objectARN(s.partition(), s.Target, "*") }

// partition returns the target's partition. A classic target without a region does not tell it; it
// is the operator's own then.
func (s Set) partition() string {
	if s.Target.RoleARN == "" && s.Target.Region == "" {
		return iam.ARNPartition(s.Options.Principal)
	}
	return Partition(s.Target)
}

var notLetters = regexp.MustCompile(`[^A-Za-z0-9]+`)

// sid returns the name of a statement. A bucket's or key's policy may contain statements for
// several destinations, so each needs its own name.
func (s Set) sid(what string) string {
	var name strings.Builder
	for part := range strings.SplitSeq(s.Target.Name, "-") {
		if part != "" {
			name.WriteString(strings.ToUpper(part[:1]) + part[1:])
		}
	}
	return "Sealift" + what + notLetters.ReplaceAllString(name.String(), "") + s.idSuffix()
}

// idSuffix distinguishes the target from all others that share a role, bucket or key.
func (s Set) idSuffix() string {
	sum := sha256.Sum256([]byte(s.Target.ID))
	return hex.EncodeToString(sum[:4])
}

var keyARN = regexp.MustCompile(`^arn:aws[a-z-]*:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+$`)

func (o Options) check(t catalog.Target) error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrContradiction}, args...)...)
	}
	if _, err := Session(t); err != nil { // a name that could be read as a pattern
		return bad("%w", err)
	}
	if t.RefusalReason != "" {
		return bad("the catalog is wrong: %s", t.RefusalReason)
	}
	p := iam.ARNPartition(o.Principal)
	switch {
	case t.RoleARN != "" && Partition(t) != p:
		return bad("role %s and principal %s are in different partitions of AWS, where neither can assume the other's roles; "+
			"run Sealift with credentials of %s", t.RoleARN, o.Principal, Partition(t))
	case t.RoleARN == "" && t.Region != "" && Partition(t) != p:
		return bad("region %s is not in the partition %s of principal %s; run Sealift with credentials of %s", t.Region, p, o.Principal, Partition(t))
	case t.SSE && o.KMSKey != "":
		return bad("the destination asks for AES256 (server_side_encryption: true), and S3 would do so with its own key, whatever the bucket's default is; " +
			"set server_side_encryption: false for the bucket's KMS key, or leave the key out")
	case o.KMSKey != "" && strings.Contains(o.KMSKey, ":alias/"):
		return bad("%q is an alias, which policies do not look through; write the key's own ARN, as `aws kms describe-key` prints it", o.KMSKey)
	case o.KMSKey != "" && !keyARN.MatchString(o.KMSKey):
		return bad("%q is not the ARN of a KMS key; write it like arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", o.KMSKey)
	case o.KMSKey != "" && iam.ARNPartition(o.KMSKey) != p:
		return bad("key %s is not in the partition %s", o.KMSKey, p)
	case o.EnforceEncryption && !t.SSE && o.KMSKey == "":
		return bad("the destination leaves encryption to the bucket (server_side_encryption: false); name the key that it is to be enforced with")
	}
	return nil
}

func accountOf(arn string) string {
	if parts := strings.SplitN(arn, ":", 6); len(parts) == 6 {
		return parts[4]
	}
	return ""
}
