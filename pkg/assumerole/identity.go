package assumerole

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Identity is as whom the operator's own credentials are known to AWS.
type Identity struct {
	Account string
	ARN     string // of a user, or of a role's session
}

// Identity asks STS who the operator is. Everybody may. Errors are of the
// kinds that Credentials returns.
func (r *Roles) Identity(ctx context.Context) (Identity, error) {
	out, err := r.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return Identity{}, classify(ctx, Request{Region: r.cfg.Region}, err)
	}
	return Identity{Account: aws.ToString(out.Account), ARN: aws.ToString(out.Arn)}, nil
}
