package s3server

import (
	"net/http"

	"github.com/sealift/sealift/pkg/iam"
)

var accessDenied = fail(http.StatusForbidden, "AccessDenied", "Access Denied")

// authorize is the one place where it is decided who may do what in S3: by
// the caller's policies, the session's and the bucket's. The operator may do
// everything.
//
// S3 explains itself to callers of the bucket's account only; others are told
// "Access Denied", whatever the reason is:
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/troubleshoot-403-errors.html.
func (s *Server) authorize(r *request, meta bucketMeta, action, resource string) *apiError {
	who := r.auth.principal
	if who.root {
		return nil
	}
	owner := meta.ownerFor(who)
	d := iam.Evaluate(
		iam.Request{Caller: who.Caller, Action: action, Resource: resource, Owner: owner, Context: s.context(r, owner)},
		iam.Policies{Identity: who.policies, Session: who.session, Resource: meta.Policy, Kind: iam.Bucket},
	)
	switch {
	case d.Allowed:
		return nil
	case owner != who.Account:
		return accessDenied
	}
	return fail(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %q %s",
		who.ARN, action, resource, d.Reason(action))
}

// ownerFor is the account that a bucket belongs to: the caller's, of a bucket
// that belongs to nobody in particular.
func (m bucketMeta) ownerFor(who principal) string {
	if m.Owner == "" {
		return who.Account
	}
	return m.Owner
}

// bucketARN and objectARN name what policies are about, in the partition of
// the bucket's region.
func bucketARN(region, bucket string) string {
	return "arn:" + iam.Partition(region) + ":s3:::" + bucket
}

func objectARN(region, bucket, key string) string { return bucketARN(region, bucket) + "/" + key }
