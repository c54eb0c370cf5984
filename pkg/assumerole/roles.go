// Package assumerole turns customers' IAM roles into temporary credentials:
// sts:AssumeRole with the customer's external id, cached.
//
// It is for the copier, which asks before every file, and for the CLI's
// checks. It promises that credentials are used only for exactly the role,
// external id, region and session policy they were asked for; that at most
// one request for the same is under way; that what it returns still has life
// in it; that a failure says whose fault it is; and to tell a role that anybody
// could have it assume.
//
// It does not read trust policies, and takes session policies as they are.
package assumerole

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/secret"
)

// Config says where and as whom roles are assumed.
type Config struct {
	// Endpoint is the URL of STS. Default: AWS's own of the request's region.
	Endpoint string
	// Region of requests that name none. Default: the SDK's, else us-east-1.
	Region string
	// HTTPClient carries the requests. Default: the SDK's.
	HTTPClient *http.Client
	// Credentials are the operator's own. Default: the SDK's default chain.
	Credentials func(context.Context) (objstore.Credentials, error)
	// MaxCached bounds how many credentials are held; the longest unused go
	// first. It should be well above the number of destinations: they take turns, and
	// a cache that is a little too small for that is of no use. Default 50,000, of
	// some 2 KB each.
	MaxCached int
	// AnyTrust lets VerifyTrust pass every role unasked: for an STS that does
	// not know external ids. Default false.
	AnyTrust bool
}

// Request says which role to assume and how. It is the key of the cache.
type Request struct {
	RoleARN    string
	ExternalID string
	Region     string // whose STS is asked; default Config.Region
	// FIPS asks an endpoint with validated cryptography; where the region has
	// none, that of us-east-1. Only used without Config.Endpoint.
	FIPS bool
	// SessionPolicy is a JSON policy of at most 2048 characters that the
	// session's rights are cut down to; "" for none.
	SessionPolicy string
}

const (
	// sessionName is seen in the customer's CloudTrail.
	sessionName = "sealift"
	// lifetime is asked for: a role that is assumed with a role's credentials gets no
	// more.
	lifetime = time.Hour
	// earlyAtMost and a quarter of the life, whichever is shorter, is what
	// credentials must have left to be returned.
	earlyAtMost = 10 * time.Minute
	// lastResort is what they must have left if STS is away.
	lastResort = time.Minute
	// patience is how long STS may be silent before it is taken to be away, where
	// something is known that will do. A PUT waits meanwhile, for credentials and
	// for the trust: copiers take one at which nothing moved for two seconds for
	// one that hangs.
	patience = 800 * time.Millisecond
	// askAgain is how long credentials that could not be refreshed are used
	// before STS, which is away, is asked again.
	askAgain = 20 * time.Second
)

// Roles assumes roles. It is safe for concurrent use.
type Roles struct {
	cfg    Config
	client *sts.Client
	probes sync.WaitGroup // those that nobody may wait for any more
	life   context.Context
	end    context.CancelFunc

	mu      sync.Mutex // guards all below, and entries
	entries map[Request]*entry
	used    *list.List // of *entry, the latest first
	trusts  map[trustKey]*trust
}

// New makes a cache. It does not connect.
func New(cfg Config) *Roles {
	if cfg.Region == "" {
		cfg.Region = objstore.DefaultRegion(context.Background())
	}
	if cfg.Credentials == nil {
		cfg.Credentials = objstore.DefaultCredentials()
	}
	if cfg.MaxCached <= 0 {
		cfg.MaxCached = 50_000
	}
	opts := sts.Options{
		Region: cfg.Region,
		AppID:  "sealift",
		Credentials: aws.CredentialsProviderFunc(func(ctx context.Context) (aws.Credentials, error) {
			c, err := cfg.Credentials(ctx)
			if err != nil {
				return aws.Credentials{}, &ownError{err}
			}
			return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), SessionToken: c.SessionToken.Reveal()}, nil
		}),
	}
	opts.HTTPClient = tallying{awshttp.NewBuildableClient()}
	if cfg.HTTPClient != nil {
		opts.HTTPClient = tallying{cfg.HTTPClient}
	}
	if cfg.Endpoint != "" {
		opts.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	life, end := context.WithCancel(context.Background())
	return &Roles{cfg: cfg, client: sts.New(opts), life: life, end: end, entries: map[Request]*entry{}, used: list.New(), trusts: map[trustKey]*trust{}}
}

// Close ends what STS is still asked though nobody waits for it: seconds, without it. Nothing
// must be called after it.
func (r *Roles) Close() {
	r.end()
	r.probes.Wait()
}

// Credentials returns credentials of the role that live on for at least 10
// minutes, or a quarter of their life if that is shorter; when STS is away, or
// somebody else is asking it, at least a minute. It blocks for STS when there are
// none, and no longer than ctx lasts; of those who wait for the same role one
// asks, and one who leaves does not take the others along. Who asks while old
// ones will do waits for less than a second.
//
// Every error is an *Error, also that ctx ended. A denial is never hidden by
// what the cache still holds.
func (r *Roles) Credentials(ctx context.Context, request Request) (objstore.Credentials, error) {
	request = r.complete(request)
	for {
		creds, f, leads := r.join(request)
		if f == nil {
			return creds, nil
		}
		if leads {
			return r.lead(ctx, request, f, creds.AccessKeyID != "")
		}
		select {
		case <-ctx.Done():
			return objstore.Credentials{}, classify(ctx, request, ctx.Err())
		case <-f.done:
			if !f.gone {
				return f.creds, f.err
			}
		}
	}
}

// complete fills in whose STS is asked.
func (r *Roles) complete(request Request) Request {
	if request.Region == "" {
		request.Region = r.cfg.Region
	}
	if r.cfg.Endpoint != "" {
		request.FIPS = false
	}
	if request.FIPS && !slices.Contains(fipsRegions, request.Region) {
		request.Region = "us-east-1" // it is enabled in every account
	}
	return request
}

// fipsRegions are those whose STS has a FIPS endpoint
// (https://docs.aws.amazon.com/general/latest/gr/sts.html).
var fipsRegions = []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1"}

// lead asks STS for itself and all who wait, briefly if there is a fallback.
func (r *Roles) lead(ctx context.Context, request Request, f *flight, briefly bool) (objstore.Credentials, error) {
	landed := false
	defer func() {
		if !landed { // a panic in the credentials function
			f.gone = true
			r.land(request, f)
		}
	}()
	asking, cancel := within(ctx, briefly)
	defer cancel()
	asked := time.Now()
	f.creds, f.err = r.assume(asking, request)
	switch {
	case f.err == nil:
		r.keep(request, f, asked)
	case ctx.Err() != nil: // credentials would be of no use to it
		f.gone = true
	default:
		f.creds, f.err = r.fallback(request, f.err)
	}
	landed = true
	r.land(request, f)
	return f.creds, f.err
}

// within is the context for asking STS.
func within(ctx context.Context, briefly bool) (context.Context, context.CancelFunc) {
	if briefly {
		return context.WithTimeout(ctx, patience)
	}
	return ctx, func() {}
}

var errNoCredentials = errors.New("the answer holds no credentials; is it STS that answers?")

// assume is the request to STS. The SDK repeats it on throttling and broken
// connections: asking twice does no harm.
func (r *Roles) assume(ctx context.Context, request Request) (objstore.Credentials, error) {
	in := &sts.AssumeRoleInput{
		RoleArn:         &request.RoleARN,
		RoleSessionName: aws.String(sessionName),
		DurationSeconds: aws.Int32(int32(lifetime / time.Second)),
	}
	if request.ExternalID != "" {
		in.ExternalId = &request.ExternalID
	}
	if request.SessionPolicy != "" {
		in.Policy = &request.SessionPolicy
	}
	out, err := r.client.AssumeRole(ctx, in, func(o *sts.Options) {
		o.Region = request.Region
		if request.FIPS {
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateEnabled
		}
	})
	if err != nil {
		return objstore.Credentials{}, classify(ctx, request, err)
	}
	c := out.Credentials
	if c == nil || aws.ToString(c.AccessKeyId) == "" { // of a 200 without a document
		return objstore.Credentials{}, classify(ctx, request, errNoCredentials)
	}
	return objstore.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: secret.New(aws.ToString(c.SecretAccessKey)),
		SessionToken: secret.New(aws.ToString(c.SessionToken)), Expires: aws.ToTime(c.Expiration),
	}, nil
}
