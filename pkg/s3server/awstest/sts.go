package awstest

import (
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

// notAssumed is STS's refusal for callers from other accounts. It does not say why.
const notAssumed = "User: " + OperatorARN + " is not authorized to perform: sts:AssumeRole on resource: " + RoleARN

// trustDenials are hazards of the role's trust policy.
func trustDenials() []Denial {
	refused := func(name string, trusts *iam.Policy) Denial {
		return refusedAssume(name, TrustPolicy, 403, "AccessDenied", notAssumed, func(p *parts) { p.role.Trust = trusts })
	}
	open := func(name string, trusts *iam.Policy) Denial {
		return allowedByAWS(name, TrustPolicy, func(p *parts) { p.role.Trust = trusts })
	}
	us := iam.AWS(OperatorARN)
	denied := trust(us, "StringEquals", WorkspaceID)
	denied.Statement = append(denied.Statement, iam.Statement{Effect: iam.Deny, Principal: iam.Everyone(), Action: iam.Strings{"sts:*"}})
	another := trust(us, "StringEquals", WorkspaceID)
	another.Statement[0].Action = iam.Strings{"sts:AssumeRoleWithSAML"}
	mfa := trust(us, "StringEquals", WorkspaceID)
	mfa.Statement[0].Condition["Bool"] = map[string]iam.Strings{"aws:MultiFactorAuthPresent": {"true"}}
	return []Denial{
		refusedAssume("role_missing", CatalogEntry, 403, "AccessDenied", notAssumed, func(p *parts) { p.noRole = true }),
		refused("trust_names_another_user", trust(iam.AWS("arn:aws:iam::"+OperatorAccount+":user/somebody"), "StringEquals", WorkspaceID)),
		refused("trust_names_another_account", trust(iam.AWS(third), "StringEquals", WorkspaceID)),
		refused("trust_names_its_own_account", trust(iam.AWS(customer), "StringEquals", WorkspaceID)),
		refused("trust_names_a_service", trust(&iam.Principals{Service: iam.Strings{"s3.amazonaws.com"}}, "")),
		refused("trust_wrong_external_id", trust(us, "StringEquals", "ws_AnotherWorkspace0000")),
		refused("trust_external_id_in_other_case", trust(us, "StringEquals", "WS_0123456789ABCDEFabcdef")),
		refused("trust_allows_another_action", another),
		refused("trust_denies", denied),
		refused("trust_demands_mfa", mfa),
		open("trust_without_condition", trust(us, "")),
		open("trust_external_id_by_pattern", trust(us, "StringLike", "ws_*")),
		open("trust_external_id_if_exists", trust(us, "StringEqualsIfExists", WorkspaceID)),
		open("trust_of_everyone_without_condition", trust(iam.Everyone(), "")),
	}
}

// stsDenials are hazards on the operator's side and of STS itself.
func stsDenials() []Denial {
	return []Denial{
		refusedAssume("operator_lacks_assume_role", OperatorPolicy, 403, "AccessDenied", notAssumed, func(p *parts) {
			p.operator.Policies = []*iam.Policy{doc(allow("arn:aws:s3:::*", "s3:*"))}
		}),
		refusedAssume("operator_may_assume_others_only", OperatorPolicy, 403, "AccessDenied", notAssumed, func(p *parts) {
			p.operator.Policies = []*iam.Policy{doc(allow("arn:aws:iam::"+ThirdAccount+":role/*", "sts:AssumeRole"))}
		}),
		refusedAssume("operator_denied_assume_role", OperatorPolicy, 403, "AccessDenied", notAssumed, func(p *parts) {
			p.operator.Policies = append(p.operator.Policies, doc(deny("*", "sts:AssumeRole")))
		}),
		refusedAssume("operator_key_unknown", OperatorKey, 403, "InvalidClientTokenId", "The security token included in the request is invalid", func(p *parts) {
			p.unknownKey = true
		}),
		refusedAssume("session_policy_too_large", CatalogEntry, 0, "", "", func(p *parts) { p.role.Fault = s3server.PackedPolicyTooLarge }).
			withFault(s3server.PackedPolicyTooLarge),
		refusedAssume("sts_throttled", Nothing, 0, "", "", func(p *parts) { p.role.Fault = s3server.Throttling }).withFault(s3server.Throttling),
		refusedAssume("sts_region_disabled", STSSetting, 403, "RegionDisabledException", "STS is not activated in this region for account:"+OperatorAccount,
			func(p *parts) { p.withoutSTS = []string{STSRegion} }),
	}
}
