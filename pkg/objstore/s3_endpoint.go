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

// maxEndpoints is how many answers a place keeps, about 300 bytes each.
const maxEndpoints = 4096

// endpoints remembers where the requests of buckets at one place go, by S3's
// rules for endpoints as the SDK knows them; walking these costs as much as half
// a request.
type endpoints struct {
	place s3.EndpointParameters // but for the bucket
	rules s3.EndpointResolverV2

	mu    sync.Mutex // guards known
	known map[string]*endpoint
}

// endpoint is where a bucket's requests go, and what they are signed for. It
// does not change.
type endpoint struct {
	url.URL // RawPath is always set, and without a slash at its end
	region  string
	service string
}

func newEndpoints(place s3.EndpointParameters) *endpoints {
	place.DisableS3ExpressSessionAuth = aws.Bool(true) // directory buckets sign by sessions; nothing here is one
	return &endpoints{place: place, rules: s3.NewDefaultEndpointResolverV2(), known: map[string]*endpoint{}}
}

func (e *endpoints) of(bucket string) (*endpoint, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if known := e.known[bucket]; known != nil {
		return known, nil
	}
	p := e.place
	p.Bucket = &bucket
	rule, err := e.rules.ResolveEndpoint(context.Background(), p) // computes, and waits for nothing
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
