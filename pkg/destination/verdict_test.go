package destination

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestWrongOwnerIsNamed(t *testing.T) {
	denied := &objstore.Error{Op: "put", Kind: objstore.ErrDenied, Status: 403, Code: "AccessDenied", Message: "Access Denied"}
	target := catalog.Target{BucketName: "one-logs", Prefix: "path", SSE: true, Owner: "123456789012"}
	require.Contains(t, Judge(denied, target).Fix.String(), "123456789012")
	target.ACL = "bucket-owner-full-control"
	require.Contains(t, Judge(denied, target).Fix.String(), "s3:PutObjectAcl")
	require.Equal(t, "endpoint_refused", Judge(refusedEndpoint{}, target).Reason)
}

type refusedEndpoint struct{}

func (refusedEndpoint) Error() string         { return "refused" }
func (refusedEndpoint) RefusedEndpoint() bool { return true }
