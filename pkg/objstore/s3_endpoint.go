package objstore

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go/auth"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxEndpoints limits how many endpoints are remembered for a place, about 300 bytes each.
const maxEndpoints = 4096

// endpoints remembers where the requests for the buckets at one place go. This follows S3's
// endpoint rules as implemented in the SDK; evaluating them costs as much as half a request.
type endpoints struct {
	params s3.EndpointParameters // without the bucket
	rules  s3.EndpointResolverV2

	mu    sync.Mutex // guards known
	known map[string]*endpoint
}

// endpoint says where a bucket's requests go, and for what they are signed. It does not change.
type endpoint struct {
	url.URL // RawPath is always set, without a slash at the end
	region  string
	service string
}

func newEndpoints(params s3.EndpointParameters) *endpoints {
	params.DisableS3ExpressSessionAuth = aws.Bool(true) // directory buckets sign with sessions; none are used here
	return &endpoints{params: params, rules: s3.NewDefaultEndpointResolverV2(), known: map[string]*endpoint{}}
}

func (e *endpoints) resolve(bucket string) (*endpoint, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.known[bucket]; known != nil {
		return known, nil
	}
	p := e.params
	p.Bucket = &bucket
	rule, err := e.rules.ResolveEndpoint(context.Background(), p) // computes only, and never blocks
	if err != nil {
		return nil, fmt.Errorf("find the endpoint of bucket %q: %w", bucket, err)
	}
	found := &endpoint{URL: rule.URI}
	options, _ := auth.GetAuthOptions(&rule.Properties)
	for _, o := range options {
		if o.SchemeID == "sigv4" {
			found.region, _ = smithyhttp.GetSigV4SigningRegion(&o.SignerProperties)
			found.service, _ = smithyhttp.GetSigV4SigningName(&o.SignerProperties)
		}
	}
	if found.region == "" || found.service == "" {
		return nil, fmt.Errorf("find the endpoint of bucket %q: it requires another signature than version 4", bucket)
	}
	found.RawPath = strings.TrimSuffix(found.EscapedPath(), "/")
	found.Path = strings.TrimSuffix(found.Path, "/")
	if len(e.known) >= maxEndpoints {
		clear(e.known)
	}
	e.known[bucket] = found
	return found, nil
}
