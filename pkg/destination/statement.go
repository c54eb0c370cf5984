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

// Statement is a policy statement that mends a failure, filled in.
type Statement struct {
	Where string          `json:"where"` // the document that it is to be added to
	JSON  json.RawMessage `json:"statement"`

	allows bool // and so does not help against a Deny
}

// What stands in statements for ARNs that are not known: of Sealift's own
// principal, and of the bucket's KMS key.
const (
	OwnPrincipal = "SEALIFT_PRINCIPAL_ARN"
	OwnKey       = "KMS_KEY_ARN"
)

func newStatement(where string, s iam.Statement) Statement {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // made here, of valid parts
	}
	return Statement{where, b, s.Effect == iam.Allow}
}

// written are the statements of the documents that `sealift destinations
// policy` prints, so that names and rights are the same. There are none if no
// documents would make t work. Of own "" and of a key that is OwnKey, and the
// account that it is of if that is known, the place holders are written.
func written(t catalog.Target, own, key string, kind policy.Kind, where string) []Statement {
	// An ARN that is not known is written in a form that Write takes.
	in := policy.Partition(t)
	stand := map[string]string{}
	if own == "" {
		own = "arn:" + in + ":iam::000000000000:role/SEALIFT"
		stand[own] = OwnPrincipal
	}
	if account, unknown := strings.CutPrefix(key, OwnKey); unknown {
		key = "arn:" + in + ":kms:region:" + cmp.Or(account, "000000000000") + ":key/KEY"
		stand[key] = OwnKey
	}
	set, err := policy.Write(t, policy.Options{Principal: own, KMSKey: key})
	if err != nil {
		return nil
	}
	var out []Statement
	for _, d := range set.Only(kind).Documents {
		for _, s := range d.Policy.Statement {
			made := newStatement(where, s)
			for known, unknown := range stand {
				made.JSON = bytes.ReplaceAll(made.JSON, []byte(known), []byte(unknown))
			}
			out = append(out, made)
		}
	}
	return out
}

const ownPolicy = "the IAM policy of Sealift's principal"

// identityStatements are for the policy of whoever puts.
func identityStatements(t catalog.Target, own string) []Statement {
	if t.RoleARN != "" {
		return written(t, own, "", policy.Role, "an IAM policy of role "+t.RoleARN)
	}
	return []Statement{newStatement(ownPolicy, iam.Statement{
		Sid: "SealiftPutsFiles", Effect: iam.Allow, Action: putActions(t), Resource: iam.Strings{policy.ObjectARN(t, "*")},
	})}
}

// bucketStatements are for the bucket's policy.
func bucketStatements(t catalog.Target, own string) []Statement {
	t.Owner = "" // it is needed, whatever account the bucket is of
	return written(t, own, "", policy.Bucket, "the policy of bucket "+t.BucketName)
}

// keyStatements let the putter use a KMS key, "" if it is not known: its own
// policy, and the key's. foreign: all that is known of it is that it is of
// another account than the putter.
func keyStatements(t catalog.Target, own, key string, foreign bool) (identity, resource []Statement) {
	if key == "" {
		key = OwnKey
	}
	t.SSE = false // or it would not be used
	named := key
	if key == OwnKey && !foreign {
		key += catalog.RoleAccount(t.RoleARN)
	}
	resource = written(t, own, key, policy.KMS, "the policy of KMS key "+named)
	if t.RoleARN == "" {
		return []Statement{newStatement(ownPolicy, iam.Statement{
			Sid: "SealiftEncrypts", Effect: iam.Allow, Action: iam.Strings{"kms:GenerateDataKey"}, Resource: iam.Strings{named},
		})}, resource
	}
	if identity = written(t, own, key, policy.Role, "an IAM policy of role "+t.RoleARN); len(identity) > 0 {
		identity = identity[1:] // the first is about objects
	}
	return identity, resource
}

// trustStatements are for the role's trust policy.
func trustStatements(t catalog.Target, own string) []Statement {
	return written(t, own, "", policy.Trust, "the trust policy of role "+t.RoleARN)
}

// assumeStatement is for the policy of Sealift's own principal.
func assumeStatement(t catalog.Target) Statement {
	return newStatement(ownPolicy, iam.Statement{
		Sid: "SealiftAssumesRoles", Effect: iam.Allow, Action: iam.Strings{"sts:AssumeRole"}, Resource: iam.Strings{t.RoleARN},
	})
}
