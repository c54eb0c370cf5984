package s3server

import (
	"net/http"

	"github.com/sealift/sealift/pkg/iam"
)

// authorize is the only place that decides who may do what in S3: by the policies of the caller,
// the session and the bucket. The operator may do everything.
//
// S3 explains a refusal only to callers from the bucket's account. Others are told "Access Denied",
// whatever the reason:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html.
func (s *Server) authorize(r *request, meta bucketMeta, action, resource string) *apiError {
	caller := r.auth.principal
	if caller.isOperator {
		return nil
	}
	owner := meta.ownerFor(caller)
	d := iam.Evaluate(
		iam.Request{Caller: caller.Caller, Action: action, Resource: resource, Owner: owner, Context: s.context(r, owner)},
		iam.Policies{Identity: caller.policies, Session: caller.session, Resource: meta.Policy, Kind: iam.Bucket},
	)
	switch {
	case d.Allowed:
		return nil
	case owner != caller.Account:
		return accessDenied
	}
	return apiErrorf(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %q %s",
		caller.ARN, action, resource, d.Reason(action))
}

// ownerFor returns the account that owns a bucket. It is the caller's if the bucket has no
// particular owner.
func (m bucketMeta) ownerFor(caller principal) string {
	if m.Owner == "" {
		return caller.Account
	}
	return m.Owner
}

// bucketARN and objectARN return the resources in policies, in the partition of the bucket's
// region.
func bucketARN(region, bucket string) string {
	return "arn:" + iam.RegionPartition(region) + ":s3:::" + bucket
}

func objectARN(region, bucket, key string) string { return bucketARN(region, bucket) + "/" + key }
