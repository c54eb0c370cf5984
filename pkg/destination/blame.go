package destination

import (
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

func blameAES256(t catalog.Target, _ string) Verdict {
	return permanent("encryption_contradiction",
		fmt.Sprintf("server_side_encryption is true, and a policy of bucket %q denies what asks for AES256: without that header the PUT is accepted", t.BucketName),
		"set server_side_encryption: false, which leaves the encryption to the bucket's default; or remove the Deny on s3:x-amz-server-side-encryption")
}

func blameNotAES256(t catalog.Target, _ string) Verdict {
	return permanent("encryption_contradiction",
		fmt.Sprintf("server_side_encryption is false, and a policy of bucket %q demands AES256: with that header the PUT is accepted", t.BucketName),
		"set server_side_encryption: true; or remove the Deny on s3:x-amz-server-side-encryption")
}

// blameNotKMS does not suggest to send aws:kms, because Sealift never names a key.
func blameNotKMS(t catalog.Target, _ string) Verdict {
	v := permanent("encryption_contradiction",
		fmt.Sprintf("a policy of bucket %q demands the header x-amz-server-side-encryption: aws:kms, which Sealift does not send: it leaves KMS to the bucket's default encryption", t.BucketName),
		"set server_side_encryption: false, make SSE-KMS the bucket's default encryption, and replace the Deny by one that lets requests without the header pass")
	return v.with(newStatement("the policy of bucket "+t.BucketName+", for the present Deny", iam.Statement{
		Sid: "DenyOtherEncryption", Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"s3:PutObject"}, Resource: iam.Strings{policy.ObjectARN(t, "*")},
		Condition: iam.Condition{
			"StringNotEquals": {"s3:x-amz-server-side-encryption": {"aws:kms"}},
			"Null":            {"s3:x-amz-server-side-encryption": {"false"}},
		},
	}))
}

func blameOwner(t catalog.Target, _ string) Verdict {
	from := "by expected_bucket_owner"
	if t.ExpectedBucketOwner == "" {
		from = "as the role does"
	}
	return permanent("wrong_owner",
		fmt.Sprintf("bucket %q belongs to another account than %s: without x-amz-expected-bucket-owner the PUT is accepted", t.BucketName, t.Owner),
		fmt.Sprintf("is it the right bucket? It should belong to %s, %s: correct bucket in the catalog, or set expected_bucket_owner to the account that owns it", t.Owner, from))
}

func blameACL(t catalog.Target, ownARN string) Verdict {
	return permanent("acl_denied",
		fmt.Sprintf("the ACL %s is not allowed: without it the PUT is accepted", t.ACL),
		fmt.Sprintf("remove acl from the destination, or let %s allow s3:PutObjectAcl on %s to %s", grantor(t), policy.ObjectARN(t, "*"), principal(t))).withGrant(t, ownARN)
}

func blameNoACL(t catalog.Target, ownARN string) Verdict {
	t.ACL = fullControl
	v := permanent("acl_demanded",
		fmt.Sprintf("a policy of bucket %q demands the ACL %s, and acl is not set", t.BucketName, fullControl),
		fmt.Sprintf("set acl: %s, and let %s allow s3:PutObjectAcl on %s to %s; or remove the Deny on s3:x-amz-acl", fullControl, grantor(t), policy.ObjectARN(t, "*"), principal(t)))
	for _, s := range grantStatements(t, ownARN) {
		s.allows = false // it is needed all the same
		v = v.with(s)
	}
	return v
}

func blamePrefix(t catalog.Target, ownARN string) Verdict {
	root := t
	root.Prefix = ""
	return permanent("prefix_denied",
		fmt.Sprintf("the policies allow %s, and the destination's prefix makes it %s: without the prefix the PUT is accepted", policy.ObjectARN(root, "*"), policy.ObjectARN(t, "*")),
		fmt.Sprintf("let %s allow s3:PutObject on %s; or remove the prefix from bucket in the catalog", grantor(t), policy.ObjectARN(t, "*"))).withGrant(t, ownARN)
}

// blameFolders: the folders of some sources are allowed, and those of others are not.
func blameFolders(t catalog.Target, ownARN string, allowed, refused []string) Verdict {
	return permanent("folder_denied",
		fmt.Sprintf("the policies allow the folders of sources %s, and not those of %s", strings.Join(allowed, ", "), strings.Join(refused, ", ")),
		fmt.Sprintf("let %s allow s3:PutObject on %s, which is all sources' folders", grantor(t), policy.ObjectARN(t, "*"))).withGrant(t, ownARN)
}

// grantor names the policy that has to allow the PUTs of a destination.
func grantor(t catalog.Target) string {
	if grantingKind(t) == kindIdentity {
		return identityPolicy(t)
	}
	return fmt.Sprintf("the policy of bucket %q", t.BucketName)
}

// withGrant returns the verdict with the statements that its fix asks for.
func (v Verdict) withGrant(t catalog.Target, ownARN string) Verdict {
	v.needsGrant = true
	return v.with(grantStatements(t, ownARN)...)
}

// grantStatements returns the statements that allow the PUTs of a destination.
func grantStatements(t catalog.Target, ownARN string) []Statement {
	if grantingKind(t) == kindIdentity {
		return identityStatements(t, ownARN)
	}
	return bucketStatements(t, ownARN)
}
