package assumerole

import (
	"context"
	"regexp"

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

var sessionARN = regexp.MustCompile(`^arn:(aws[a-z-]*):sts::(\d{12}):assumed-role/([^/]+)/`)

// Principal is the ARN that policies name: of the role, if it is a session of
// one. The role's path is not part of a session's name, and so is missing.
func (i Identity) Principal() string {
	if m := sessionARN.FindStringSubmatch(i.ARN); m != nil {
		return "arn:" + m[1] + ":iam::" + m[2] + ":role/" + m[3]
	}
	return i.ARN
}
