// Package destination puts objects into customers' buckets with nothing but s3:PutObject, and
// explains failures.
//
// It is for the copier, and for anything that checks a destination with the same sequence: the
// role's credentials, the bucket's region, the PUT, and the retries of it. It guarantees that an
// object is reported as delivered only after the store said that it is there (I9), and that every
// failure has a cause and a fix. It decides neither what is delivered nor when a failed delivery is
// tried again.
package destination

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/sleep"
)

// MaxSends is how often Put sends a request whose outcome stays unclear.
const MaxSends = 3

// Roles gives the credentials of customers' roles, and verifies that nobody else could have Sealift
// assume them; *assumerole.Roles is one.
type Roles interface {
	Credentials(context.Context, assumerole.Request) (objstore.Credentials, error)
	VerifyTrust(context.Context, assumerole.Request) error
	Forget(assumerole.Request)
}

// Open returns the bucket of a target. It is called for each request of a PUT; the implementation
// shares connections and guards endpoints. The target's Region is always set. Credentials are asked
// for at every request; nil means the operator's own.
type Open func(t catalog.Target, credentials func(context.Context) (objstore.Credentials, error)) objstore.Store

// Config configures a Putter.
type Config struct {
	Roles Roles // only used for destinations with a role
	Open  Open
	Pause time.Duration // between the sends of a PUT, growing; default 200ms
}

// Putter puts objects. It is safe for concurrent use.
type Putter struct {
	cfg Config

	mu      sync.Mutex            // guards buckets
	buckets map[string]bucketInfo // what is known about buckets
}

// NewPutter returns a Putter that knows nothing about any bucket.
func NewPutter(cfg Config) *Putter {
	cfg.Pause = cmp.Or(cfg.Pause, 200*time.Millisecond)
	return &Putter{cfg: cfg, buckets: map[string]bucketInfo{}}
}

// bucketInfo is what was learned from a bucket's answers.
type bucketInfo struct {
	region             string    // where the bucket is; "" if not known
	unconditionalUntil time.Time // until then the store is assumed not to know If-None-Match
}

// unconditionalFor is how long a store is assumed not to know If-None-Match. It may have been a
// proxy that said so, and stores are upgraded.
const unconditionalFor = time.Hour

// Object is what to store.
type Object struct {
	Key      string
	Metadata map[string]string
	// Body is sent from its beginning, possibly more than once, but never after Put has returned.
	Body   io.ReadSeeker
	SHA256 [32]byte // of Body
	// Overwrite sends without If-None-Match, because an object that already exists is the same.
	Overwrite bool

	alter func(*objstore.PutOptions) // for a probe that tries other headers; nil: none
}

// Result describes how a PUT went.
type Result struct {
	ETag          string
	Existed       bool // the object was already there (412)
	Unconditional bool // it was sent without If-None-Match, which the store does not know
	Sends         int  // requests made, also counted when the PUT fails
	STS           int  // requests to STS made for it, also counted when it fails
	DataKey       bool // the store asked KMS for a data key
	// Region is where the bucket was found, if this PUT learned it; otherwise "". The catalog may
	// name another region; the object has been delivered all the same.
	Region string
}

// Put stores the object in t's bucket, and returns when it is certainly there.
//
// Invariant: I8, I9. The key names the content, so sending again after any doubt is a no-op (412)
// or writes the same bytes. Both answers, 200 and 412, mean delivered.
func (p *Putter) Put(ctx context.Context, t catalog.Target, obj Object) (r Result, err error) {
	var sts atomic.Int64
	ctx = assumerole.WithRequestCounter(ctx, &sts)
	defer func() { r.STS = int(sts.Load()) }()
	request, err := sessionRequest(t)
	if err != nil {
		return r, err
	}
	opts := putOptions(t, obj)
	bucket := p.known(t)
	opts.IfAbsent = time.Now().After(bucket.unconditionalUntil) && !obj.Overwrite
	triedRegions := []string{regionOf(t, bucket)}
	var renewed, redated, probing bool
	for unclearSends, pause := 1, p.cfg.Pause; ; {
		store, err := p.store(ctx, t, bucket, request)
		if err != nil {
			if errors.Is(err, errNoFIPS) { // forget the region, because the fix is a bucket of that name in another region
				p.learn(t, func(known *bucketInfo) { known.region = "" })
			}
			return r, err
		}
		if _, err := obj.Body.Seek(0, io.SeekStart); err != nil {
			return r, fmt.Errorf("rewind %q: %w: %w", obj.Key, objstore.ErrBody, err)
		}
		if ctx.Err() == nil { // otherwise Put returns the context's error and sends nothing
			r.Sends++
		}
		info, err := store.Put(ctx, obj.Key, obj.Body, opts)
		var answer *objstore.Error
		errors.As(err, &answer)
		switch {
		case err == nil:
			if probing { // it succeeded without the header, so the header was the reason
				p.learn(t, func(known *bucketInfo) { known.unconditionalUntil = time.Now().Add(unconditionalFor) })
			}
			r.ETag, r.Unconditional, r.DataKey = info.ETag, !opts.IfAbsent && !obj.Overwrite, info.DataKey
			return r, nil
		case errors.Is(err, objstore.ErrExists) && opts.IfAbsent: // without the condition it is no answer
			r.Existed = true
			return r, nil
		case errors.Is(err, objstore.ErrWrongRegion) && answer != nil && shouldFollow(answer.Region, triedRegions):
			bucket.region = answer.Region
			triedRegions = append(triedRegions, bucket.region)
			r.Region = bucket.region
			p.learn(t, func(known *bucketInfo) { known.region = bucket.region })
		case opts.IfAbsent && refusesCondition(answer):
			probing, opts.IfAbsent = true, false
		case credentialsExpired(answer) && request != nil && !renewed:
			renewed = true
			p.cfg.Roles.Forget(*request)
		case answer.CredentialsExpired() && !renewed: // the operator's own credentials: pkg/objstore renews them
			renewed = true
		case answer.ClockSkewed() && !redated: // from now on, pkg/objstore dates requests by the store's clock
			redated = true
		case (errors.Is(err, objstore.ErrConflict) || errors.Is(err, objstore.ErrUnavailable)) && unclearSends < MaxSends && ctx.Err() == nil:
			unclearSends++
			_ = sleep.For(ctx, pause/2+jitter.N(pause))
			pause *= 4
		default:
			return r, err
		}
	}
}

// putOptions returns the properties that the object is to have in t's bucket.
func putOptions(t catalog.Target, obj Object) objstore.PutOptions {
	opts := objstore.PutOptions{
		SHA256:      obj.SHA256,
		ContentType: "text/plain", ContentEncoding: "gzip",
		Metadata: obj.Metadata,
		ACL:      t.ACL,
	}
	if t.SSE {
		opts.ServerSideEncryption = "AES256"
	}
	if obj.alter != nil {
		obj.alter(&opts)
	}
	return opts
}

// Region returns where t's bucket was found, or "" if nothing was learned; the catalog's region
// then applies.
func (p *Putter) Region(t catalog.Target) string { return p.known(t).region }

// sessionRequest returns the request for credentials of t's role, narrowed to what is put into t.
// It returns nil for a classic destination, which uses the operator's own credentials.
func sessionRequest(t catalog.Target) (*assumerole.Request, error) {
	if t.RoleARN == "" {
		return nil, nil
	}
	session, err := policy.Session(t)
	if err != nil {
		return nil, err
	}
	// Asked of STS in the operator's own region, which is certainly enabled in the operator's
	// account. The bucket's region may not be.
	return &assumerole.Request{RoleARN: t.RoleARN, ExternalID: t.Workspace, SessionPolicy: session, FIPS: t.FIPS}, nil
}

func (p *Putter) store(ctx context.Context, t catalog.Target, info bucketInfo, r *assumerole.Request) (objstore.Store, error) {
	t.Region = regionOf(t, info)
	if t.FIPS && !catalog.HasFIPS(t.Region) { // the host name of the endpoint would not even resolve
		return nil, &objstore.Error{Op: "put", Bucket: t.BucketName, Kind: objstore.ErrWrongRegion, Region: t.Region, Err: errNoFIPS}
	}
	if r == nil {
		return p.cfg.Open(t, nil), nil
	}
	creds := func(ctx context.Context) (objstore.Credentials, error) { return p.cfg.Roles.Credentials(ctx, *r) }
	if _, err := creds(ctx); err != nil { // so that its error is returned, not one of the PUT
		return nil, err
	}
	// Other customers must not be able to have Sealift assume this role for them.
	if err := p.cfg.Roles.VerifyTrust(ctx, *r); err != nil {
		return nil, err
	}
	return p.cfg.Open(t, creds), nil
}

// bucketKey identifies a bucket. Each partition of AWS has its own bucket names, and where one
// customer's bucket is must not lead another customer's files there.
func bucketKey(t catalog.Target) string {
	return t.Endpoint + " " + policy.Partition(t) + " " + t.BucketName
}

func (p *Putter) known(t catalog.Target) bucketInfo {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.buckets[bucketKey(t)]
}

// learn applies a change to what is known about t's bucket. It changes one thing only, since
// another PUT may have learned something else in the meantime.
func (p *Putter) learn(t catalog.Target, change func(*bucketInfo)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := bucketKey(t)
	info := p.buckets[key]
	change(&info)
	p.buckets[key] = info
}

// refusesCondition reports whether the answer may mean that the store does not implement
// If-None-Match. If it means something else, the PUT without that header is refused as well, and
// nothing is learned.
func refusesCondition(e *objstore.Error) bool {
	if e == nil || errors.Is(e.Kind, objstore.ErrUnavailable) || errors.Is(e.Kind, objstore.ErrDenied) {
		return false // such as IncompleteBody, whose message mentions a header
	}
	if e.Status == http.StatusNotImplemented {
		return true
	}
	if e.Status != http.StatusBadRequest || isChecksumMismatch(e) {
		return false
	}
	switch e.Code {
	case "NotImplemented", "InvalidArgument", "InvalidRequest", "UnsupportedHeader":
		return true
	}
	text := strings.ToLower(e.Code + " " + e.Message)
	return strings.Contains(text, "if-none-match") || strings.Contains(text, "precondition") || strings.Contains(text, "header")
}

// isChecksumMismatch reports whether the store says that the body does not match its checksum. It
// finds that out last, after everything else was in order.
func isChecksumMismatch(e *objstore.Error) bool {
	return e != nil && (e.Code == "BadDigest" || e.Code == "XAmzContentSHA256Mismatch" || e.Code == "XAmzContentChecksumMismatch")
}

// credentialsExpired reports whether new credentials may help. If a role was deleted and created
// again, its old keys are unknown.
func credentialsExpired(e *objstore.Error) bool {
	return e.CredentialsExpired() || e != nil && (e.Code == "InvalidToken" || e.Code == "InvalidAccessKeyId")
}

// maxRegions is in how many regions a PUT looks for the bucket. Normally two suffice: one where the
// bucket is not, and the one that the answer names. For some minutes after a bucket was created
// again elsewhere, answers may name a wrong region.
const maxRegions = 3

// shouldFollow reports whether a PUT is sent again to the region that an answer names.
func shouldFollow(region string, requested []string) bool {
	return region != "" && len(requested) < maxRegions && !slices.Contains(requested, region)
}

// errNoFIPS says that a FIPS endpoint is required in a region where S3 has none.
var errNoFIPS = errors.New("S3 has no FIPS endpoint there")

// regionOf returns the region for the next request: where the bucket was found, else the catalog's,
// else the first region of the partition.
func regionOf(t catalog.Target, info bucketInfo) string {
	return cmp.Or(info.region, t.Region, firstRegion(t))
}

// firstRegion is where a bucket is looked for when its region is not known.
func firstRegion(t catalog.Target) string { return iam.FirstRegion(policy.Partition(t)) }
