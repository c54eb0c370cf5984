// Package iam implements AWS's policy language: the policy documents that S3, STS and KMS evaluate,
// and their decisions.
//
// It is for those who write policies for customers to attach (as values that are marshalled in
// AWS's usual order), and for the embedded S3 and STS, which judge requests by them. It promises to
// read documents as strictly as AWS does, to evaluate them as documented (explicit denies, both
// accounts' consent, session policies, principals, conditions, variables), and to say why a request
// was refused.
//
// It is pure: no I/O, no clock. It does not support service control policies, permissions
// boundaries, VPC endpoint policies, access points, grants or tags, and does not know which actions
// and condition keys a service has.
package iam

import (
	"encoding/json"
	"errors"
)

// Versions of the policy language. A document without a version uses the old one, in which
// variables such as ${aws:username} are plain text.
const (
	Version    = "2012-10-17"
	oldVersion = "2008-10-17"
)

// Effects of a statement.
const (
	Allow = "Allow"
	Deny  = "Deny"
)

// Policy is a policy document. Its JSON form has strings instead of one-element lists, and is
// parsed strictly: unknown and repeated elements are errors that name their place.
type Policy struct {
	Version   string      `json:"Version,omitempty"`
	ID        string      `json:"Id,omitempty"`
	Statement []Statement `json:"Statement"`
}

// Statement is one statement of a policy. At most one of an element and its Not… form is set.
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

// Principals is the Principal element: the callers that a statement of a resource's policy applies
// to.
type Principals struct {
	// Everyone stands for "*". If it is set, the rest is empty.
	Everyone bool
	// AWS contains accounts (twelve digits, or the ARN of their root), ARNs of users, roles and
	// role sessions, or "*".
	AWS Strings
	// Service contains names such as s3.amazonaws.com.
	Service Strings
	// Federated and CanonicalUser are preserved, but match nobody here.
	Federated     Strings
	CanonicalUser Strings
}

// AWS returns the principals with these ARNs or account ids.
func AWS(arns ...string) *Principals { return &Principals{AWS: arns} }

// Everyone returns the principal that matches everybody, including anonymous callers.
func Everyone() *Principals { return &Principals{Everyone: true} }

// Condition is operator -> key -> values: {"StringEquals": {"sts:ExternalId": {"ws_1"}}}.
type Condition map[string]map[string]Strings

// Strings is a list that is written as a string if it has one element.
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
