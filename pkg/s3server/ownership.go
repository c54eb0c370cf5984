package s3server

import (
	"net/http"
	"slices"
)

var cannedACLs = []string{
	"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control",
}

const ownerFullControl = "bucket-owner-full-control"

// applyOwnership checks a PUT's ACL and decides who will own the object: the writer, unless the
// bucket's owner owns all objects or is given full control. (With ObjectWriter, full control is not
// ownership, but has the same effect here.)
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
func applyOwnership(r *request, meta bucketMeta, o *objectMeta) *apiError {
	if o.ACL != "" && !slices.Contains(cannedACLs, o.ACL) {
		return invalidArgument("x-amz-acl %q is not a canned ACL", o.ACL)
	}
	if meta.Ownership == EnforceOwner || meta.Ownership == "" {
		if o.ACL != "" && o.ACL != ownerFullControl {
			return apiErrorf(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
		}
		return nil
	}
	writer := r.auth.principal.Account
	if writer != meta.ownerFor(r.auth.principal) && o.ACL != ownerFullControl {
		o.Owner = writer
	}
	return nil
}

// checkRead refuses an object that belongs to another account and whose ACL does not let the
// bucket's owner read it, whatever policies say. Unless the request is a HEAD, it also refuses an
// object whose key the caller may not use.
func (s *Server) checkRead(r *request, meta bucketMeta, o *objectMeta) *apiError {
	caller := r.auth.principal
	readable := []string{"public-read", "public-read-write", "authenticated-read", "bucket-owner-read"}
	if o.Owner != "" && o.Owner != caller.Account && !slices.Contains(readable, o.ACL) && !caller.isOperator {
		return accessDenied
	}
	if r.Method == http.MethodHead {
		return nil
	}
	return s.checkDecrypt(r, meta, o)
}
