package assumerole

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Identity asks STS who the operator is, which needs no permission. It returns the ARN of a user, or
// of a role's session. Errors are of the same kinds as those of Credentials.
func (r *Roles) Identity(ctx context.Context) (arn string, err error) {
	out, err := r.client.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
	if err != nil {
		return "", classify(ctx, Request{Region: r.cfg.Region}, err)
	}
	return aws.ToString(out.Arn), nil
}
