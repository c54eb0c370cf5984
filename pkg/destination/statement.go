package destination

import (
	"bytes"
	"cmp"
	"encoding/json"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

// Statement is a complete policy statement that fixes a failure.
type Statement struct {
	Where string          `json:"where"` // the document to add it to
	JSON  json.RawMessage `json:"statement"`

	allows bool // it is an Allow, so it does not help against a Deny
}

// Placeholders in statements for ARNs that are not known: that of Sealift's own principal, and that
// of the bucket's KMS key.
const (
	placeholderPrincipal = "SEALIFT_PRINCIPAL_ARN"
	placeholderKey       = "KMS_KEY_ARN"
)

func newStatement(where string, s iam.Statement) Statement {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // made here, from valid parts
	}
	return Statement{where, b, s.Effect == iam.Allow}
}

// documentStatements returns the statements of the documents that `sealift destinations policy`
// prints, so that names and rights are the same. It returns none if no documents would make t work.
// If ownARN is "", or key begins with placeholderKey (followed by the key's account if that is
// known), placeholders are written for them.
func documentStatements(t catalog.Target, ownARN, key string, kind policy.Kind, where string) []Statement {
	// An unknown ARN is given a form that policy.NewSet accepts.
	in := policy.Partition(t)
	placeholders := map[string]string{}
	if ownARN == "" {
		ownARN = "arn:" + in + ":iam::000000000000:role/SEALIFT"
		placeholders[ownARN] = placeholderPrincipal
	}
	if account, unknown := strings.CutPrefix(key, placeholderKey); unknown {
		key = "arn:" + in + ":kms:region:" + cmp.Or(account, "000000000000") + ":key/KEY"
		placeholders[key] = placeholderKey
	}
	set, err := policy.NewSet(t, policy.Options{Principal: ownARN, KMSKey: key})
	if err != nil {
		return nil
	}
	var out []Statement
	for _, d := range set.Only(kind).Documents {
		for _, s := range d.Policy.Statement {
			made := newStatement(where, s)
			for known, unknown := range placeholders {
				made.JSON = bytes.ReplaceAll(made.JSON, []byte(known), []byte(unknown))
			}
			out = append(out, made)
		}
	}
	return out
}

const ownPolicy = "the IAM policy of Sealift's principal"

// identityStatements are for the policy of the principal that puts.
func identityStatements(t catalog.Target, ownARN string) []Statement {
	if t.RoleARN != "" {
		return documentStatements(t, ownARN, "", policy.Role, "an IAM policy of role "+t.RoleARN)
	}
	return []Statement{newStatement(ownPolicy, iam.Statement{
		Sid: "SealiftPutsFiles", Effect: iam.Allow, Action: putActions(t), Resource: iam.Strings{policy.ObjectARN(t, "*")},
	})}
}

// bucketStatements are for the bucket's policy.
func bucketStatements(t catalog.Target, ownARN string) []Statement {
	t.Owner = "" // the statement is needed, whichever account owns the bucket
	return documentStatements(t, ownARN, "", policy.Bucket, "the policy of bucket "+t.BucketName)
}

// keyStatements let the putter use a KMS key: identity for its own policy, resource for the key's
// policy. key is "" if it is not known; foreign then says that the key belongs to another account
// than the putter.
func keyStatements(t catalog.Target, ownARN, key string, foreign bool) (identity, resource []Statement) {
	if key == "" {
		key = placeholderKey
	}
	t.SSE = false // with AES256 the key would not be used
	named := key
	if key == placeholderKey && !foreign {
		key += catalog.RoleAccount(t.RoleARN)
	}
	resource = documentStatements(t, ownARN, key, policy.KMS, "the policy of KMS key "+named)
	if t.RoleARN == "" {
		return []Statement{newStatement(ownPolicy, iam.Statement{
			Sid: "SealiftEncrypts", Effect: iam.Allow, Action: iam.Strings{"kms:GenerateDataKey"}, Resource: iam.Strings{named},
		})}, resource
	}
	if identity = documentStatements(t, ownARN, key, policy.Role, "an IAM policy of role "+t.RoleARN); len(identity) > 0 {
		identity = identity[1:] // the first statement is about objects
	}
	return identity, resource
}

// trustStatements are for the role's trust policy.
func trustStatements(t catalog.Target, ownARN string) []Statement {
	return documentStatements(t, ownARN, "", policy.Trust, "the trust policy of role "+t.RoleARN)
}

// assumeStatement is for the policy of Sealift's own principal.
func assumeStatement(t catalog.Target) Statement {
	return newStatement(ownPolicy, iam.Statement{
		Sid: "SealiftAssumesRoles", Effect: iam.Allow, Action: iam.Strings{"sts:AssumeRole"}, Resource: iam.Strings{t.RoleARN},
	})
}
