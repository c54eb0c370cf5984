// Package policy makes the IAM policies that a delivery rests on.
//
// It is for whoever assumes a customer's role. It promises policies as narrow
// as the work allows, and that no name out of the catalog widens one. It does
// not evaluate policies, and asks AWS nothing.
package policy

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
)

// Session returns the session policy that narrows the credentials of t's role
// to what one delivery needs: objects below the source's folder, and nothing
// but PUT. What a role may do is the intersection, so a bug here or a forged
// job cannot reach a neighbour's prefix. It is an error if bucket, prefix or
// source could be read as a pattern.
func Session(t catalog.Target, source string) (string, error) {
	if strings.ContainsAny(t.BucketName+t.Prefix+source, "*?$") || source == "" || strings.Contains(source, "/") {
		return "", fmt.Errorf("session policy for bucket %q, prefix %q, source %q: *, ? and $ are patterns to IAM", t.BucketName, t.Prefix, source)
	}
	type statement struct {
		Effect   string
		Action   []string
		Resource string
	}
	put := statement{"Allow", []string{"s3:PutObject"}, ObjectARN(t, source)}
	if t.ACL != "" {
		put.Action = append(put.Action, "s3:PutObjectAcl")
	}
	statements := []statement{put}
	if !t.SSE {
		// The bucket's default encryption may be SSE-KMS, and then the role
		// uses the key. Which key is the role's and the key's policy's choice.
		statements = append(statements, statement{"Allow", []string{"kms:GenerateDataKey", "kms:Decrypt"}, "*"})
	}
	b, err := json.Marshal(map[string]any{"Version": "2012-10-17", "Statement": statements})
	return string(b), err
}

// ObjectARN names the objects of a source ("*": of all) below t's prefix, in
// the partition of AWS that t lies in.
func ObjectARN(t catalog.Target, source string) string {
	key := "segment-logs/" + source
	if source != "*" {
		key += "/*"
	}
	if t.Prefix != "" {
		key = t.Prefix + "/" + key
	}
	return "arn:" + Partition(t) + ":s3:::" + t.BucketName + "/" + key
}

// Partition returns the partition of AWS that t lies in, by its role or its
// region: aws, aws-cn or aws-us-gov.
func Partition(t catalog.Target) string {
	if arn := strings.SplitN(t.RoleARN, ":", 3); len(arn) == 3 && arn[0] == "arn" && arn[1] != "" {
		return arn[1]
	}
	switch {
	case strings.HasPrefix(t.Region, "cn-"):
		return "aws-cn"
	case strings.HasPrefix(t.Region, "us-gov-"):
		return "aws-us-gov"
	}
	return "aws"
}
