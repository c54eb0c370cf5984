package iam

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	ours   = "999999999999" // the operator's account
	theirs = "123456789012" // the customer's
	role   = "arn:aws:iam::" + theirs + ":role/logs/segment-logs"
	sessn  = "arn:aws:sts::" + theirs + ":assumed-role/segment-logs/sealift"
	user   = "arn:aws:iam::" + ours + ":user/sealift"
	file   = "arn:aws:s3:::acme-logs/segment-logs/src/1/file.gz"
)

var (
	session   = Caller{Account: theirs, ARN: sessn, Role: role}
	sealift   = Caller{Account: ours, ARN: user}
	colleague = Caller{Account: theirs, ARN: "arn:aws:iam::" + theirs + ":user/anna"}
	owner     = Caller{Account: theirs, ARN: "arn:aws:iam::" + theirs + ":root"}
)

// doc returns a policy with one statement; parts that are "" are left out.
func doc(t testing.TB, kind Kind, effect, principal, action, condition string) *Policy {
	s := fmt.Sprintf(`"Effect":%q,"Action":%q`, effect, action)
	if kind.namesPrincipals() {
		s += `,"Principal":` + principal
	}
	if kind != Trust {
		s += `,"Resource":"*"`
	}
	if condition != "" {
		s += `,"Condition":` + condition
	}
	p, err := Parse(kind, []byte(`{"Version":"2012-10-17","Statement":[{`+s+`}]}`))
	require.NoError(t, err)
	return p
}

func named(arn string) string { return fmt.Sprintf(`{"AWS":%q}`, arn) }

func TestEvaluate(t *testing.T) {
	put := func(kind Kind) *Policy { return doc(t, kind, Allow, "", "s3:PutObject", "") }
	no := func(kind Kind) *Policy { return doc(t, kind, Deny, `"*"`, "s3:*", "") }
	lets := func(kind Kind, principal string) *Policy { return doc(t, kind, Allow, principal, "*", "") }
	only := func(p ...*Policy) Policies { return Policies{Identity: p, Kind: Bucket} }
	with := func(p Policies, kind Kind, resource, session *Policy) Policies {
		p.Kind, p.Resource, p.Session = kind, resource, session
		return p
	}
	get := doc(t, Session, Allow, "", "s3:GetObject", "")
	root := named("arn:aws:iam::" + theirs + ":root")
	for hazard, c := range map[string]struct {
		caller   Caller
		policies Policies
		want     string // the end of the message; "" if allowed
	}{
		// One account: either side suffices.
		"nobody_allows":                   {session, only(), "because no identity-based policy allows the s3:PutObject action"},
		"identity_allows":                 {session, only(put(Identity)), ""},
		"second_identity_policy_allows":   {session, only(doc(t, Identity, Allow, "", "s3:GetObject", ""), put(Identity)), ""},
		"bucket_allows_role":              {session, with(only(), Bucket, lets(Bucket, named(role)), nil), ""},
		"bucket_allows_user":              {colleague, with(only(), Bucket, lets(Bucket, named(colleague.ARN)), nil), ""},
		"bucket_allows_account":           {session, with(only(), Bucket, lets(Bucket, root), nil), "because no identity-based policy allows the s3:PutObject action"},
		"bucket_allows_another_role":      {session, with(only(), Bucket, lets(Bucket, named(role+"2")), nil), "because no identity-based policy allows the s3:PutObject action"},
		"bucket_silent_identity_allows":   {session, with(only(put(Identity)), Bucket, lets(Bucket, named(user)), nil), ""},
		"root_needs_no_policy":            {owner, only(), ""},
		"root_is_denied_by_bucket":        {owner, with(only(), Bucket, no(Bucket), nil), "with an explicit deny in a resource-based policy"},
		"anonymous_by_star":               {Caller{}, with(only(), Bucket, lets(Bucket, `"*"`), nil), ""},
		"anonymous_by_aws_star":           {Caller{}, with(only(), Bucket, lets(Bucket, named("*")), nil), ""},
		"anonymous_without_policy":        {Caller{}, only(), "because no resource-based policy allows the s3:PutObject action"},
		"service_by_name":                 {Caller{Service: "logs.amazonaws.com"}, with(only(), Bucket, lets(Bucket, `{"Service":"logs.amazonaws.com"}`), nil), ""},
		"service_is_not_named":            {Caller{Service: "ses.amazonaws.com"}, with(only(), Bucket, lets(Bucket, `{"Service":"logs.amazonaws.com"}`), nil), "because no resource-based policy allows the s3:PutObject action"},
		"user_is_no_service":              {session, with(only(), Bucket, lets(Bucket, `{"Service":"logs.amazonaws.com"}`), nil), "because no identity-based policy allows the s3:PutObject action"},
		"federated_matches_nobody":        {session, with(only(), Bucket, lets(Bucket, `{"Federated":"*"}`), nil), "because no identity-based policy allows the s3:PutObject action"},
		"canonical_user_matches_nobody":   {session, with(only(), Bucket, lets(Bucket, `{"CanonicalUser":"*"}`), nil), "because no identity-based policy allows the s3:PutObject action"},
		"deny_beats_both":                 {session, with(only(put(Identity), no(Identity)), Bucket, lets(Bucket, `"*"`), nil), "with an explicit deny in an identity-based policy"},
		"bucket_denies_what_role_may":     {session, with(only(put(Identity)), Bucket, no(Bucket), nil), "with an explicit deny in a resource-based policy"},
		"bucket_denies_account_of_role":   {session, with(only(put(Identity)), Bucket, doc(t, Bucket, Deny, root, "s3:*", ""), nil), "with an explicit deny in a resource-based policy"},
		"bucket_denies_others":            {session, with(only(put(Identity)), Bucket, doc(t, Bucket, Deny, named(user), "s3:*", ""), nil), ""},
		"identity_deny_is_reported_first": {session, with(only(no(Identity)), Bucket, no(Bucket), no(Session)), "with an explicit deny in an identity-based policy"},

		// A session policy limits what is granted.
		"session_lacks_it":                     {session, with(only(put(Identity)), Bucket, nil, get), "because no session policy allows the s3:PutObject action"},
		"session_adds_nothing":                 {session, with(only(), Bucket, nil, put(Session)), "because no identity-based policy allows the s3:PutObject action"},
		"session_denies":                       {session, with(only(put(Identity)), Bucket, nil, no(Session)), "with an explicit deny in a session policy"},
		"session_cuts_what_bucket_gives_role":  {session, with(only(), Bucket, lets(Bucket, named(role)), get), "because no session policy allows the s3:PutObject action"},
		"session_within_what_bucket_gives":     {session, with(only(), Bucket, lets(Bucket, named(role)), put(Session)), ""},
		"bucket_gives_to_session_itself":       {session, with(only(), Bucket, lets(Bucket, named(sessn)), get), ""},
		"bucket_gives_to_another_session":      {session, with(only(), Bucket, lets(Bucket, named(sessn+"2")), get), "because no identity-based policy allows the s3:PutObject action"},
		"bucket_gives_to_everyone":             {session, with(only(), Bucket, lets(Bucket, `"*"`), get), ""},
		"bucket_gives_by_principal_arn":        {session, with(only(), Bucket, doc(t, Bucket, Allow, `"*"`, "s3:*", `{"ArnEquals":{"aws:PrincipalArn":"`+role+`"}}`), get), ""},
		"session_denies_what_bucket_gives":     {session, with(only(), Bucket, lets(Bucket, named(sessn)), no(Session)), "with an explicit deny in a session policy"},
		"session_lacks_what_account_delegates": {session, with(only(put(Identity)), Bucket, lets(Bucket, root), get), "because no session policy allows the s3:PutObject action"},

		// Two accounts: both must allow.
		"across_identity_alone":           {sealift, only(put(Identity)), "because no resource-based policy allows the s3:PutObject action"},
		"across_bucket_alone":             {sealift, with(only(), Bucket, lets(Bucket, named(user)), nil), "because no identity-based policy allows the s3:PutObject action"},
		"across_bucket_alone_for_account": {sealift, with(only(), Bucket, lets(Bucket, named(ours)), nil), "because no resource-based policy allows the s3:PutObject action"},
		"across_both":                     {sealift, with(only(put(Identity)), Bucket, lets(Bucket, named(user)), nil), ""},
		"across_both_by_account":          {sealift, with(only(put(Identity)), Bucket, lets(Bucket, named(ours)), nil), ""},
		"across_both_by_star":             {sealift, with(only(put(Identity)), Bucket, lets(Bucket, `"*"`), nil), ""},
		"across_bucket_by_star_alone":     {sealift, with(only(), Bucket, lets(Bucket, `"*"`), nil), "because no identity-based policy allows the s3:PutObject action"},
		"across_account_of_customer":      {sealift, with(only(put(Identity)), Bucket, lets(Bucket, root), nil), "because no resource-based policy allows the s3:PutObject action"},
		"across_root_is_nobody_special":   {Caller{Account: ours, ARN: "arn:aws:iam::" + ours + ":root"}, with(only(), Bucket, lets(Bucket, named(ours)), nil), "because no identity-based policy allows the s3:PutObject action"},
		"across_bucket_denies":            {sealift, with(only(put(Identity)), Bucket, no(Bucket), nil), "with an explicit deny in a resource-based policy"},
		"across_session_lacks":            {Caller{Account: ours, ARN: "arn:aws:sts::" + ours + ":assumed-role/r/s", Role: "arn:aws:iam::" + ours + ":role/r"}, with(only(put(Identity)), Bucket, lets(Bucket, `"*"`), get), "because no session policy allows the s3:PutObject action"},

		// Trust policies and key policies must consent even within one account.
		"trust_missing":               {colleague, with(only(put(Identity)), Trust, nil, nil), "because no role trust policy allows the s3:PutObject action"},
		"trust_names_other":           {colleague, with(only(put(Identity)), Trust, lets(Trust, named(user)), nil), "because no role trust policy allows the s3:PutObject action"},
		"trust_names_user":            {colleague, with(only(), Trust, lets(Trust, named(colleague.ARN)), nil), ""},
		"trust_delegates":             {colleague, with(only(put(Identity)), Trust, lets(Trust, root), nil), ""},
		"trust_delegates_to_nobody":   {colleague, with(only(), Trust, lets(Trust, root), nil), "because no identity-based policy allows the s3:PutObject action"},
		"trust_denies":                {colleague, with(only(put(Identity)), Trust, doc(t, Trust, Deny, root, "*", ""), nil), "with an explicit deny in the role trust policy"},
		"trust_across_needs_both":     {sealift, with(only(put(Identity)), Trust, lets(Trust, named(user)), nil), ""},
		"trust_across_without_own":    {sealift, with(only(), Trust, lets(Trust, named(user)), nil), "because no identity-based policy allows the s3:PutObject action"},
		"trust_does_not_know_root":    {owner, with(only(), Trust, lets(Trust, named(user)), nil), "because no role trust policy allows the s3:PutObject action"},
		"key_missing_policy":          {session, with(only(put(Identity)), Key, nil, nil), "because no resource-based policy allows the s3:PutObject action"},
		"key_delegates":               {session, with(only(put(Identity)), Key, lets(Key, root), nil), ""},
		"key_delegates_identity_none": {session, with(only(), Key, lets(Key, root), nil), "because no identity-based policy allows the s3:PutObject action"},
		"key_names_role":              {session, with(only(), Key, lets(Key, named(role)), nil), ""},
		"key_names_role_session_none": {session, with(only(), Key, lets(Key, named(role)), get), "because no session policy allows the s3:PutObject action"},
		"key_across_names_role":       {sealift, with(only(put(Identity)), Key, lets(Key, named(user)), nil), ""},
		"key_across_identity_none":    {sealift, with(only(), Key, lets(Key, named(user)), nil), "because no identity-based policy allows the s3:PutObject action"},
	} {
		t.Run(hazard, func(t *testing.T) {
			d := Evaluate(Request{
				Caller: c.caller, Action: "s3:PutObject", Resource: file, Owner: theirs,
				Context: Context{"aws:PrincipalArn": {role}},
			}, c.policies)
			require.Equal(t, c.want, d.Reason("s3:PutObject"))
			require.Equal(t, c.want == "", d.Allowed)
		})
	}
}

func TestNotPrincipalExemptsFullyNamedCallers(t *testing.T) {
	for hazard, c := range map[string]struct {
		caller Caller
		spares string
		denied bool
	}{
		"user_with_account":       {colleague, `{"AWS":["` + theirs + `","` + colleague.ARN + `"]}`, false},
		"user_without_account":    {colleague, named(colleague.ARN), true},
		"session_whole":           {session, `{"AWS":["arn:aws:iam::` + theirs + `:root","` + role + `","` + sessn + `"]}`, false},
		"session_without_session": {session, `{"AWS":["` + theirs + `","` + role + `"]}`, true},
		"session_without_role":    {session, `{"AWS":["` + theirs + `","` + sessn + `"]}`, true},
		"account_alone_for_root":  {owner, named(theirs), false},
		"star":                    {session, `"*"`, false},
		"another_account":         {sealift, named(theirs), true},
		"anonymous":               {Caller{}, named(theirs), true},
		"service":                 {Caller{Service: "logs.amazonaws.com"}, `{"Service":"logs.amazonaws.com"}`, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			p, err := Parse(Bucket, []byte(`{"Statement":[{"Effect":"Deny","NotPrincipal":`+c.spares+`,"Action":"*","Resource":"*"},
				{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}]}`))
			require.NoError(t, err)
			d := Evaluate(Request{Caller: c.caller, Action: "s3:PutObject", Resource: file, Owner: theirs},
				Policies{Kind: Bucket, Resource: p, Identity: []*Policy{doc(t, Identity, Allow, "", "*", "")}})
			require.Equal(t, c.denied, d.Explicit)
			require.Equal(t, !c.denied, d.Allowed)
		})
	}
}

func TestActionsAndResources(t *testing.T) {
	for _, c := range []struct {
		element, want, action, resource string
		applies                         bool
	}{
		{"Action", "s3:PutObject", "s3:PutObject", file, true},
		{"Action", "s3:putobject", "s3:PutObject", file, true},
		{"Action", "s3:PutObject", "s3:PutObjectAcl", file, false},
		{"Action", "s3:PutObject*", "s3:PutObjectAcl", file, true},
		{"Action", "s3:Put?bject", "s3:PutObject", file, true},
		{"Action", "s3:*", "kms:Decrypt", file, false},
		{"Action", "*", "kms:Decrypt", file, true},
		{"NotAction", "s3:PutObject", "s3:PutObject", file, false},
		{"NotAction", "s3:Get*", "s3:PutObject", file, true},
		{"Resource", "arn:aws:s3:::acme-logs/*", "s3:PutObject", file, true},
		{"Resource", "arn:aws:s3:::acme-logs", "s3:PutObject", file, false},
		{"Resource", "arn:aws:s3:::acme-*", "s3:PutObject", file, true},
		{"Resource", "arn:aws:s3:::*/segment-logs/src/*", "s3:PutObject", file, true},
		{"Resource", "arn:aws:s3:::acme-logs/segment-logs/src/1/file.g?", "s3:PutObject", file, true},
		{"Resource", "arn:aws:s3:::acme-logs/segment-logs/src/1/file.gz?", "s3:PutObject", file, false},
		{"Resource", "arn:aws:s3:::ACME-logs/*", "s3:PutObject", file, false},
		{"Resource", "arn:*:s3:*:*:acme-logs/*", "s3:PutObject", file, true},
		{"Resource", "arn:aws-cn:s3:::acme-logs/*", "s3:PutObject", file, false},
		{"Resource", "arn:aws:s3:::acme-logs/*", "s3:PutObject", "arn:aws:s3:::acme-logs/a:b:c/?*", true},
		{"Resource", "arn:aws:s3:::acme-logs/ü?", "s3:PutObject", "arn:aws:s3:::acme-logs/üé", true},
		{"Resource", "arn:aws:kms:*:123456789012:key/*", "kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/1", true},
		{"Resource", "arn:aws:kms:*:key/*", "kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/1", false},
		{"Resource", "*", "kms:Decrypt", "arn:aws:kms:eu-west-1:123456789012:key/1", true},
		{"NotResource", "arn:aws:s3:::acme-logs/*", "s3:PutObject", file, false},
		{"NotResource", "arn:aws:s3:::acme-logs", "s3:PutObject", file, true},
	} {
		s := Statement{Effect: Allow, Action: Strings{"*"}, Resource: Strings{"*"}}
		switch c.element {
		case "Action":
			s.Action = Strings{c.want}
		case "NotAction":
			s.Action, s.NotAction = nil, Strings{c.want}
		case "Resource":
			s.Resource = Strings{c.want}
		case "NotResource":
			s.Resource, s.NotResource = nil, Strings{c.want}
		}
		got := s.match(Request{Action: c.action, Resource: c.resource}, false, true)
		require.Equal(t, c.applies, got != matchNone, "%s %s: %s on %s", c.element, c.want, c.action, c.resource)
	}
}
