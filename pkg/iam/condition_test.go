package iam

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testContext is the request for all conditions in these tests.
var testContext = Context{
	"aws:SecureTransport":             {"true"},
	"aws:SourceIp":                    {"203.0.113.7"},
	"aws:CurrentTime":                 {"2026-11-28T12:00:00Z"},
	"aws:EpochTime":                   {"1795867200"},
	"aws:username":                    {"anna"},
	"aws:PrincipalArn":                {"arn:aws:iam::123456789012:role/logs/segment-logs"},
	"s3:x-amz-server-side-encryption": {"AES256"},
	"s3:max-keys":                     {"100"},
	"kms:EncryptionContextKeys":       {"aws:s3:arn", "tenant"},
	"test:star":                       {"a*"},
	"test:bad":                        {"not a number"},
	"test:mapped":                     {"::ffff:203.0.113.7"},
}

// conditions, by hazard.
var conditions = map[string]struct {
	condition string
	holds     bool
}{
	"string_equals":                    {`{"StringEquals":{"aws:username":"anna"}}`, true},
	"string_equals_other_case":         {`{"StringEquals":{"aws:username":"Anna"}}`, false},
	"string_equals_one_of":             {`{"StringEquals":{"aws:username":["bob","anna"]}}`, true},
	"string_equals_absent":             {`{"StringEquals":{"s3:x-amz-acl":"private"}}`, false},
	"string_equals_star_is_plain":      {`{"StringEquals":{"aws:username":"ann*"}}`, false},
	"string_equals_if_exists_absent":   {`{"StringEqualsIfExists":{"s3:x-amz-acl":"private"}}`, true},
	"string_equals_if_exists_other":    {`{"StringEqualsIfExists":{"aws:username":"bob"}}`, false},
	"key_in_other_case":                {`{"StringEquals":{"AWS:UserName":"anna"}}`, true},
	"string_not_equals":                {`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"aws:kms"}}`, true},
	"string_not_equals_same":           {`{"StringNotEquals":{"s3:x-amz-server-side-encryption":"AES256"}}`, false},
	"string_not_equals_one_of":         {`{"StringNotEquals":{"s3:x-amz-server-side-encryption":["aws:kms","AES256"]}}`, false},
	"string_not_equals_none_of":        {`{"StringNotEquals":{"s3:x-amz-server-side-encryption":["aws:kms","aws:kms:dsse"]}}`, true},
	"string_not_equals_absent":         {`{"StringNotEquals":{"s3:x-amz-acl":"private"}}`, true},
	"string_not_equals_if_exists":      {`{"StringNotEqualsIfExists":{"s3:x-amz-acl":"private"}}`, true},
	"string_ignore_case":               {`{"StringEqualsIgnoreCase":{"aws:username":"ANNA"}}`, true},
	"string_not_ignore_case":           {`{"StringNotEqualsIgnoreCase":{"aws:username":"ANNA"}}`, false},
	"string_like":                      {`{"StringLike":{"aws:username":"a*a"}}`, true},
	"string_like_one_character":        {`{"StringLike":{"aws:username":"a??a"}}`, true},
	"string_like_too_short":            {`{"StringLike":{"aws:username":"a?a"}}`, false},
	"string_like_absent":               {`{"StringLike":{"s3:x-amz-acl":"*"}}`, false},
	"string_like_escaped_star":         {`{"StringLike":{"test:star":"a${*}"}}`, true},
	"string_like_escaped_star_plain":   {`{"StringLike":{"aws:username":"a${*}"}}`, false},
	"string_not_like":                  {`{"StringNotLike":{"aws:username":"b*"}}`, true},
	"string_not_like_same":             {`{"StringNotLike":{"aws:username":["b*","a*"]}}`, false},
	"arn_equals":                       {`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/logs/segment-logs"}}`, true},
	"arn_equals_has_wildcards":         {`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::*:role/*"}}`, true},
	"arn_like":                         {`{"ArnLike":{"aws:PrincipalArn":"arn:*:iam::123456789012:role/*"}}`, true},
	"arn_like_star_keeps_to_its_part":  {`{"ArnLike":{"aws:PrincipalArn":"arn:aws:*:role/*:x:y"}}`, false},
	"arn_like_absent":                  {`{"ArnLike":{"aws:SourceArn":"arn:aws:s3:::*"}}`, false},
	"arn_not_equals":                   {`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::999999999999:role/*"}}`, true},
	"arn_not_like_same":                {`{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/*"}}`, false},
	"arn_not_like_absent":              {`{"ArnNotLike":{"aws:SourceArn":"arn:aws:s3:::b"}}`, true},
	"bool":                             {`{"Bool":{"aws:SecureTransport":"true"}}`, true},
	"bool_as_json":                     {`{"Bool":{"aws:SecureTransport":false}}`, false},
	"bool_absent":                      {`{"Bool":{"aws:MultiFactorAuthPresent":"false"}}`, false},
	"bool_if_exists_absent":            {`{"BoolIfExists":{"aws:MultiFactorAuthPresent":"false"}}`, true},
	"null_absent":                      {`{"Null":{"s3:x-amz-acl":"true"}}`, true},
	"null_present":                     {`{"Null":{"aws:username":"true"}}`, false},
	"null_must_be_present":             {`{"Null":{"aws:username":"false"}}`, true},
	"null_must_be_present_absent":      {`{"Null":{"s3:x-amz-acl":false}}`, false},
	"numeric_equals":                   {`{"NumericEquals":{"s3:max-keys":"100.0"}}`, true},
	"numeric_not_equals":               {`{"NumericNotEquals":{"s3:max-keys":100}}`, false},
	"numeric_less":                     {`{"NumericLessThan":{"s3:max-keys":"100"}}`, false},
	"numeric_less_or_equal":            {`{"NumericLessThanEquals":{"s3:max-keys":"100"}}`, true},
	"numeric_greater":                  {`{"NumericGreaterThan":{"s3:max-keys":"99"}}`, true},
	"numeric_greater_or_equal":         {`{"NumericGreaterThanEquals":{"s3:max-keys":"101"}}`, false},
	"numeric_absent":                   {`{"NumericLessThan":{"s3:signatureAge":"1"}}`, false},
	"numeric_not_equals_absent":        {`{"NumericNotEquals":{"s3:signatureAge":"1"}}`, true},
	"numeric_of_text":                  {`{"NumericLessThan":{"test:bad":"1"}}`, false},
	"date_equals":                      {`{"DateEquals":{"aws:CurrentTime":"2026-11-28T12:00Z"}}`, true},
	"date_not_equals":                  {`{"DateNotEquals":{"aws:CurrentTime":"2026-11-28"}}`, true},
	"date_less":                        {`{"DateLessThan":{"aws:CurrentTime":"2026-11-28T13:00:00+01:00"}}`, false},
	"date_less_or_equal":               {`{"DateLessThanEquals":{"aws:CurrentTime":"2026-11-28T13:00:00+01:00"}}`, true},
	"date_greater":                     {`{"DateGreaterThan":{"aws:CurrentTime":"2026-11"}}`, true},
	"date_greater_or_equal":            {`{"DateGreaterThanEquals":{"aws:CurrentTime":"2027-01-01"}}`, false},
	"date_in_seconds":                  {`{"DateLessThanEquals":{"aws:EpochTime":"1795867200"}}`, true},
	"date_of_text":                     {`{"DateLessThan":{"test:bad":"2027-01-01"}}`, false},
	"address_in_network":               {`{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.0/24"]}}`, true},
	"address_alone":                    {`{"IpAddress":{"aws:SourceIp":"203.0.113.7"}}`, true},
	"address_elsewhere":                {`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, false},
	"address_of_another_family":        {`{"IpAddress":{"aws:SourceIp":"::/0"}}`, false},
	"address_not_in_network":           {`{"NotIpAddress":{"aws:SourceIp":"10.0.0.0/8"}}`, true},
	"address_not_in_any":               {`{"NotIpAddress":{"aws:SourceIp":["10.0.0.0/8","203.0.113.0/24"]}}`, false},
	"address_not_absent":               {`{"NotIpAddress":{"aws:VpcSourceIp":"10.0.0.0/8"}}`, true},
	"any_value":                        {`{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":["tenant","x"]}}`, true},
	"any_value_none":                   {`{"ForAnyValue:StringEquals":{"kms:EncryptionContextKeys":"x"}}`, false},
	"any_value_absent":                 {`{"ForAnyValue:StringEquals":{"aws:TagKeys":"x"}}`, false},
	"any_value_negated_absent":         {`{"ForAnyValue:StringNotEquals":{"aws:TagKeys":"x"}}`, false},
	"any_value_negated":                {`{"ForAnyValue:StringNotEquals":{"kms:EncryptionContextKeys":"tenant"}}`, true},
	"any_value_negated_none":           {`{"ForAnyValue:StringNotLike":{"kms:EncryptionContextKeys":"*"}}`, false},
	"all_values":                       {`{"ForAllValues:StringLike":{"kms:EncryptionContextKeys":["aws:*","tenant","more"]}}`, true},
	"all_values_but_one":               {`{"ForAllValues:StringLike":{"kms:EncryptionContextKeys":"aws:*"}}`, false},
	"all_values_absent":                {`{"ForAllValues:StringEquals":{"aws:TagKeys":"x"}}`, true},
	"all_values_negated":               {`{"ForAllValues:StringNotEquals":{"kms:EncryptionContextKeys":"x"}}`, true},
	"all_values_negated_one":           {`{"ForAllValues:StringNotEquals":{"kms:EncryptionContextKeys":"tenant"}}`, false},
	"all_values_if_exists":             {`{"ForAllValues:StringEqualsIfExists":{"aws:TagKeys":"x"}}`, true},
	"keys_are_all_needed":              {`{"StringEquals":{"aws:username":"anna","s3:max-keys":"1"}}`, false},
	"operators_are_all_needed":         {`{"StringEquals":{"aws:username":"anna"},"Bool":{"aws:SecureTransport":"false"}}`, false},
	"all_of_them_hold":                 {`{"StringEquals":{"aws:username":"anna","s3:max-keys":"100"},"Bool":{"aws:SecureTransport":"true"}}`, true},
	"variable":                         {`{"StringEquals":{"aws:username":"${aws:username}"}}`, true},
	"variable_adds_no_wildcards":       {`{"StringLike":{"aws:username":"${test:star}"}}`, false},
	"variable_absent_matches_nothing":  {`{"StringLike":{"aws:username":"*${aws:userid}*"}}`, false},
	"variable_absent_negated":          {`{"StringNotLike":{"aws:username":"*${aws:userid}*"}}`, true},
	"variable_with_default":            {`{"StringEquals":{"aws:username":"${aws:userid, 'anna'}"}}`, true},
	"variable_of_many_matches_nothing": {`{"StringLike":{"aws:username":"*${kms:EncryptionContextKeys}*"}}`, false},
	"string_ignore_case_other":         {`{"StringEqualsIgnoreCase":{"aws:username":"BOB"}}`, false},
	"string_not_ignore_case_other":     {`{"StringNotEqualsIgnoreCase":{"aws:username":"BOB"}}`, true},
	"arn_equals_other":                 {`{"ArnEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/other"}}`, false},
	"arn_not_equals_same":              {`{"ArnNotEquals":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/logs/*"}}`, false},
	"numeric_equals_other":             {`{"NumericEquals":{"s3:max-keys":"101"}}`, false},
	"numeric_less_than_more":           {`{"NumericLessThan":{"s3:max-keys":"101"}}`, true},
	"numeric_less_or_equal_more":       {`{"NumericLessThanEquals":{"s3:max-keys":"99"}}`, false},
	"numeric_greater_same":             {`{"NumericGreaterThan":{"s3:max-keys":"100"}}`, false},
	"numeric_greater_or_equal_same":    {`{"NumericGreaterThanEquals":{"s3:max-keys":"100"}}`, true},
	"date_equals_other":                {`{"DateEquals":{"aws:CurrentTime":"2026-11-28"}}`, false},
	"date_not_equals_same":             {`{"DateNotEquals":{"aws:CurrentTime":"2026-11-28T12:00:00Z"}}`, false},
	"date_less_later":                  {`{"DateLessThan":{"aws:CurrentTime":"2026-11-29"}}`, true},
	"date_less_or_equal_earlier":       {`{"DateLessThanEquals":{"aws:CurrentTime":"2026-11-27"}}`, false},
	"date_greater_later":               {`{"DateGreaterThan":{"aws:CurrentTime":"2026-12"}}`, false},
	"date_greater_or_equal_same":       {`{"DateGreaterThanEquals":{"aws:CurrentTime":"2026-11-28T12:00:00Z"}}`, true},
	"address_mapped_to_ipv6":           {`{"IpAddress":{"test:mapped":"203.0.113.0/24"}}`, true},
	"negated_of_many_values":           {`{"StringNotEquals":{"kms:EncryptionContextKeys":"tenant"}}`, false},
	"no_condition":                     {`{}`, true},
}

func TestConditions(t *testing.T) {
	for hazard, c := range conditions {
		t.Run(hazard, func(t *testing.T) {
			s := `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*","Condition":` + c.condition + `}]}`
			p, err := Parse(Identity, []byte(s))
			require.NoError(t, err)
			require.Equal(t, c.holds, p.Statement[0].Condition.isMet(testContext, true))
		})
	}
}

func TestEveryOperatorIsTried(t *testing.T) {
	for name, o := range operators {
		held := map[bool]bool{}
		for _, c := range conditions {
			if strings.Contains(c.condition, `"`+name+`"`) {
				held[c.holds] = true
			}
		}
		require.Len(t, held, 2, "%s is tried where it holds and where it does not", name)
		require.Equal(t, o.negated, Condition{name: {"aws:absent": {"x"}}}.isMet(testContext, true), "%s of a key that is absent", name)
	}
}

func TestVariablesNeedTheNewVersion(t *testing.T) {
	judge := func(version, resource string) bool {
		p, err := Parse(Identity, []byte(`{`+version+`"Statement":[{"Effect":"Allow","Action":"*","Resource":`+resource+`}]}`))
		require.NoError(t, err)
		r := Request{Action: "s3:PutObject", Resource: "arn:aws:s3:::b/home/anna/x", Context: testContext}
		return p.allowMatch(r, false) != matchNone
	}
	const mine = `"arn:aws:s3:::b/home/${aws:username}/*"`
	require.True(t, judge(`"Version":"2012-10-17",`, mine))
	require.False(t, judge(`"Version":"2008-10-17",`, mine))
	require.False(t, judge(``, mine))
	require.False(t, judge(`"Version":"2012-10-17",`, `"arn:aws:s3:::b/home/${aws:userid}/*"`))
	require.True(t, judge(``, `"arn:aws:s3:::b/home/*"`))
}

func FuzzEvaluate(f *testing.F) {
	for _, seed := range []string{everyForm, bucketPolicy, `{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"arn:aws:s3:::${aws:username}*?/*"}}`} {
		f.Add([]byte(seed), "s3:PutObject", file, "anna")
	}
	f.Fuzz(func(t *testing.T, document []byte, action, resource, value string) {
		p := new(Policy)
		if json.Unmarshal(document, p) != nil {
			return
		}
		kind := Identity
		if p.Validate(kind) != nil {
			kind = Bucket
		}
		if p.Validate(kind) != nil {
			return
		}
		r := Request{Caller: session, Action: action, Resource: resource, Owner: theirs, Context: Context{"aws:username": {value}, "aws:SourceIp": {value}}}
		all := Policies{Kind: Bucket, Identity: []*Policy{doc(t, Identity, Allow, "", "*", "")}}
		if kind == Bucket {
			all.Resource = p
		} else {
			all.Session = p
		}
		d := Evaluate(r, all)
		require.Equal(t, d.Allowed, d.Reason(action) == "")
		// What is denied explicitly stays denied, whatever else allows it.
		if d.Explicit {
			all.Identity = append(all.Identity, doc(t, Identity, Allow, "", "*", ""))
			require.False(t, Evaluate(r, all).Allowed)
		}
	})
}
