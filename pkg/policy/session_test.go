package policy

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
)

// The role policy in the README is the one that is printed.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	target := catalog.Target{Destination: catalog.Destination{Name: "acme-prod", RoleARN: "arn:aws:iam::123456789012:role/segment-logs"}, BucketName: "acme-logs", SSE: true, Owner: "123456789012"}
	set, err := NewSet(target, Options{Principal: "arn:aws:iam::999999999999:role/sealift"})
	require.NoError(t, err)
	_, example, found := strings.Cut(string(readme), "```json\n\"Action\"")
	require.True(t, found)
	example, _, _ = strings.Cut(example, "```")
	var statement struct{ Action, Resource string }
	require.NoError(t, json.Unmarshal([]byte(`{"Action"`+strings.TrimSpace(example)+`}`), &statement))
	role := set.Only(Role).Documents[0].Policy.Statement
	require.Len(t, role, 1)
	require.Equal(t, iam.Strings{statement.Action}, role[0].Action)
	require.Equal(t, iam.Strings{statement.Resource}, role[0].Resource)
}

// The session policy never grants anything outside the destination's place: it has one resource,
// whose only pattern is the star at its end.
func TestSession(t *testing.T) {
	for _, c := range []struct {
		bucket, prefix, role, acl string
		sse                       bool
		resource                  string
		actions                   iam.Strings
		kms                       bool
	}{
		{"b", "", "arn:aws:iam::1:role/r", "", true, "arn:aws:s3:::b/segment-logs/*", iam.Strings{"s3:PutObject"}, false},
		{"b", "p/q", "arn:aws-cn:iam::1:role/r", "bucket-owner-full-control", true, "arn:aws-cn:s3:::b/p/q/segment-logs/*", iam.Strings{"s3:PutObject", "s3:PutObjectAcl"}, false},
		{"b", "p", "arn:aws-us-gov:iam::1:role/r", "", false, "arn:aws-us-gov:s3:::b/p/segment-logs/*", iam.Strings{"s3:PutObject"}, true},
	} {
		target := catalog.Target{Destination: catalog.Destination{RoleARN: c.role, ACL: c.acl}, BucketName: c.bucket, Prefix: c.prefix, SSE: c.sse}
		text, err := Session(target)
		require.NoError(t, err)
		p, err := iam.Parse(iam.Session, []byte(text))
		require.NoError(t, err)
		require.Equal(t, iam.Strings{c.resource}, p.Statement[0].Resource)
		require.Equal(t, c.actions, p.Statement[0].Action)
		require.Equal(t, c.kms, len(p.Statement) == 2)
		if c.kms {
			require.Equal(t, iam.Strings{"kms:GenerateDataKey"}, p.Statement[1].Action)
		}
		require.Less(t, len(text), 2048)

		text, err = ReadSession(target)
		require.NoError(t, err)
		p, err = iam.Parse(iam.Session, []byte(text))
		require.NoError(t, err)
		require.Equal(t, iam.Strings{"arn:" + Partition(target) + ":s3:::b/*segment-logs/*"}, p.Statement[1].Resource)
		require.NotContains(t, text, "Put")
		require.Less(t, len(text), 2048)
	}
	for _, bad := range []string{"p*", "a?", "${aws:userid}"} {
		_, err := Session(catalog.Target{BucketName: "b", Prefix: bad})
		require.Error(t, err, bad)
		_, err = Session(catalog.Target{BucketName: bad})
		require.Error(t, err, bad)
		_, err = ReadSession(catalog.Target{BucketName: bad})
		require.Error(t, err, bad)
	}
}
