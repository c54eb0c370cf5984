package destination

import (
	"encoding/json"

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

// OwnPrincipal stands in statements for the ARN of Sealift's own principal
// where that is not known.
const OwnPrincipal = "SEALIFT_PRINCIPAL_ARN"

// ownKey stands in statements for a KMS key that is not known.
const ownKey = "KMS_KEY_ARN"

func newStatement(where string, s iam.Statement) Statement {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err) // made here, of valid parts
	}
	return Statement{where, b, s.Effect == iam.Allow}
}

// identityStatement is for the policy of whoever puts.
func identityStatement(t catalog.Target, actions []string) Statement {
	where := "the IAM policy of Sealift's principal"
	if t.RoleARN != "" {
		where = "an IAM policy of role " + t.RoleARN
	}
	return newStatement(where, iam.Statement{Sid: "SealiftPutsLogs", Effect: iam.Allow, Action: actions, Resource: iam.Strings{policy.ObjectARN(t, "*")}})
}

// bucketStatement is for the bucket's policy.
func bucketStatement(t catalog.Target, own string, actions []string) Statement {
	return newStatement("the policy of bucket "+t.BucketName, iam.Statement{
		Sid: "SealiftPutsLogs", Effect: iam.Allow, Principal: iam.AWS(principalARN(t, own)), Action: actions, Resource: iam.Strings{policy.ObjectARN(t, "*")},
	})
}

// keyStatements let the putter use a KMS key: its own policy, and the key's.
func keyStatements(t catalog.Target, own, key string) (identity, resource Statement) {
	actions := []string{"kms:GenerateDataKey"} // all that a single PUT takes
	where := "the IAM policy of Sealift's principal"
	if t.RoleARN != "" {
		where = "an IAM policy of role " + t.RoleARN
	}
	if key == "" {
		key = ownKey
	}
	identity = newStatement(where, iam.Statement{Sid: "SealiftUsesKey", Effect: iam.Allow, Action: actions, Resource: iam.Strings{key}})
	resource = newStatement("the policy of KMS key "+key, iam.Statement{
		Sid: "SealiftUsesKey", Effect: iam.Allow, Principal: iam.AWS(principalARN(t, own)), Action: actions, Resource: iam.Strings{"*"},
	})
	return identity, resource
}

// trustStatement is for the role's trust policy.
func trustStatement(t catalog.Target, own string) Statement {
	if own == "" {
		own = OwnPrincipal
	}
	return newStatement("the trust policy of role "+t.RoleARN, iam.Statement{
		Sid: "SealiftAssumes", Effect: iam.Allow, Principal: iam.AWS(own), Action: iam.Strings{"sts:AssumeRole"},
		Condition: iam.Condition{"StringEquals": {"sts:ExternalId": {t.Workspace}}},
	})
}

// assumeStatement is for the policy of Sealift's own principal.
func assumeStatement(t catalog.Target) Statement {
	return newStatement("the IAM policy of Sealift's principal", iam.Statement{
		Sid: "SealiftAssumesRoles", Effect: iam.Allow, Action: iam.Strings{"sts:AssumeRole"}, Resource: iam.Strings{t.RoleARN},
	})
}

func principalARN(t catalog.Target, own string) string {
	switch {
	case t.RoleARN != "":
		return t.RoleARN
	case own != "":
		return own
	}
	return OwnPrincipal
}

// Needs are the statements that t rests on, for an operator with the ARN own
// ("": a place holder).
func Needs(t catalog.Target, own string) []Statement {
	if t.RoleARN == "" {
		return []Statement{bucketStatement(t, own, putActions(t))}
	}
	out := []Statement{trustStatement(t, own), identityStatement(t, putActions(t))}
	if t.Owner != catalog.RoleAccount(t.RoleARN) {
		out = append(out, bucketStatement(t, own, putActions(t)))
	}
	return out
}
