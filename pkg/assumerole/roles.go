// Package assumerole turns customers' IAM roles into temporary credentials:
// sts:AssumeRole with the customer's external id, cached.
//
// It is for the copier, which asks before every file, and for the CLI's checks. It guarantees that
// credentials are used only for exactly the role, external id, region and session policy that they
// were requested for; that at most one identical request is in progress at a time; that returned
// credentials do not expire at once; that errors say whose fault they are; and that VerifyTrust
// detects roles that any customer could have Sealift assume.
//
// It does not read trust policies, and does not check session policies.
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

// Config says where and with which credentials roles are assumed.
type Config struct {
	// Endpoint is the URL of STS. Default: AWS's endpoint for the request's region.
	Endpoint string
	// Region is used for requests that name none. Default: the SDK's, else us-east-1.
	Region string
	// HTTPClient carries the requests. Default: the SDK's.
	HTTPClient *http.Client
	// Credentials are the operator's own. Default: the SDK's default chain.
	Credentials func(context.Context) (objstore.Credentials, error)
	// MaxCached limits how many credentials are cached; the least recently used are dropped first.
	// It should be well above the number of destinations: they are used in turn, and a cache that
	// is only slightly too small never has a hit. Default 50,000, at about 2 KB each.
	MaxCached int
	// NoExternalID makes VerifyTrust accept every role without asking, for an STS that does not
	// support external ids. Default false.
	NoExternalID bool
}

// Request says which role to assume and how. It is the cache key.
type Request struct {
	RoleARN    string
	ExternalID string
	Region     string // region of the STS to ask; default Config.Region
	// FIPS selects an endpoint with validated cryptography. If the region has none, that of
	// us-east-1 is used. Ignored if Config.Endpoint is set.
	FIPS bool
	// SessionPolicy is a JSON policy of at most 2048 characters that limits the session's rights;
	// "" for none.
	SessionPolicy string
}

const (
	// sessionName appears in the customer's CloudTrail.
	sessionName = "sealift"
	// sessionDuration is the session duration requested. A role that is assumed with a role's
	// credentials gets no more.
	sessionDuration = time.Hour
	// maxRefreshAhead, or a quarter of their lifetime if that is shorter, is how long credentials
	// must still be valid; otherwise they are refreshed.
	maxRefreshAhead = 10 * time.Minute
	// minUsable is how long they must still be valid if STS is unavailable.
	minUsable = time.Minute
	// refreshTimeout is how long an unresponsive STS is waited for if there is something to fall
	// back on. A PUT waits meanwhile, for credentials and for the trust. Copiers treat a PUT
	// without progress for two seconds as one that hangs.
	refreshTimeout = 800 * time.Millisecond
	// retryAfter is how long credentials that could not be refreshed are used before STS is asked
	// again.
	retryAfter = 20 * time.Second
)

// Roles assumes roles. It is safe for concurrent use.
type Roles struct {
	cfg        Config
	client     *sts.Client
	probes     sync.WaitGroup // probes in progress, perhaps with nobody waiting for them any more
	base       context.Context
	cancelBase context.CancelFunc

	mu      sync.Mutex // guards all below, and entries
	entries map[Request]*entry
	used    *list.List // of *entry, most recently used first
	trusts  map[trustKey]*trust
}

// New returns Roles with an empty cache. It does not connect.
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
				return aws.Credentials{}, &ownCredentialsError{err}
			}
			return aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey.Reveal(), SessionToken: c.SessionToken.Reveal()}, nil
		}),
	}
	opts.HTTPClient = countingClient{awshttp.NewBuildableClient()}
	if cfg.HTTPClient != nil {
		opts.HTTPClient = countingClient{cfg.HTTPClient}
	}
	if cfg.Endpoint != "" {
		opts.BaseEndpoint = aws.String(cfg.Endpoint)
	}
	base, cancelBase := context.WithCancel(context.Background())
	return &Roles{cfg: cfg, client: sts.New(opts), base: base, cancelBase: cancelBase, entries: map[Request]*entry{}, used: list.New(), trusts: map[trustKey]*trust{}}
}

// Close cancels requests to STS that nobody waits for any more, and waits until they have ended.
// Without the cancellation that may take seconds. No method may be called after it.
func (r *Roles) Close() {
	r.cancelBase()
	r.probes.Wait()
}

// Credentials returns credentials of the role that are valid for at least another 10 minutes, or a
// quarter of their lifetime if that is shorter; if STS is unavailable, or another caller is asking
// it, at least a minute. It blocks until STS answers if there are none, but no longer than ctx
// lasts. Of those who wait for the same role one asks, and if that one's ctx ends, the others
// continue. A caller that refreshes credentials that are still usable waits for less than a second.
//
// Every error is an *Error, even if ctx ended. A denial is returned even if the cache still holds
// credentials.
func (r *Roles) Credentials(ctx context.Context, request Request) (objstore.Credentials, error) {
	request = r.withDefaults(request)
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
			if !f.abandoned {
				return f.creds, f.err
			}
		}
	}
}

// withDefaults fills in the region of the STS to ask.
func (r *Roles) withDefaults(request Request) Request {
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

// fipsRegions are the regions whose STS has a FIPS endpoint
// (https://docs.aws.amazon.com/general/latest/gr/sts.html).
var fipsRegions = []string{"us-east-1", "us-east-2", "us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1"}

// lead asks STS for itself and all who wait. If there is a fallback, briefly limits how long.
func (r *Roles) lead(ctx context.Context, request Request, f *flight, hasFallback bool) (objstore.Credentials, error) {
	landed := false
	defer func() {
		if !landed { // a panic in the credentials function
			f.abandoned = true
			r.endFlight(request, f)
		}
	}()
	asking, cancel := refreshContext(ctx, hasFallback)
	defer cancel()
	askedAt := time.Now()
	f.creds, f.err = r.assume(asking, request)
	switch {
	case f.err == nil:
		r.cacheResult(request, f, askedAt)
	case ctx.Err() != nil: // the leader cannot use credentials any more
		f.abandoned = true
	default:
		f.creds, f.err = r.fallback(request, f.err)
	}
	landed = true
	r.endFlight(request, f)
	return f.creds, f.err
}

// refreshContext returns the context for asking STS.
func refreshContext(ctx context.Context, hasFallback bool) (context.Context, context.CancelFunc) {
	if hasFallback {
		return context.WithTimeout(ctx, refreshTimeout)
	}
	return ctx, func() {}
}

var errNoCredentials = errors.New("the answer holds no credentials; is it STS that answers?")

// assume makes the request to STS. The SDK repeats it on throttling and broken connections, which
// does no harm.
func (r *Roles) assume(ctx context.Context, request Request) (objstore.Credentials, error) {
	in := &sts.AssumeRoleInput{
		RoleArn:         &request.RoleARN,
		RoleSessionName: aws.String(sessionName),
		DurationSeconds: aws.Int32(int32(sessionDuration / time.Second)),
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
	if c == nil || aws.ToString(c.AccessKeyId) == "" { // the answer is a 200 without a document
		return objstore.Credentials{}, classify(ctx, request, errNoCredentials)
	}
	return objstore.Credentials{
		AccessKeyID: aws.ToString(c.AccessKeyId), SecretAccessKey: secret.New(aws.ToString(c.SecretAccessKey)),
		SessionToken: secret.New(aws.ToString(c.SessionToken)), Expires: aws.ToTime(c.Expiration),
	}, nil
}
