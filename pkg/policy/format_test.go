package policy_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/policy"
)

func oneLine(t testing.TB, v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	require.NoError(t, e.Encode(v))
	return strings.TrimSpace(b.String())
}

func render(t testing.TB, s policy.Set, f policy.Format) string {
	out, err := s.Render(f)
	require.NoError(t, err)
	return out
}

var extensions = map[policy.Format]string{policy.JSON: "json", policy.Terraform: "tf", policy.CloudFormation: "yaml", policy.CLI: "sh"}

func TestFormatsGolden(t *testing.T) {
	for _, s := range matrix() {
		for _, name := range sample {
			for _, f := range policy.Formats {
				if s.name == name {
					goldentest.Equal(t, "testdata/"+name+"."+extensions[f], []byte(render(t, s.write(t), f)))
				}
			}
		}
	}
}

// Whatever the documents contain, a reader of each format gets exactly them.
func TestEveryFormatHoldsTheDocuments(t *testing.T) {
	readers := map[policy.Format]func(*testing.T, string) map[policy.Kind]string{
		policy.JSON: readJSON, policy.Terraform: readTerraform, policy.CloudFormation: readCloudFormation,
	}
	for _, s := range matrix() {
		set := s.write(t)
		for format, read := range readers {
			got := read(t, render(t, set, format))
			require.Len(t, got, len(set.Documents), "%s as %s", s.name, format)
			for _, d := range set.Documents {
				want := oneLine(t, d.Policy)
				if d.Kind == policy.KMS && format != policy.JSON {
					want = oneLine(t, d.Policy.Statement[0])
				}
				require.JSONEq(t, want, got[d.Kind], "%s as %s: %s", s.name, format, d.Kind)
			}
		}
	}
}

func readJSON(t *testing.T, text string) map[policy.Kind]string {
	var all map[policy.Kind]json.RawMessage
	require.NoError(t, json.Unmarshal([]byte(text), &all))
	out := map[policy.Kind]string{}
	for k, v := range all {
		if k == "Version" || k == "Statement" { // there is only one document
			return map[policy.Kind]string{policy.Bucket: text}
		}
		out[k] = string(v)
	}
	return out
}

// readTerraform evaluates every jsonencode.
func readTerraform(t *testing.T, text string) map[policy.Kind]string {
	file, problems := hclsyntax.ParseConfig([]byte(text), "x.tf", hcl.InitialPos)
	require.False(t, problems.HasErrors(), problems)
	scope := &hcl.EvalContext{Functions: map[string]function.Function{"jsonencode": stdlib.JSONEncodeFunc}}
	out := map[policy.Kind]string{}
	for _, block := range file.Body.(*hclsyntax.Body).Blocks {
		for name, kind := range map[string]policy.Kind{"assume_role_policy": policy.Trust, "policy": policy.Role, "value": policy.KMS} {
			attribute := block.Body.Attributes[name]
			if attribute == nil {
				continue
			}
			if block.Labels[0] == "aws_s3_bucket_policy" {
				kind = policy.Bucket
			}
			value, problems := attribute.Expr.Value(scope)
			require.False(t, problems.HasErrors(), problems)
			require.Equal(t, cty.String, value.Type())
			out[kind] = value.AsString()
		}
	}
	return out
}

func readCloudFormation(t *testing.T, text string) map[policy.Kind]string {
	var tree any
	plain := strings.ReplaceAll(text, "!Ref ", "") // a tag of CloudFormation
	require.NoError(t, yaml.UnmarshalWithOptions([]byte(plain), &tree, yaml.Strict()), text)
	var template struct {
		AWSTemplateFormatVersion, Description string
		Resources                             map[string]struct {
			Type       string
			Properties map[string]any
		}
		Outputs map[string]struct{ Description, Value string }
	}
	require.NoError(t, json.Unmarshal([]byte(oneLine(t, tree)), &template))
	require.Equal(t, "2010-09-09", template.AWSTemplateFormatVersion)
	out := map[policy.Kind]string{}
	for _, r := range template.Resources {
		switch r.Type {
		case "AWS::IAM::Role":
			out[policy.Trust] = oneLine(t, r.Properties["AssumeRolePolicyDocument"])
		case "AWS::IAM::RolePolicy":
			out[policy.Role] = oneLine(t, r.Properties["PolicyDocument"])
		case "AWS::S3::BucketPolicy":
			out[policy.Bucket] = oneLine(t, r.Properties["PolicyDocument"])
		}
	}
	if o, ok := template.Outputs["SealiftKeyStatement"]; ok {
		out[policy.KMS] = o.Value
	}
	return out
}

// The script passes the right arguments to the AWS CLI. The policies that already exist are read
// and merged in python3, which is replaced here; a test with the real CLI (build tag stack) covers
// it.
func TestScriptPassesDocumentsToTheCLI(t *testing.T) {
	tools := t.TempDir()
	calls := filepath.Join(tools, "calls")
	for name, script := range map[string]string{
		"aws": `for a; do printf '%s\0' "$a" >> "$CALLS"; done; printf '\n\0' >> "$CALLS"
case "$1 $2" in
  "iam get-role") exit 1 ;;
  "s3api get-bucket-policy") echo "An error occurred (NoSuchBucketPolicy)"; exit 254 ;;
esac`,
		"python3": `printf '%s' "$4"`, // -c CODE POLICY ADDITION
	} {
		require.NoError(t, os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	for i, s := range matrix() {
		if i%7 != 0 { // they differ only in their documents
			continue
		}
		set := s.write(t)
		require.NoError(t, os.WriteFile(calls, nil, 0o600))
		cmd := exec.Command("sh", "-s")
		cmd.Stdin = strings.NewReader(render(t, set, policy.CLI))
		cmd.Env = []string{"PATH=" + tools, "CALLS=" + calls}
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s: %s", s.name, output)
		log, err := os.ReadFile(calls)
		require.NoError(t, err)
		got := map[policy.Kind]string{}
		for call := range strings.SplitSeq(string(log), "\n\x00") {
			args := strings.Split(call, "\x00")
			if len(args) < 3 {
				continue
			}
			document := args[len(args)-2]
			switch args[0] + " " + args[1] {
			case "iam create-role":
				require.Contains(t, args, "segment-logs")
				require.Contains(t, args, "/team/")
				got[policy.Trust] = document
			case "iam put-role-policy":
				got[policy.Role] = document
			case "s3api put-bucket-policy":
				require.Contains(t, args, "acme-logs")
				got[policy.Bucket] = document
			case "kms put-key-policy":
				require.Contains(t, args, s.key())
				require.Contains(t, args, s.region())
				got[policy.KMS] = document
			}
		}
		require.Len(t, got, len(set.Documents), s.name)
		for _, d := range set.Documents {
			require.JSONEq(t, oneLine(t, d.Policy), got[d.Kind], "%s: %s", s.name, d.Kind)
		}
	}
}

// TestScriptKeepsOtherTrust: others may assume the role as well.
func TestScriptKeepsOtherTrust(t *testing.T) {
	tools := t.TempDir()
	trustFile := filepath.Join(tools, "trust")
	for name, script := range map[string]string{
		"aws": `case "$1 $2" in
  "iam get-role") echo '"theirs"' ;;
  "iam create-role") exit 1 ;;
  "iam update-assume-role-policy") printf '%s' "$6" > "$TRUST_FILE" ;;
esac`,
		"python3": `printf '[%s,%s]' "$3" "$4"`, // -c CODE POLICY ADDITION
	} {
		require.NoError(t, os.WriteFile(filepath.Join(tools, name), []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	}
	set := scenario{partition: "aws"}.write(t)
	cmd := exec.Command("sh", "-s")
	cmd.Stdin = strings.NewReader(render(t, set, policy.CLI))
	cmd.Env = []string{"PATH=" + tools, "TRUST_FILE=" + trustFile}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, string(output))
	got, err := os.ReadFile(trustFile)
	require.NoError(t, err)
	for _, d := range set.Documents {
		if d.Kind == policy.Trust {
			require.JSONEq(t, `["theirs",`+oneLine(t, d.Policy)+`]`, string(got))
		}
	}
}

// No name breaks out of its quotes, not even one that the catalog would refuse.
func TestQuoting(t *testing.T) {
	const evil = "a${b}%{c}'d\"e`f$(g)\\h\n"
	target := catalog.Target{ID: workspaceID + "/x", Workspace: evil, BucketName: "b"}
	target.Name, target.RoleARN = "x", "arn:aws:iam::123456789012:role/r"
	set := policy.Set{Target: target, Documents: []policy.Document{{Kind: policy.Trust, Policy: iam.Policy{Version: iam.Version, Statement: []iam.Statement{{
		Effect: iam.Allow, Principal: iam.AWS(evil), Action: iam.Strings{"sts:AssumeRole"}, Condition: iam.Condition{"StringEquals": {"sts:ExternalId": {evil}}},
	}}}}}}
	want := oneLine(t, set.Documents[0].Policy)
	require.JSONEq(t, want, readTerraform(t, render(t, set, policy.Terraform))[policy.Trust])
	require.JSONEq(t, want, readCloudFormation(t, render(t, set, policy.CloudFormation))[policy.Trust])
	out, err := exec.Command("sh", "-c", strings.Split(render(t, set, policy.CLI), "\nif now=")[0]+"\nprintf %s \"$trust\"").Output()
	require.NoError(t, err)
	require.JSONEq(t, want, string(out))
}

func TestOnly(t *testing.T) {
	s := scenario{name: "x", partition: "aws", kms: true}
	set := s.write(t)
	require.Len(t, set.Documents, 3)
	one := set.Only(policy.Role)
	require.Len(t, set.Documents, 3, "Only changed the set itself")
	require.JSONEq(t, oneLine(t, one.Documents[0].Policy), render(t, one, policy.JSON), "alone it is the document itself")
	require.Contains(t, render(t, one, policy.Terraform), `role = "segment-logs"`)
	require.Contains(t, render(t, one, policy.CloudFormation), `RoleName: "segment-logs"`)
	_, err := set.Only(policy.KMS).Render(policy.CloudFormation)
	require.ErrorContains(t, err, "json")
	_, err = set.Render("toml")
	require.Error(t, err)
}
