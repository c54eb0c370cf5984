package awstest

import (
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

const (
	noIdentity = "because no identity-based policy allows the "
	inIdentity = "with an explicit deny in an identity-based policy"
	inResource = "with an explicit deny in a resource-based policy"
	aclAction  = "s3:PutObjectAcl action"
	putAction  = "s3:PutObject action"
)

// roleDenials are hazards of the role's own policies. The role belongs to the bucket's account, so
// S3 says why.
func roleDenials() []Denial {
	withPolicies := func(name string, policies ...*iam.Policy) Denial {
		return refusedPut(name, RolePolicy, 403, "AccessDenied", noIdentity+putAction, func(p *parts) { p.role.Policies = policies })
	}
	later := iam.Condition{"DateLessThan": {"aws:CurrentTime": {"2020-01-01T00:00:00Z"}}}
	expired := allow(objects, "s3:PutObject")
	expired.Condition = later
	return []Denial{
		withPolicies("role_has_no_policy"),
		withPolicies("role_lacks_put", doc(allow(everything, "s3:GetObject", "s3:ListBucket"))),
		withPolicies("role_wrong_bucket", doc(allow("arn:aws:s3:::acme-logs-2/*", "s3:PutObject"))),
		withPolicies("role_names_the_bucket_not_its_objects", doc(allow("arn:aws:s3:::"+BucketName, "s3:PutObject"))),
		withPolicies("role_wrong_prefix", doc(allow("arn:aws:s3:::"+BucketName+"/segment-logs/*", "s3:PutObject"))),
		withPolicies("role_policy_is_over", doc(expired)),
		refusedPut("role_denies", RolePolicy, 403, "AccessDenied", inIdentity, func(p *parts) {
			p.role.Policies = append(p.role.Policies, doc(deny("*", "s3:*")))
		}),
		refusedPut("role_lacks_put_acl", RolePolicy, 403, "AccessDenied", noIdentity+aclAction, func(p *parts) {
			p.role.Policies = []*iam.Policy{doc(allow(objects, "s3:PutObject"))}
		}).withSetup(RoleWithACL),
	}
}

// bucketDenials are hazards of the bucket, its region and its settings.
func bucketDenials() []Denial {
	region := func(name string, how s3server.WrongRegionAnswer, status int, code, says string) Denial {
		return refusedPut(name, CatalogEntry, status, code, says, func(p *parts) { p.bucket.WrongRegion, p.destination.Region = how, "us-east-1" })
	}
	fault := func(name string, remedy Remedy, f s3server.Fault) Denial {
		return refusedPut(name, remedy, 0, "", "", func(p *parts) { p.bucket.Fault = f }).withFault(f)
	}
	return []Denial{
		refusedPut("bucket_missing", CatalogEntry, 404, "NoSuchBucket", "The specified bucket does not exist", func(p *parts) { p.noBucket = true }),
		refusedPut("bucket_of_another_account", CatalogEntry, 403, "AccessDenied", "Access Denied", func(p *parts) { p.bucket.Owner = ThirdAccount }),
		refusedPut("expected_owner_is_another_account", CatalogEntry, 403, "AccessDenied", "Access Denied", func(p *parts) {
			p.destination.ExpectedBucketOwner = ThirdAccount
		}),
		region("wrong_region_301", s3server.RedirectPermanently, 301, "PermanentRedirect", "must be addressed using the specified endpoint").withFollowsRegion(),
		region("wrong_region_307", s3server.RedirectTemporarily, 307, "TemporaryRedirect", "temporary endpoint").withFollowsRegion(),
		region("wrong_region_400_malformed", s3server.RefuseAsMalformed, 400, "AuthorizationHeaderMalformed",
			"the region 'us-east-1' is wrong; expecting '"+Region+"'").withFollowsRegion(),
		region("wrong_region_400_location", s3server.RefuseLocation, 400, "IllegalLocationConstraintException",
			"The "+Region+" location constraint is incompatible for the region specific endpoint").withFollowsRegion(),
		refusedPut("acl_unsupported", CatalogEntry, 400, "AccessControlListNotSupported", "The bucket does not allow ACLs", func(p *parts) {
			p.destination.ACL = "private"
		}),
		fault("token_expired", Nothing, s3server.ExpiredToken),
		fault("s3_throttled", Nothing, s3server.SlowDown),
		fault("account_problem", Account, s3server.AccountProblem),
		fault("access_disabled", Account, s3server.AllAccessDisabled),
	}
}

// policyDenials are explicit denies in the bucket's policy, with which customers enforce a rule for
// everybody.
func policyDenials() []Denial {
	const (
		sse   = "s3:x-amz-server-side-encryption"
		keyID = "s3:x-amz-server-side-encryption-aws-kms-key-id"
		acl   = "s3:x-amz-acl"
	)
	everybody := iam.Everyone()
	unless := func(operator, key string, values ...string) *iam.Policy {
		return doc(withPrincipal(everybody, withCondition(deny(everything, "s3:PutObject"), operator, key, values...)))
	}
	refused := func(name string, remedy Remedy, policy *iam.Policy) Denial {
		return refusedPut(name, remedy, 403, "AccessDenied", inResource, func(p *parts) { p.bucket.Policy = policy })
	}
	withoutSSE := func(d Denial) Denial {
		off, change := false, d.change
		d.change = func(p *parts) {
			change(p)
			p.destination.ServerSideEncryption = &off
		}
		return d
	}
	transport := refused("bucket_demands_tls", Transport, doc(withPrincipal(everybody, withCondition(deny(everything, "s3:*"), "Bool", "aws:SecureTransport", "false"))))
	change := transport.change
	transport.change = func(p *parts) { change(p); p.noTLS = true }
	return []Denial{
		refused("bucket_demands_kms_header", CatalogEntry, unless("StringNotEquals", sse, "aws:kms")),
		withoutSSE(refused("bucket_demands_kms_header_none_sent", CatalogEntry, unless("StringNotEquals", sse, "aws:kms"))),
		withoutSSE(refused("bucket_demands_aes256_header", CatalogEntry, unless("StringNotEquals", sse, "AES256"))),
		withoutSSE(refused("bucket_demands_any_encryption_header", CatalogEntry, unless("Null", sse, "true"))),
		refused("bucket_demands_no_encryption_header", CatalogEntry, unless("Null", sse, "false")),
		refused("bucket_demands_a_key", BucketPolicy, unless("StringNotEquals", keyID, KeyARN)),
		refused("bucket_demands_an_acl", CatalogEntry, unless("StringNotEquals", acl, "bucket-owner-full-control")),
		refused("bucket_forbids_acls", CatalogEntry, unless("Null", acl, "false")).withSetup(RoleWithACL),
		refused("bucket_denies_put_acl", BucketPolicy, doc(withPrincipal(everybody, deny(everything, "s3:PutObjectAcl")))).withSetup(RoleWithACL),
		transport,
		refused("bucket_denies_the_role", BucketPolicy, doc(withPrincipal(iam.AWS(RoleARN), deny(everything, "s3:*")))),
		refused("bucket_denies_other_roles_by_arn", BucketPolicy, unless("ArnNotEquals", "aws:PrincipalArn", "arn:aws:iam::"+CustomerAccount+":role/admin")),
		refused("bucket_denies_other_addresses", BucketPolicy, unless("NotIpAddress", "aws:SourceIp", "203.0.113.0/24")),
		refused("bucket_denies_outside_its_vpc", BucketPolicy, unless("StringNotEquals", "aws:SourceVpce", "vpce-0123456789abcdef0")),
	}
}
