package assumerole

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Identity is the identity that AWS sees in the operator's own credentials.
type Identity struct {
	Account string
	ARN     string // of a user, or of a role's session
}

// Identity asks STS who the operator is, which needs no permission. Errors are of the same kinds as
// those of Credentials.
func (r *Roles) Identity(ctx context.Context) (Identity, error) {
	out, err := r.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Identity{}, classify(ctx, Request{Region: r.cfg.Region}, err)
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}
