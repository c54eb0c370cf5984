package s3server

import (
	"net/http"
	"slices"
)

var cannedACLs = []string{
	"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control",
}

const ownerFullControl = "bucket-owner-full-control"

// own decides on a PUT's ACL and whose the object will be: the writer's, unless
// the bucket's owner is to own all, or is given full control (which under
// ObjectWriter is not the same, but lets it do the same).
//
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
func own(r *request, meta bucketMeta, o *objectMeta) *apiError {
	if o.ACL != "" && !slices.Contains(cannedACLs, o.ACL) {
		return invalidArgument("x-amz-acl %q is not a canned ACL", o.ACL)
	}
	if meta.Ownership == EnforceOwner || meta.Ownership == "" {
		if o.ACL != "" && o.ACL != ownerFullControl {
			return fail(http.StatusBadRequest, "AccessControlListNotSupported", "The bucket does not allow ACLs")
		}
		return nil
	}
	writer := r.auth.principal.Account
	if writer != meta.ownerFor(r.auth.principal) && o.ACL != ownerFullControl {
		o.Owner = writer
	}
	return nil
}

// mayRead refuses an object that is another account's and whose ACL does not
// let the bucket's owner read it, whatever policies say; and the data of one
// whose key the caller may not use.
func (s *Server) mayRead(r *request, meta bucketMeta, o *objectMeta) *apiError {
	who := r.auth.principal
	readable := []string{"public-read", "public-read-write", "authenticated-read", "bucket-owner-read"}
	if o.Owner != "" && o.Owner != who.Account && !slices.Contains(readable, o.ACL) && !who.root {
		return accessDenied
	}
	if r.Method == http.MethodHead {
		return nil
	}
	return s.decrypt(r, meta, o)
}
