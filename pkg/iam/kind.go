package iam

// Kind is what a document is attached to, which decides which elements it must and must not have.
type Kind int

// Kinds of policies.
const (
	Identity Kind = iota + 1 // of a user or role
	Session                  // passed to sts:AssumeRole
	Bucket                   // of an S3 bucket
	Trust                    // of a role: who may assume it
	Key                      // of a KMS key
)

// String returns the name of the kind in AWS's messages.
func (k Kind) String() string {
	switch k {
	case Identity:
		return "identity-based policy"
	case Session:
		return "session policy"
	case Trust:
		return "role trust policy"
	case Bucket, Key:
		return "resource-based policy"
	}
	return "policy"
}

// namesPrincipals reports whether policies of this kind name principals.
func (k Kind) namesPrincipals() bool { return k == Bucket || k == Trust || k == Key }

// MaxBytes returns the maximum length of a document of this kind. The managed policy of an identity
// is counted without white space, the others as they are.
//
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html,
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucket-policies.html and
// https://docs.aws.amazon.com/kms/latest/developerguide/resource-limits.html.
func (k Kind) MaxBytes() int {
	switch k {
	case Session, Trust: // a trust policy's quota can be raised to 4096
		return 2048
	case Bucket:
		return 20 << 10
	case Key:
		return 32 << 10
	default:
		return 6144
	}
}
