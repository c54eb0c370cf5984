package objstore

import (
	"context"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/auth"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// maxEndpoints is how many answers a client keeps, about 1 kB each.
const maxEndpoints = 4096

// endpoints remembers where requests of a client go. The SDK walks S3's rules
// for endpoints twice for every request, which was a fifth of what a request
// cost in CPU time, and of a client's requests the answer depends on the bucket.
type endpoints struct {
	next s3.EndpointResolverV2

	mu    sync.Mutex // guards known
	known map[endpointOf]smithyendpoints.Endpoint
}

// endpointOf is what differs between requests of a client and matters to the
// rules. They do not look at keys, prefixes and copy sources.
type endpointOf struct {
	bucket                          string
	control, lambda, withoutSession bool
}

func newEndpoints() *endpoints {
	return &endpoints{next: s3.NewDefaultEndpointResolverV2(), known: map[endpointOf]smithyendpoints.Endpoint{}}
}

// ResolveEndpoint implements s3.EndpointResolverV2.
func (e *endpoints) ResolveEndpoint(ctx context.Context, p s3.EndpointParameters) (smithyendpoints.Endpoint, error) {
	of := endpointOf{
		bucket: aws.ToString(p.Bucket), control: aws.ToBool(p.UseS3ExpressControlEndpoint),
		lambda: aws.ToBool(p.UseObjectLambdaEndpoint), withoutSession: aws.ToBool(p.DisableS3ExpressSessionAuth),
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if known, ok := e.known[of]; ok {
		return ownEndpoint(&known), nil
	}
	found, err := e.next.ResolveEndpoint(ctx, p) // computes, and waits for nothing
	if err != nil {
		return found, err
	}
	if len(e.known) >= maxEndpoints {
		clear(e.known)
	}
	e.known[of] = found
	return ownEndpoint(&found), nil
}

// ownEndpoint returns a copy that its caller may change, as the SDK does with
// the options for signing. Headers it only reads.
func ownEndpoint(e *smithyendpoints.Endpoint) smithyendpoints.Endpoint {
	own := smithyendpoints.Endpoint{URI: e.URI, Headers: e.Headers}
	own.Properties.SetAll(&e.Properties)
	options, ok := auth.GetAuthOptions(&e.Properties)
	if !ok {
		return own
	}
	copies := make([]*auth.Option, len(options))
	for i, o := range options {
		copies[i] = &auth.Option{SchemeID: o.SchemeID, IdentityProperties: ownProperties(&o.IdentityProperties), SignerProperties: ownProperties(&o.SignerProperties)}
	}
	auth.SetAuthOptions(&own.Properties, copies)
	return own
}

func ownProperties(p *smithy.Properties) (own smithy.Properties) {
	own.SetAll(p)
	return own
}
