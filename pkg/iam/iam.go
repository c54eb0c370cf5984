// Package iam is AWS's policy language: documents of every kind that S3, STS
// and KMS ask, and what they decide.
//
// It is for those who write policies for customers to attach (as values that
// marshal in AWS's usual order), and for the embedded S3 and STS, which judge
// requests by them. It promises to read documents as strictly as AWS does, to
// evaluate them as documented (explicit denies, both accounts' consent,
// session policies, principals, conditions, variables) and to say why it
// refused.
//
// It is pure: no I/O, no clock. It does not know service control policies,
// permissions boundaries, VPC endpoint policies, access points, grants or
// tags; nor which actions and condition keys a service has.
package iam

import (
	"encoding/json"
	"errors"
)

// Versions of the policy language. A document without a version is of the old
// one, in which variables such as ${aws:username} are plain text.
const (
	Version    = "2012-10-17"
	OldVersion = "2008-10-17"
)

// Effects of a statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Policy is a policy document. Its JSON form has one-element lists as
// strings, and is read strictly: unknown and repeated elements are errors that
// name their place.
type Policy struct {
	Version   string      `json:"Version,omitempty"`
	ID        string      `json:"Id,omitempty"`
	Statement []Statement `json:"Statement"`
}

// Statement is one statement of a policy. Of each element and its Not… form
// at most one is set.
type Statement struct {
	Sid          string      `json:"Sid,omitempty"`
	Effect       string      `json:"Effect"`
	Principal    *Principals `json:"Principal,omitempty"`
	NotPrincipal *Principals `json:"NotPrincipal,omitempty"`
	Action       Strings     `json:"Action,omitempty"`
	NotAction    Strings     `json:"NotAction,omitempty"`
	Resource     Strings     `json:"Resource,omitempty"`
	NotResource  Strings     `json:"NotResource,omitempty"`
	Condition    Condition   `json:"Condition,omitempty"`
}

// Principals is the Principal element: whom a statement of a resource's
// policy is about.
type Principals struct {
	// Everyone is "*". With it, the rest is empty.
	Everyone bool
	// AWS holds accounts (twelve digits, or their root's ARN), ARNs of users,
	// roles and role sessions, or "*".
	AWS Strings
	// Service holds names such as s3.amazonaws.com.
	Service Strings
	// Federated and CanonicalUser are kept as they are; they match nobody here.
	Federated     Strings
	CanonicalUser Strings
}

// AWS are the principals with these ARNs or account ids.
func AWS(arns ...string) *Principals { return &Principals{AWS: arns} }

// Everyone is anybody at all, anonymous callers included.
func Everyone() *Principals { return &Principals{Everyone: true} }

// Condition holds operator, key, values: {"StringEquals": {"sts:ExternalId":
// {"ws_1"}}}.
type Condition map[string]map[string]Strings

// Strings is a list that is written as a string when it has one element.
type Strings []string

// MarshalJSON implements json.Marshaler.
func (s Strings) MarshalJSON() ([]byte, error) {
	if len(s) == 1 {
		return json.Marshal(s[0])
	}
	return json.Marshal([]string(s))
}

// MarshalJSON implements json.Marshaler.
func (p *Principals) MarshalJSON() ([]byte, error) {
	named := struct {
		AWS           Strings `json:"AWS,omitempty"`
		Service       Strings `json:"Service,omitempty"`
		Federated     Strings `json:"Federated,omitempty"`
		CanonicalUser Strings `json:"CanonicalUser,omitempty"`
	}{p.AWS, p.Service, p.Federated, p.CanonicalUser}
	if p.Everyone {
		if len(p.AWS)+len(p.Service)+len(p.Federated)+len(p.CanonicalUser) > 0 {
			return nil, errors.New(`marshal Principal: "*" with others besides it`)
		}
		return json.Marshal("*")
	}
	return json.Marshal(named)
}
