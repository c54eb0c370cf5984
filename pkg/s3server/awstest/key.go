package awstest

import (
	"strings"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
)

const (
	generate = "kms:GenerateDataKey"
	hidden   = generate + " on this resource because the resource does not exist in this Region, no resource-based policies allow access, " +
		"or a resource-based policy explicitly denies access"
)

// keyDenials are hazards of the KMS key that the bucket encrypts with.
func keyDenials() []Denial {
	refused := func(name string, remedy Remedy, status int, code, says string, change func(*parts)) Denial {
		return refusedPut(name, remedy, status, code, says, change).withSetup(RoleWithKey)
	}
	policy := func(policy *iam.Policy) func(*parts) { return func(p *parts) { p.key.Policy = policy } }
	state := func(s s3server.KeyState) func(*parts) { return func(p *parts) { p.key.State = s } }
	own := withPrincipal(iam.AWS(customer), allow("*", "kms:*"))
	admin := "arn:aws:iam::" + CustomerAccount + ":role/admin"
	foreign := strings.Replace(KeyARN, CustomerAccount, ThirdAccount, 1)
	distant := strings.Replace(KeyARN, Region, "us-west-2", 1)
	return []Denial{
		refused("role_lacks_kms", RolePolicy, 403, "AccessDenied", generate+" on resource: "+KeyARN+" "+noIdentity+generate+" action",
			func(p *parts) { p.role.Policies = p.role.Policies[:1] }),
		refused("role_may_use_another_key_only", RolePolicy, 403, "AccessDenied", noIdentity+generate+" action",
			func(p *parts) { p.role.Policies[1] = doc(allow(foreign, generate)) }),
		refused("role_denies_kms", RolePolicy, 403, "AccessDenied", inIdentity, func(p *parts) {
			p.role.Policies = append(p.role.Policies, doc(deny("*", "kms:*")))
		}),
		refused("key_policy_names_others_only", KeyPolicy, 403, "AccessDenied", "because no resource-based policy allows the "+generate+" action",
			policy(doc(withPrincipal(iam.AWS(admin), allow("*", "kms:*"))))),
		refused("key_policy_denies", KeyPolicy, 403, "AccessDenied", inResource, policy(doc(own, withPrincipal(iam.AWS(RoleARN), deny("*", "kms:GenerateDataKey*"))))),
		refused("key_policy_for_another_service", KeyPolicy, 403, "AccessDenied", "because no resource-based policy allows the "+generate+" action",
			policy(doc(withCondition(own, "StringEquals", "kms:ViaService", "sqs."+Region+".amazonaws.com")))),
		refused("key_policy_for_another_bucket", KeyPolicy, 403, "AccessDenied", "because no resource-based policy allows the "+generate+" action",
			policy(doc(withCondition(own, "ArnLike", "kms:EncryptionContext:aws:s3:arn", "arn:aws:s3:::another-bucket*")))),
		refused("key_disabled", KeyState, 400, "KMS.DisabledException", KeyARN+" is disabled.", state(s3server.Disabled)),
		refused("key_pending_deletion", KeyState, 400, "KMS.KMSInvalidStateException", KeyARN+" is pending deletion.", state(s3server.PendingDeletion)),
		refused("key_deleted", BucketSetting, 400, "KMS.NotFoundException", "Key '"+KeyARN+"' does not exist", func(p *parts) { p.key = s3server.Key{} }),
		refused("key_in_another_region", BucketSetting, 400, "KMS.NotFoundException", "Invalid arn", func(p *parts) { p.bucket.Key, p.key.ARN = distant, distant }),
		refused("key_of_another_account", KeyPolicy, 403, "AccessDenied", hidden, func(p *parts) {
			p.bucket.Key = foreign
			p.key = s3server.Key{ARN: foreign, Policy: doc(withPrincipal(iam.AWS(third), allow("*", "kms:*")))}
			p.role.Policies[1] = doc(allow(foreign, generate))
		}),
		refused("role_lacks_kms_of_another_account", RolePolicy, 403, "AccessDenied", noIdentity+generate+" action", func(p *parts) {
			p.bucket.Key = foreign
			p.key = s3server.Key{ARN: foreign, Policy: doc(withPrincipal(iam.AWS(RoleARN), allow("*", generate)))}
		}),
	}
}

// classicDenials are hazards of destinations without a role. The caller is from another account
// than the bucket, so S3 does not say why.
func classicDenials() []Denial {
	refused := func(name string, remedy Remedy, change func(*parts)) Denial {
		return refusedPut(name, remedy, 403, "AccessDenied", "Access Denied", change).withSetup(Classic)
	}
	policy := func(statements ...iam.Statement) func(*parts) {
		return func(p *parts) { p.bucket.Policy = doc(statements...) }
	}
	us := iam.AWS(OperatorARN)
	keyed := func(name string, remedy Remedy, status int, code, says string, change func(*parts)) Denial {
		return refusedPut(name, remedy, status, code, says, change).withSetup(ClassicWithKey)
	}
	// Written without an ACL, an object belongs to its writer.
	unread := allowedByAWS("classic_owner_cannot_read", CatalogEntry, func(p *parts) { p.destination.ACL = "" }).withSetup(ClassicWithACL)
	return []Denial{
		refused("classic_bucket_without_policy", BucketPolicy, func(p *parts) { p.bucket.Policy = nil }),
		refused("classic_bucket_policy_names_another", BucketPolicy, policy(withPrincipal(iam.AWS("arn:aws:iam::"+OperatorAccount+":user/somebody"), allow(objects, "s3:PutObject")))),
		refused("classic_bucket_policy_wrong_prefix", BucketPolicy, policy(withPrincipal(us, allow("arn:aws:s3:::"+BucketName+"/segment-logs/*", "s3:PutObject")))),
		refused("classic_bucket_policy_lacks_put", BucketPolicy, policy(withPrincipal(us, allow(everything, "s3:GetObject")))),
		refused("classic_bucket_demands_kms_header", CatalogEntry, func(p *parts) {
			p.bucket.Policy.Statement = append(p.bucket.Policy.Statement,
				withPrincipal(iam.Everyone(), withCondition(deny(everything, "s3:PutObject"), "StringNotEquals", "s3:x-amz-server-side-encryption", "aws:kms")))
		}),
		refused("classic_bucket_policy_lacks_put_acl", BucketPolicy, policy(withPrincipal(us, allow(objects, "s3:PutObject")))).withSetup(ClassicWithACL),
		refused("classic_operator_lacks_put", OperatorPolicy, func(p *parts) { p.operator.Policies = []*iam.Policy{doc(allow("*", "sts:AssumeRole"))} }),
		refused("classic_operator_denied", OperatorPolicy, func(p *parts) { p.operator.Policies = append(p.operator.Policies, doc(deny("*", "s3:Put*"))) }),
		refused("classic_bucket_of_another_account", CatalogEntry, func(p *parts) { p.bucket.Owner = ThirdAccount }),
		refusedPut("classic_operator_key_unknown", OperatorKey, 403, "InvalidAccessKeyId", "does not exist in our records", func(p *parts) { p.unknownKey = true }).withSetup(Classic),
		keyed("classic_key_policy_lacks_operator", KeyPolicy, 403, "AccessDenied", hidden, func(p *parts) { p.key.Policy.Statement = p.key.Policy.Statement[:1] }),
		keyed("classic_operator_lacks_kms", OperatorPolicy, 403, "AccessDenied", noIdentity+generate+" action", func(p *parts) {
			p.operator.Policies = p.operator.Policies[:1]
		}),
		keyed("classic_key_without_account", BucketSetting, 400, "KMS.NotFoundException", OperatorAccount, func(p *parts) {
			p.bucket.Key = KeyARN[strings.LastIndex(KeyARN, "/")+1:]
		}),
		keyed("classic_key_is_aws_own", BucketSetting, 403, "AccessDenied", hidden, func(p *parts) { p.bucket.Key = s3server.ManagedKey }),
		unread,
	}
}
