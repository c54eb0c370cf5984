package destination

import (
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

// isKMS reports whether the answer is about a KMS key.
func isKMS(e *objstore.Error) bool {
	return strings.HasPrefix(e.Code, "KMS.") || strings.Contains(e.Message, "kms:")
}

// judgeKMS judges what S3 says about the KMS key to encrypt with, which is that of the bucket's
// default encryption, since Sealift names none.
func judgeKMS(e *objstore.Error, t catalog.Target, ownARN string) Verdict {
	d := readDenial(e.Message)
	v := permanent("kms", fmt.Sprintf("the bucket's KMS key cannot be used: %s: %s", e.Code, e.Message), "")
	key := "the key"
	if d.key != "" {
		key = d.key
	}
	switch {
	case strings.HasSuffix(e.Code, "ThrottlingException"):
		return TransientVerdict(ScopeDestination, v.Reason, v.Cause, "have the account's KMS quota raised, or turn S3 Bucket Keys on for the bucket")
	case strings.HasSuffix(e.Code, "DisabledException"):
		v.Fix.Do = "enable " + key + ", or choose another for the bucket's default encryption"
	case strings.HasSuffix(e.Code, "InvalidStateException"):
		v.Fix.Do = "cancel the deletion of " + key + " (it must be enabled), or choose another for the bucket's default encryption"
	case strings.HasSuffix(e.Code, "NotFoundException"):
		v.Fix.Do = "choose an existing key of the bucket's own region for its default encryption, by its ARN: a bare id is looked for in the account of whoever puts"
	case strings.HasSuffix(e.Code, "InvalidKeyUsageException"):
		v.Fix.Do = "choose a symmetric key for encryption and decryption for the bucket's default encryption"
	default:
		return kmsDenied(v, d, t, ownARN)
	}
	return v
}

// kmsDenied completes the verdict that the putter may not use a key.
func kmsDenied(v Verdict, d denial, t catalog.Target, ownARN string) Verdict {
	identity, resource := keyStatements(t, ownARN, d.key, d.policy == kindResource && d.key == "")
	const actions = "kms:GenerateDataKey"
	switch {
	case d.policy == kindSession:
		// Sealift's session policies allow this action only where KMS may be used.
		v.Fix.Do = "the bucket encrypts with a KMS key although AES256 is asked for: set server_side_encryption: false"
	case d.explicit:
		v.Fix.Do = fmt.Sprintf("a Deny applies to %s: find it in the key's policy and in those of %s, and except Sealift's use", actions, principal(t))
	case d.policy == kindIdentity:
		v.Fix.Do = fmt.Sprintf("let %s allow %s on the key", identityPolicy(t), actions)
		v = v.with(identity...)
	case d.policy == kindResource:
		v.Fix.Do = fmt.Sprintf("let the key's policy allow %s to %s", actions, principal(t))
		v = v.with(resource...)
	default:
		v.Fix.Do = fmt.Sprintf("enable the key, and let its policy and %s allow %s to %s", identityPolicy(t), actions, principal(t))
		v = v.with(append(identity, resource...)...)
	}
	if t.RoleARN == "" {
		v.Fix.Do += " (the AWS managed key aws/s3 cannot be used from another account: then choose a customer managed key for the bucket's default encryption)"
	}
	return v
}
