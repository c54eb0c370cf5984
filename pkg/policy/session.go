// Package policy makes the IAM policies that a delivery rests on: what the
// session of a customer's role is cut down to, and the documents that
// customers attach to roles, buckets and keys, as JSON, Terraform,
// CloudFormation or a script.
//
// It is for whoever assumes a customer's role, and for the CLI. It promises
// policies that suffice, are as narrow as the work allows, and that no name out
// of the catalog widens one or breaks out of its quotes. It does not evaluate
// policies, and asks AWS nothing.
package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
)

// Session returns the session policy that narrows the credentials of t's role
// to what its deliveries need: objects below its prefix's segment-logs/, and
// nothing but PUT. What a role may do is the intersection, so a bug here or a
// forged job cannot reach a neighbour's prefix. It is an error if bucket or
// prefix could be read as a pattern.
//
// It is not of one source: that has a file an hour, which is as long as
// credentials live, so each file would take a request to STS of its own.
func Session(t catalog.Target) (string, error) {
	put := iam.Statement{Effect: iam.Allow, Action: puts(t.ACL != ""), Resource: iam.Strings{ObjectARN(t, "*")}}
	statements := []iam.Statement{put}
	if !t.SSE {
		// The bucket's default encryption may be SSE-KMS, and then the role
		// uses the key. Which key, and what of it, is the role's and the key's
		// policy's choice.
		statements = append(statements, iam.Statement{Effect: iam.Allow, Action: encrypts(), Resource: iam.Strings{"*"}})
	}
	return session(t, statements)
}

// ReadSession returns the session policy that narrows the credentials of t's role to
// looking at what was delivered: a role may allow more than we ask for. Its error is
// that of Session.
func ReadSession(t catalog.Target) (string, error) {
	return session(t, []iam.Statement{
		// Not of the prefix alone: S3 would say of an object that is not there that it is denied.
		{Effect: iam.Allow, Action: iam.Strings{"s3:ListBucket"}, Resource: iam.Strings{"arn:" + Partition(t) + ":s3:::" + t.BucketName}},
		{Effect: iam.Allow, Action: iam.Strings{"s3:GetObject"}, Resource: iam.Strings{ObjectARN(t, "*")}},
		{Effect: iam.Allow, Action: iam.Strings{"kms:Decrypt"}, Resource: iam.Strings{"*"}},
	})
}

func session(t catalog.Target, statements []iam.Statement) (string, error) {
	if strings.ContainsAny(t.BucketName+t.Prefix, "*?$") {
		return "", fmt.Errorf("session policy for bucket %q, prefix %q: *, ? and $ are patterns to IAM", t.BucketName, t.Prefix)
	}
	b, err := json.Marshal(iam.Policy{Version: iam.Version, Statement: statements})
	return string(b), err
}

// ObjectARN names the objects of a source ("*": of all) below t's prefix, in
// the partition of AWS that t lies in.
func ObjectARN(t catalog.Target, source string) string { return objectARN(Partition(t), t, source) }

func objectARN(partition string, t catalog.Target, source string) string {
	key := "segment-logs/" + source
	if source != "*" {
		key += "/*"
	}
	if t.Prefix != "" {
		key = t.Prefix + "/" + key
	}
	return "arn:" + partition + ":s3:::" + t.BucketName + "/" + key
}

// Partition returns the partition of AWS that t lies in: aws, aws-cn, aws-us-gov and
// others.
func Partition(t catalog.Target) string { return catalog.Partition(t.Destination) }
