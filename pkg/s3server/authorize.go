package s3server

import (
	"fmt"
	"net/http"
	"slices"
)

// principal is who sent a request.
type principal struct {
	arn    string
	root   bool   // the operator, who may do everything
	role   string // ARN of the assumed role, "" for the root
	policy string // session policy, "" for none
}

// access is what a request wants to do.
type access struct {
	action string // as in policies: "s3:PutObject"
	bucket string
	key    string      // "" for the bucket itself
	header http.Header // for conditions such as s3:x-amz-server-side-encryption
}

func (a access) resource() string {
	if a.key == "" {
		return "arn:aws:s3:::" + a.bucket
	}
	return fmt.Sprintf("arn:aws:s3:::%s/%s", a.bucket, a.key)
}

// rolePermits are the actions that a role may do in its buckets.
var rolePermits = []string{"s3:PutObject", "s3:PutObjectAcl"}

// authorize is the one place where it is decided who may do what. The root
// may do everything. An assumed role may put objects into its buckets, and
// nothing else: no HEAD, GET, LIST or DELETE. That is what Sealift asks of a
// customer, so whatever asks for more is noticed.
func (s *Server) authorize(p principal, a access) *apiError {
	if p.root {
		return nil
	}
	s.mu.RLock()
	role, registered := s.roles[p.role]
	s.mu.RUnlock()
	if registered && slices.Contains(role.Buckets, a.bucket) && slices.Contains(rolePermits, a.action) {
		return nil
	}
	return fail(http.StatusForbidden, "AccessDenied", "User: %s is not authorized to perform: %s on resource: %q "+
		"because no identity-based policy allows the %s action", p.arn, a.action, a.resource(), a.action)
}
