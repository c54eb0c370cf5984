// Package policy creates the IAM policies that a delivery depends on: the session policy for a
// customer's role, and the documents that customers attach to roles, buckets and keys, as JSON,
// Terraform, CloudFormation or a script.
//
// It is for those who assume customers' roles, and for the CLI. It guarantees that its policies are
// sufficient and as narrow as possible, and that no name in the catalog widens a policy or breaks
// out of its quotes. It does not evaluate policies, and makes no requests to AWS.
package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
)

// Session returns the session policy that narrows the credentials of t's role to what its
// deliveries need: only PUT, and only objects below its prefix's segment-logs/. A session may do
// only what both its policy and the role's allow, so a bug here or a forged job cannot reach a
// neighbour's prefix. Session returns an error if bucket or prefix could be read as a pattern.
//
// It is not limited to one source: a source has one file an hour, which is as long as credentials
// last, so every file would need its own request to STS.
func Session(t catalog.Target) (string, error) {
	put := iam.Statement{Effect: iam.Allow, Action: putActions(t.ACL != ""), Resource: iam.Strings{ObjectARN(t, "*")}}
	statements := []iam.Statement{put}
	if !t.SSE {
		// The bucket's default encryption may be SSE-KMS, for which the role uses the key. Which
		// key, and for what, is up to the policies of the role and the key.
		statements = append(statements, iam.Statement{Effect: iam.Allow, Action: kmsActions(), Resource: iam.Strings{"*"}})
	}
	return session(t, statements)
}

// ReadSession returns the session policy that narrows the credentials of t's role to reading what
// was delivered, since the role may allow more than that. It returns the same error as Session.
func ReadSession(t catalog.Target) (string, error) {
	return session(t, []iam.Statement{
		// Not limited to the prefix: then S3 would answer that a missing object is denied.
		{Effect: iam.Allow, Action: iam.Strings{"s3:ListBucket"}, Resource: iam.Strings{"arn:" + Partition(t) + ":s3:::" + t.BucketName}},
		// Below other prefixes are what was delivered before a migration, and views.
		{Effect: iam.Allow, Action: iam.Strings{"s3:GetObject"}, Resource: iam.Strings{"arn:" + Partition(t) + ":s3:::" + t.BucketName + "/*segment-logs/*"}},
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

// ObjectARN returns the ARN of the objects of a source ("*": of all sources) below t's prefix, in
// t's partition of AWS.
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

// Partition returns the partition of AWS that t is in, such as aws, aws-cn or aws-us-gov.
func Partition(t catalog.Target) string { return catalog.Partition(t.Destination) }
