package iam

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const everyForm = `{
  "Version": "2012-10-17",
  "Id": "all",
  "Statement": [
    {"Sid": "One", "Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/*"},
    {"Effect": "Deny", "Principal": {"AWS": ["arn:aws:iam::123456789012:root", "123456789012"], "Service": "logs.amazonaws.com"},
     "NotAction": ["s3:Get*", "s3:List*"], "NotResource": ["arn:aws:s3:::b/*", "*"],
     "Condition": {"Bool": {"aws:SecureTransport": false}, "NumericLessThan": {"s3:max-keys": [10, "20"]},
                   "StringLike": {"s3:prefix": ["a/${aws:username}/*", ""]}}},
    {"Effect": "Deny", "NotPrincipal": {"AWS": "arn:aws:sts::123456789012:assumed-role/r/s"}, "Action": "*", "Resource": "*"}
  ]
}`

func TestParseEveryForm(t *testing.T) {
	p, err := Parse(Bucket, []byte(everyForm))
	require.NoError(t, err)
	require.Equal(t, &Policy{Version: Version, ID: "all", Statement: []Statement{
		{Sid: "One", Effect: Allow, Principal: Everyone(), Action: Strings{"s3:PutObject"}, Resource: Strings{"arn:aws:s3:::b/*"}},
		{
			Effect:    Deny,
			Principal: &Principals{AWS: Strings{"arn:aws:iam::123456789012:root", "123456789012"}, Service: Strings{"logs.amazonaws.com"}},
			NotAction: Strings{"s3:Get*", "s3:List*"}, NotResource: Strings{"arn:aws:s3:::b/*", "*"},
			Condition: Condition{
				"Bool": {"aws:SecureTransport": {"false"}}, "NumericLessThan": {"s3:max-keys": {"10", "20"}},
				"StringLike": {"s3:prefix": {"a/${aws:username}/*", ""}},
			},
		},
		{Effect: Deny, NotPrincipal: AWS("arn:aws:sts::123456789012:assumed-role/r/s"), Action: Strings{"*"}, Resource: Strings{"*"}},
	}}, p)
	// A statement may stand alone.
	alone, err := Parse(Identity, []byte(`{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}`))
	require.NoError(t, err)
	require.Len(t, alone.Statement, 1)
}

func TestMarshalInAWSOrder(t *testing.T) {
	raw, err := json.Marshal(Policy{Version: Version, ID: "x", Statement: []Statement{{
		Condition: Condition{"StringEquals": {"sts:ExternalId": {"ws_1"}}}, Action: Strings{"sts:AssumeRole"},
		Principal: AWS("arn:aws:iam::123456789012:root"), Effect: Allow, Sid: "Sealift",
	}, {
		Effect: Deny, Principal: Everyone(), Action: Strings{"s3:GetObject", "s3:PutObject"}, Resource: Strings{"*"},
	}}})
	require.NoError(t, err)
	require.Equal(t, `{"Version":"2012-10-17","Id":"x","Statement":[`+
		`{"Sid":"Sealift","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:AssumeRole",`+
		`"Condition":{"StringEquals":{"sts:ExternalId":"ws_1"}}},`+
		`{"Effect":"Deny","Principal":"*","Action":["s3:GetObject","s3:PutObject"],"Resource":"*"}]}`, string(raw))
	_, err = json.Marshal(&Principals{Everyone: true, AWS: Strings{"123456789012"}})
	require.ErrorContains(t, err, "others besides it")
}

// bucketPolicy is a valid bucket policy, in which tests replace a part.
const bucketPolicy = `{"Version":"2012-10-17","Statement":[{"Sid":"A","Effect":"Allow","Principal":{"AWS":"123456789012"},` +
	`"Action":"s3:PutObject","Resource":"arn:aws:s3:::b/*","Condition":{"StringEquals":{"s3:x-amz-acl":"private"}}}]}`

func TestMalformedDocumentsNameThePlace(t *testing.T) {
	for hazard, c := range map[string]struct {
		old, replacement string
		want             string
	}{
		"not_json":               {`{"Version"`, `{Version`, "not JSON: invalid character"},
		"text_after_it":          {`]}`, `]} x`, "not JSON"},
		"unknown_element":        {`"Version"`, `"version"`, "at version: no such element of a policy"},
		"repeated_element":       {`"Sid":"A"`, `"Sid":"A","Sid":"B"`, "at Statement[0].Sid: is there twice"},
		"unknown_version":        {`2012-10-17`, `2012-10-18`, `at Version: "2012-10-18" is none`},
		"no_statement":           {`"Statement":[`, `"Id":"x","Statement":[],"x":[`, "at x: no such element"},
		"empty_statements":       {bucketPolicy, `{"Statement":[]}`, "at Statement: a policy needs at least one"},
		"missing_statements":     {bucketPolicy, `{"Version":"2012-10-17"}`, "at Statement: a policy needs at least one"},
		"statement_is_text":      {bucketPolicy, `{"Statement":"x"}`, "at Statement: want a statement or a list"},
		"statements_in_lists":    {bucketPolicy, `{"Statement":[[]]}`, "at Statement[0]: want an object"},
		"unknown_in_statement":   {`"Sid"`, `"Label"`, "at Statement[0].Label: no such element of a statement"},
		"effect_in_lower_case":   {`Allow`, `allow`, `at Statement[0].Effect: "allow" is neither`},
		"effect_missing":         {`"Effect":"Allow",`, ``, `at Statement[0].Effect: "" is neither`},
		"action_missing":         {`"Action":"s3:PutObject",`, ``, "at Statement[0]: needs either Action or NotAction"},
		"both_actions":           {`"Action"`, `"NotAction":"s3:Get*","Action"`, "at Statement[0]: needs either Action or NotAction"},
		"action_empty_list":      {`"Action":"s3:PutObject"`, `"Action":[]`, "at Statement[0].Action: is empty"},
		"action_without_service": {`s3:PutObject`, `PutObject`, `at Statement[0].Action: "PutObject" is none`},
		"action_is_number":       {`"s3:PutObject"`, `[7]`, "at Statement[0].Action[0]: want a string"},
		"both_resources":         {`"Resource"`, `"NotResource":"*","Resource"`, "at Statement[0]: has both Resource and NotResource"},
		"resource_missing":       {`"Resource":"arn:aws:s3:::b/*",`, ``, "at Statement[0]: needs either Resource or NotResource"},
		"resource_no_arn":        {`arn:aws:s3:::b/*`, `b/*`, `at Statement[0].Resource: "b/*" is none`},
		"resource_short_arn":     {`arn:aws:s3:::b/*`, `arn:aws:s3:::`, `is none`},
		"resource_wild_service":  {`arn:aws:s3:::b/*`, `arn:aws:s*:::b/*`, `is none`},
		"principal_missing":      {`"Principal":{"AWS":"123456789012"},`, ``, "at Statement[0]: a resource's policy needs a Principal"},
		"principal_twice":        {`"Principal"`, `"NotPrincipal":"*","Principal"`, "has both Principal and NotPrincipal"},
		"principal_text":         {`{"AWS":"123456789012"}`, `"123456789012"`, `at Statement[0].Principal: want "*" or an object`},
		"principal_kind":         {`"AWS":`, `"aws":`, "at Statement[0].Principal.aws: no such kind of principal"},
		"principal_nobody":       {`{"AWS":"123456789012"}`, `{}`, `at Statement[0].Principal: needs either "*" or principals`},
		"principal_wildcard":     {`"123456789012"`, `"arn:aws:iam::123456789012:role/*"`, "only a lone * may stand for many"},
		"principal_service":      {`{"AWS":"123456789012"}`, `{"Service":"s3"}`, `"s3" is no service`},
		"sid_twice":              {`}]}`, `},{"Sid":"A","Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}]}`, `at Statement[1].Sid: "A" is there twice`},
		"unknown_operator":       {`StringEquals`, `StringEqual`, "at Statement[0].Condition.StringEqual: no such operator"},
		"null_if_exists":         {`StringEquals`, `NullIfExists`, "no such operator"},
		"operator_no_keys":       {`{"s3:x-amz-acl":"private"}`, `{}`, "Condition.StringEquals: names no key"},
		"key_no_values":          {`"private"`, `[]`, "Condition.StringEquals.s3:x-amz-acl: is empty"},
		"key_of_no_service":      {`s3:x-amz-acl`, `acl`, "Condition.StringEquals.acl: a key looks like aws:SourceIp"},
		"key_twice":              {`"private"}`, `"private","S3:X-Amz-Acl":"x"}`, "s3:x-amz-acl is the same key"},
		"value_is_object":        {`"private"`, `{}`, "want a string, a number, true or false"},
		"value_is_null":          {`"private"`, `[null]`, "want a string, a number, true or false"},
		"bool_of_text":           {`StringEquals`, `Bool`, `"private" does not suit the operator`},
		"null_of_text":           {`StringEquals`, `Null`, `"private" does not suit the operator`},
		"number_of_text":         {`StringEquals`, `NumericEquals`, `does not suit`},
		"date_of_text":           {`StringEquals`, `DateLessThan`, `does not suit`},
		"address_of_text":        {`StringEquals`, `IpAddress`, `does not suit`},
		"arn_of_text":            {`StringEquals`, `ArnLike`, `does not suit`},
		"condition_is_list":      {`{"StringEquals":{"s3:x-amz-acl":"private"}}`, `[]`, "at Statement[0].Condition: want an object"},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.Contains(t, bucketPolicy, c.old)
			_, err := Parse(Bucket, []byte(strings.Replace(bucketPolicy, c.old, c.replacement, 1)))
			require.ErrorIs(t, err, ErrMalformed)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := Parse(Bucket, []byte(bucketPolicy))
	require.NoError(t, err)
}

func TestKindsDiffer(t *testing.T) {
	const (
		identity = `{"Statement":[{"Effect":"Allow","Action":"s3:PutObject","Resource":"*"}]}`
		trust    = `{"Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"sts:AssumeRole"}]}`
		spoken   = `{"Statement":[{"Sid":"Let it in","Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`
		except   = `{"Statement":[{"Effect":"Deny","NotPrincipal":"*","Action":"*","Resource":"*"}]}`
	)
	for _, c := range []struct {
		document string
		kind     Kind
		want     string // "" for no error
	}{
		{identity, Identity, ""}, {identity, Session, ""},
		{identity, Bucket, "needs a Principal"}, {identity, Key, "needs a Principal"}, {identity, Trust, "needs a Principal"},
		{trust, Trust, ""}, {trust, Bucket, "needs either Resource"}, {trust, Identity, "has no Principal"},
		{spoken, Bucket, ""}, {spoken, Key, ""}, {spoken, Trust, "has no Resource"}, {spoken, Session, "has no Principal"},
		{except, Bucket, ""}, {except, Key, "is for buckets only"},
		{strings.Replace(identity, `"Effect"`, `"Sid":"a b","Effect"`, 1), Identity, "letters and digits only"},
	} {
		_, err := Parse(c.kind, []byte(c.document))
		if c.want == "" {
			require.NoError(t, err, "%s %d", c.document, c.kind)
		} else {
			require.ErrorContains(t, err, c.want, "%s %d", c.document, c.kind)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{everyForm, bucketPolicy, `{}`, `[]`, `"`, `{"Statement":{}}`, `{"Statement":[{"Condition":{"Null":{"a:b":true}}}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, document []byte) {
		p := new(Policy)
		if err := json.Unmarshal(document, p); err != nil {
			return
		}
		raw, err := json.Marshal(p)
		require.NoError(t, err)
		var again Policy
		require.NoError(t, json.Unmarshal(raw, &again), "%s", raw)
		require.Equal(t, p, &again)
	})
}

func TestConditionKeys(t *testing.T) {
	p, err := Parse(Bucket, []byte(everyForm))
	require.NoError(t, err)
	require.Equal(t, []string{"aws:securetransport", "aws:username", "s3:max-keys", "s3:prefix"}, p.ConditionKeys())
	p.Version = oldVersion
	require.Equal(t, []string{"aws:securetransport", "s3:max-keys", "s3:prefix"}, p.ConditionKeys())
}
