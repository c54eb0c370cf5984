package catalog

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	wsA = "ws_AAAAAAAAAAAAAAAA"
	wsB = "ws_BBBBBBBBBBBBBBBB"
)

// doc returns a valid document in which old is replaced by new.
func doc(old, new string) string {
	const valid = `workspace: ws_AAAAAAAAAAAAAAAA
sources:
  - id: web
    write_keys: [wk_secret]
destinations:
  - name: acme
    sources: [web]
    bucket: acme-logs
    region: eu-west-1
    role_arn: arn:aws:iam::123456789012:role/logs
    acl: private
    expected_bucket_owner: "123456789012"
    endpoint: https://minio:9000
`
	if !strings.Contains(valid, old) {
		panic("the document has no " + old)
	}
	return strings.Replace(valid, old, new, 1)
}

func TestParseFull(t *testing.T) {
	b, err := os.ReadFile("testdata/full.yaml")
	require.NoError(t, err)
	ws, err := Parse(b)
	require.NoError(t, err)
	require.Len(t, ws, 2)
	require.Equal(t, []string{"wk_one", "wk_two"}, ws[0].Sources[0].WriteKeys)
	require.False(t, *ws[0].Destinations[0].Enabled)
	require.Equal(t, "012345678901", ws[0].Destinations[0].ExpectedBucketOwner)
	require.Equal(t, "ws_0000000000000001", ws[1].ID)
}

func TestParseRefusesAndSaysWhatToWrite(t *testing.T) {
	for name, c := range map[string]struct{ old, new, want string }{
		"workspace_missing":   {"workspace: ws_AAAAAAAAAAAAAAAA\n", "", "workspace #1: workspace: it is missing; write workspace: …"},
		"workspace_form":      {"ws_AAAAAAAAAAAAAAAA", "acme", "line 1: workspace acme: workspace: it is not a workspace id; generate one with: sealift catalog new"},
		"unknown_key":         {"bucket: acme-logs", "buckets: acme-logs", `line 8: workspace ws_AAAAAAAAAAAAAAAA: destination "acme": buckets: unknown key; the nearest known key is bucket`},
		"unknown_top_key":     {"sources:\n", "source:\n", "source: unknown key; the nearest known key is sources"},
		"key_in_wrong_case":   {"region:", "Region:", "Region: unknown key; the nearest known key is region"},
		"part_of_a_key":       {"acl: private", "encryption: x", "encryption: unknown key; the nearest known key is server_side_encryption"},
		"no_such_key":         {"acl: private", "kms: x", "kms: unknown key; remove it"},
		"prefix_as_key":       {"acl: private", "path_prefix: a/b", "path_prefix: unknown key; write the prefix behind the bucket's name, bucket: NAME/path/prefix"},
		"missing_bucket":      {"    bucket: acme-logs\n", "", `destination "acme": bucket: it is missing; write bucket: …`},
		"number_for_text":     {`"123456789012"`, "123456789012", `line 12: workspace ws_AAAAAAAAAAAAAAAA: destination "acme": expected_bucket_owner: it must be text, not a number; write it in quotes: "123456789012"`},
		"text_for_list":       {"sources: [web]", "sources: web", "sources: it must be a list, not text"},
		"text_for_bool":       {"acl: private", "enabled: maybe", "enabled: it must be true or false, not text"},
		"not_a_mapping":       {doc("", ""), "[1, 2]", "it must be a mapping, not a list"},
		"source_not_mapping":  {"  - id: web\n    write_keys: [wk_secret]\n", "  - web\n", "source #1: it must be a mapping, not text"},
		"duplicate_key":       {"acl: private", "region: eu-west-1", "line 11: "},
		"alias":               {"acl: private", "acl: *x", "YAML"},
		"source_id_traversal": {"id: web", "id: ../x", `line 3: workspace ws_AAAAAAAAAAAAAAAA: source "../x": id: it could leave its folder`},
		"source_id_empty":     {"id: web", `id: ""`, "source #1: id: it is missing; use 1 to 64 of"},
		"source_id_65":        {"id: web", "id: " + strings.Repeat("a", 65), "id: it has 65 characters; use 1 to 64 of"},
		"source_id_unicode":   {"id: web", "id: wéb", "id: it holds other characters"},
		"source_id_cyrillic":  {"id: web", "id: wеb", "id: it holds other characters"},
		"source_id_star":      {"id: web", `id: "w*"`, "id: it holds a wildcard"},
		"source_id_question":  {"id: web", `id: "w?b"`, "id: it holds a wildcard"},
		"source_id_variable":  {"id: web", `id: "${aws:userid}"`, "id: it holds a wildcard"},
		"source_id_newline":   {"id: web", `id: "web\n"`, "id: it holds other characters"},
		"source_id_reserved":  {"id: web", "id: sealift-check", "id: it is the folder of what `sealift destinations check --write` and `migrate` try; choose another"},
		"source_id_number":    {"id: web", "id: 12", `id: it must be text, not a number; write it in quotes: "12"`},
		"source_name":         {"id: web", `id: web` + "\n    name: \"a\\u0007b\"", "name: it is too long or holds control characters"},
		"write_key_form":      {"wk_secret", `"wk secret"`, "write_keys[0]: it is not a write key"},
		"write_key_number":    {"wk_secret", `777`, "write_keys[0]: it must be text, not a number; write it in quotes"},
		"write_key_hash":      {"write_keys: [wk_secret]", "write_key_hashes: [wk_secret]", "write_key_hashes[0]: it is not 64 lower-case hex digits"},
		"spread_negative":     {"id: web", "id: web\n    spread: -1", `source "web": spread: it is not a number of partitions; use 0 to 10000`},
		"spread_huge":         {"id: web", "id: web\n    spread: 99999999999999999999", `spread: it must be a whole number`},
		"spread_above":        {"id: web", "id: web\n    spread: 10001", `spread: it is not a number of partitions`},
		"spread_fraction":     {"id: web", "id: web\n    spread: 2.5", `spread: it must be a whole number`},
		"spread_text":         {"id: web", "id: web\n    spread: all", `spread: it must be a whole number, not text`},
		"spread_infinite":     {"id: web", "id: web\n    spread: .inf", `spread: it must be a whole number`},
		"dest_name":           {"name: acme", "name: Acme/Prod", `destination "Acme/Prod": name: it is not a destination's name`},
		"dest_no_sources":     {"sources: [web]", "sources: []", "sources: it names no source"},
		"dest_unknown_source": {"sources: [web]", "sources: [wbe]", `sources[0]: unknown source "wbe"; the nearest source of the workspace is "web"`},
		"dest_source_twice":   {"sources: [web]", "sources: [web, web]", `sources[1]: "web" stands there twice`},

		"bucket_s3_uri":           {"acme-logs", "s3://acme-logs/a/b/", `line 8: workspace ws_AAAAAAAAAAAAAAAA: destination "acme": bucket: "s3://acme-logs/a/b/" is a URI; write bucket: acme-logs/a/b`},
		"bucket_slash_first":      {"acme-logs", "/acme-logs/a", `bucket: "/acme-logs/a" begins with a slash; write bucket: acme-logs/a`},
		"bucket_s3_bad":           {"acme-logs", "s3://", "write the bucket's name"},
		"bucket_virtual_hosted":   {"acme-logs", "https://acme-logs.s3.eu-west-1.amazonaws.com/a", "write bucket: acme-logs/a"},
		"bucket_old_dash_host":    {"acme-logs", "https://acme-logs.s3-eu-west-1.amazonaws.com", "write bucket: acme-logs"},
		"bucket_path_style":       {"acme-logs", "https://s3.eu-west-1.amazonaws.com/acme-logs/a", "write bucket: acme-logs/a"},
		"bucket_sovereign":        {"acme-logs", "https://acme-logs.s3.eusc-de-east-1.amazonaws.eu/a", "write bucket: acme-logs/a"},
		"bucket_host_alone":       {"acme-logs", "acme-logs.s3.amazonaws.com", "write bucket: acme-logs"},
		"bucket_console":          {"acme-logs", "https://eu-west-1.console.aws.amazon.com/s3/buckets/acme-logs?region=eu-west-1&prefix=a/", "write bucket: acme-logs/a"},
		"bucket_other_server":     {"acme-logs", "http://minio:9000/acme-logs", "write bucket: acme-logs, and endpoint: http://minio:9000"},
		"bucket_arn":              {"acme-logs", "arn:aws:s3:::acme-logs/a/*", `is an ARN; write bucket: acme-logs/a`},
		"bucket_access_point":     {"acme-logs", "arn:aws:s3:eu-west-1:123456789012:accesspoint/x", "access points are not supported"},
		"bucket_gs":               {"acme-logs", "gs://acme-logs", "only S3 buckets"},
		"bucket_upper":            {"acme-logs", "Acme-Logs", "is it acme-logs?"},
		"bucket_short":            {"acme-logs", "ab", "use 3 to 63"},
		"bucket_dots":             {"acme-logs", "a..b", "use 3 to 63"},
		"bucket_ip":               {"acme-logs", "10.0.0.1", "is an IP address"},
		"bucket_star":             {"acme-logs", "acme-*", "holds a wildcard"},
		"bucket_alias":            {"acme-logs", "acme-123-s3alias", "an access point"},
		"prefix_star":             {"acme-logs", "acme-logs/a*", "would widen IAM policies"},
		"prefix_question":         {"acme-logs", "acme-logs/a?", "would widen IAM policies"},
		"prefix_variable":         {"acme-logs", "acme-logs/${aws:username}", "would widen IAM policies"},
		"prefix_double_slash":     {"acme-logs", "acme-logs/a//b", "write single slashes"},
		"prefix_leading_slash":    {"acme-logs", "acme-logs//a", "write single slashes"},
		"prefix_traversal":        {"acme-logs", "acme-logs/a/../b", `the key prefix holds ".."`},
		"prefix_unicode":          {"acme-logs", "acme-logs/ä", "treat differently"},
		"prefix_space":            {"acme-logs", "acme-logs/a b", "treat differently"},
		"prefix_long":             {"acme-logs", "acme-logs/" + strings.Repeat("a", 513), "513 bytes"},
		"region_zone":             {"eu-west-1", "eu-west-1a", `region: "eu-west-1a" is an availability zone; write eu-west-1`},
		"region_upper":            {"eu-west-1", "EU_WEST_1", "write eu-west-1"},
		"region_name":             {"eu-west-1", "EU (Ireland)", "write it like eu-west-1"},
		"role_session":            {"arn:aws:iam::123456789012:role/logs", "arn:aws:sts::123456789012:assumed-role/logs/me", "is a session of a role; write arn:aws:iam::123456789012:role/logs"},
		"role_user":               {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::123456789012:user/s3-copy", "is a user, which cannot be assumed; create a role"},
		"role_root":               {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::123456789012:root", "is a root, which cannot be assumed"},
		"role_instance_profile":   {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::123456789012:instance-profile/logs", "instance-profile, which cannot"},
		"role_name_only":          {"arn:aws:iam::123456789012:role/logs", "logs", "is a role's name, not its ARN; write arn:aws:iam::ACCOUNT_ID:role/logs"},
		"role_no_account":         {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam:::role/logs", "write it like arn:aws:iam::ACCOUNT_ID:role/ROLE_NAME"},
		"role_short_account":      {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::12345678901:role/logs", "write it like"},
		"role_wildcard":           {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::123456789012:role/*", "holds a wildcard"},
		"role_space":              {"arn:aws:iam::123456789012:role/logs", `"arn:aws:iam::123456789012:role/logs "`, "remove the space"},
		"role_console":            {"arn:aws:iam::123456789012:role/logs", `"https://us-east-1.console.aws.amazon.com/iam/home#/roles/details/logs"`, "write arn:aws:iam::ACCOUNT_ID:role/logs"},
		"role_empty_part":         {"arn:aws:iam::123456789012:role/logs", "arn:aws:iam::123456789012:role//logs", "write it like"},
		"acl_public":              {"acl: private", "acl: public-read", "would show the events to others"},
		"acl_number":              {"acl: private", "acl: 0", `acl: it must be text, not a number; write it in quotes: "0"`},
		"acl_unknown":             {"acl: private", "acl: mine", "is not a canned ACL"},
		"owner_short":             {`"123456789012"`, `"12345678901"`, "write its 12 digits"},
		"owner_hyphens":           {`"123456789012"`, `"1234-5678-9012"`, `write "123456789012"`},
		"owner_arn":               {`"123456789012"`, `"arn:aws:iam::123456789012:root"`, `write "123456789012"`},
		"endpoint_no_scheme":      {"https://minio:9000", "minio:9000", "endpoint: it is not the URL of a server"},
		"endpoint_credentials":    {"https://minio:9000", "https://a:b@minio:9000", "it holds credentials"},
		"endpoint_with_bucket":    {"https://minio:9000", "https://minio:9000/acme-logs", "write https://minio:9000 here"},
		"endpoint_file":           {"https://minio:9000", "file:///etc/passwd", "it is not the URL of a server"},
		"endpoint_with_a_query":   {"https://minio:9000", "https://minio:9000?x=y", "has a path or query"},
		"endpoint_of_one_bucket":  {"https://minio:9000", "https://acme-logs.s3.eu-west-1.amazonaws.com", `endpoint: "https://acme-logs.s3.eu-west-1.amazonaws.com" is not the host of S3 for all buckets`},
		"endpoint_of_no_s3":       {"https://minio:9000", "https://sts.eu-west-1.amazonaws.com", "is not the host of S3 for all buckets"},
		"endpoint_elsewhere":      {"https://minio:9000", "https://s3.cn-north-1.amazonaws.com.cn", "region: eu-west-1 is not in aws-cn, the endpoint's partition of AWS"},
		"fips_and_endpoint":       {"acl: private", "fips: true", "line 11: workspace ws_AAAAAAAAAAAAAAAA: destination \"acme\": fips: it chooses among AWS's own endpoints, and endpoint names one; remove one of the two"},
		"dual_stack_and_endpoint": {"acl: private", "dual_stack: true", "dual_stack: it chooses among AWS's own endpoints"},
		"fips_in_europe":          {"    endpoint: https://minio:9000\n", "    fips: true\n", "fips: S3 has no FIPS endpoint in eu-west-1; remove it, or use a bucket in a region of the US or Canada"},
		"fips_is_text":            {"acl: private", `fips: "yes"`, "fips: it must be true or false, not text"},
		"no_path_style_dots":      {"bucket: acme-logs\n", "bucket: acme.logs\n    path_style: false\n", `path_style: no certificate covers "acme.logs" before a host's name`},
		"second_document_broken":  {doc("", ""), doc("", "") + "---\nworkspace: x\n", "line 15: workspace x: workspace: it is not a workspace id"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(doc(c.old, c.new)))
			require.ErrorIs(t, err, ErrInvalid)
			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), "wk_secret")
			require.NotContains(t, err.Error(), "wk secret")
			require.NotContains(t, err.Error(), "777")
		})
	}
}

func TestParseAccepts(t *testing.T) {
	for name, c := range map[string]struct{ old, new string }{
		"as_is":            {"", ""},
		"only_a_workspace": {doc("", ""), "workspace: ws_AAAAAAAAAAAAAAAA\n"},
		"source_id_64":     {"sources:\n", "sources:\n  - id: " + strings.Repeat("a", 64) + "\n"},
		"trailing_slash":   {"acme-logs", "acme-logs/a/b/"},
		"hive_prefix":      {"acme-logs", "acme-logs/year=2026"},
		"dotted_bucket":    {"acme-logs", "logs.acme.example"},
		"gov_cloud":        {"arn:aws:iam", "arn:aws-us-gov:iam"},
		"role_with_path":   {":role/logs", ":role/team/a/logs"},
		"region_of_server": {"eu-west-1", "auto"},
		"endpoint_slash":   {"https://minio:9000", "https://minio:9000/"},
		"endpoint_aws":     {"https://minio:9000", "https://s3.eu-west-1.amazonaws.com"},
		"endpoint_vpc":     {"https://minio:9000", "https://bucket.vpce-1a2b-3c4d.s3.eu-west-1.vpce.amazonaws.com"},
		"empty_value":      {"acl: private", "acl:"},
		"path_style":       {"acl: private", "path_style: true"},
		"virtual_hosted":   {"acl: private", "path_style: false"},
		"fips":             {"    region: eu-west-1\n    role_arn: arn:aws:iam::123456789012:role/logs\n    acl: private\n    expected_bucket_owner: \"123456789012\"\n    endpoint: https://minio:9000\n", "    fips: true\n    dual_stack: true\n"},
		"fips_region":      {"    region: eu-west-1\n    role_arn: arn:aws:iam::123456789012:role/logs\n    acl: private\n    expected_bucket_owner: \"123456789012\"\n    endpoint: https://minio:9000\n", "    fips: true\n    region: us-gov-west-1\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(doc(c.old, c.new)))
			require.NoError(t, err)
		})
	}
}

func TestParseReportsEveryProblemOnce(t *testing.T) {
	_, err := Parse([]byte(`workspace: acme
sources:
  - id: ../x
    nam: x
destinations:
  - bucket: s3://a-b-c
    sources: [1]
    role_arn: 12
`))
	var e *Error
	require.ErrorAs(t, err, &e)
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.Object+" "+p.Field)
	}
	require.ElementsMatch(t, []string{
		" workspace", `source "../x" id`, `source "../x" nam`, "destination #1 name", "destination #1 sources[0]", "destination #1 bucket", "destination #1 role_arn",
	}, got, err)
}

func TestParseMalformed(t *testing.T) {
	for _, in := range []string{"workspace: [", "a: b: c", "sources: []\n\"sources/-1\": x"} {
		_, err := Parse([]byte(in))
		require.ErrorIs(t, err, ErrInvalid, in)
	}
	ws, err := Parse([]byte("# nothing\n"))
	require.NoError(t, err)
	require.Empty(t, ws)
}

// Editors check with the schema, so it must accept everything that the code accepts, and it must
// know every key of the types.
func TestSchemaAgreesWithTheCode(t *testing.T) {
	b, err := os.ReadFile("testdata/full.yaml")
	require.NoError(t, err)
	ws, err := Parse(b)
	require.NoError(t, err)
	require.NotEmpty(t, ws)
	require.Equal(t, []string{"destinations", "sources", "workspace"}, keysAt(nil))
	require.Len(t, keysAt([]string{"sources", "0"}), 5)
	require.Len(t, keysAt([]string{"destinations", "0"}), 13)
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(doc("", "")))
	full, err := os.ReadFile("testdata/full.yaml")
	require.NoError(f, err)
	f.Add(full)
	f.Add([]byte("Workspace: 1\nSOURCES: x\n? a/b\n: c\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ws, err := Parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrInvalid)
			return
		}
		_, err = NewSnapshot(ws)
		require.NoError(t, err)
		out, err := MarshalYAML(ws)
		require.NoError(t, err)
		again, err := Parse(out)
		require.NoError(t, err, "%s", out)
		require.Empty(t, Diff(ws, again))
	})
}
