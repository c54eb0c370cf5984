// Package destination puts objects into customers' buckets with nothing but
// s3:PutObject, and says what it means when that fails.
//
// It is for the copier and for whoever checks a destination by the same
// sequence: the role's credentials, the bucket's region, the PUT, and what may
// be repeated of it. It promises that an object is reported as delivered only
// after the store said that it is there (I9), and that every failure has a
// cause and a fix. It decides neither what is delivered nor when it is tried
// again.
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
)

// MaxSends is how often Put sends what stays without a clear answer.
const MaxSends = 3

// Roles gives the credentials of customers' roles, and says whether others could
// have them too; *assumerole.Roles is one.
type Roles interface {
	Credentials(context.Context, assumerole.Request) (objstore.Credentials, error)
	VerifyTrust(context.Context, assumerole.Request) error
	Forget(assumerole.Request)
}

// Open returns the bucket of a target, for each PUT anew: connections are
// shared, and endpoints guarded, by whoever implements it. The target's Region
// is always set. Credentials are asked for at every request; nil means the
// operator's own.
type Open func(t catalog.Target, credentials func(context.Context) (objstore.Credentials, error)) objstore.Store

// Config is what a Putter works with.
type Config struct {
	Roles Roles // only used for destinations with a role
	Open  Open
	Pause time.Duration // between sends of a PUT, it grows; default 200ms
}

// Putter puts objects. It is safe for concurrent use.
type Putter struct {
	cfg Config

	mu     sync.Mutex       // guards places
	places map[string]place // what was learned of buckets
}

// NewPutter returns a Putter that knows no bucket yet.
func NewPutter(cfg Config) *Putter {
	cfg.Pause = cmp.Or(cfg.Pause, 200*time.Millisecond)
	return &Putter{cfg: cfg, places: map[string]place{}}
}

// place is what a bucket's answers told.
type place struct {
	region        string    // where it lives, "" if not known
	unconditional time.Time // until then it is taken not to know If-None-Match
}

// unconditionalFor is how long a bucket is believed not to know If-None-Match: it
// may have been a proxy that said so, and stores are upgraded.
const unconditionalFor = time.Hour

// Object is what is to be stored.
type Object struct {
	Key      string
	Metadata map[string]string
	// Body is sent from its beginning, possibly more than once, never after Put
	// returned.
	Body   io.ReadSeeker
	SHA256 [32]byte // of Body
	// Overwrite sends without If-None-Match: what is there already is the same.
	Overwrite bool

	alter func(*objstore.PutOptions) // of a probe, which tries other headers; nil: none
}

// Result is what a PUT told, and how.
type Result struct {
	ETag          string
	Existed       bool // it was there already (412)
	Unconditional bool // the store does not know If-None-Match
	Sends         int  // requests made, also with an error
	STS           int  // requests to STS made for it, also with an error
	DataKey       bool // the store asked KMS for a key for it
	// Region is where the bucket was found to be, if this PUT learned it; ""
	// otherwise. The catalog may name another one: the file is there all the same.
	Region string
}

// Put stores the object in t's bucket, and returns when it is certainly there.
//
// Invariant: I8, I9. The key names the content, so sending again after any
// doubt is a no-op (412) or writes the same bytes; both answers, 200 and 412,
// mean delivered.
func (p *Putter) Put(ctx context.Context, t catalog.Target, obj Object) (r Result, err error) {
	var sts atomic.Int64
	ctx = assumerole.WithTally(ctx, &sts)
	defer func() { r.STS = int(sts.Load()) }()
	request, err := sessionRequest(t)
	if err != nil {
		return r, err
	}
	opts := putOptions(t, obj)
	at := p.place(t)
	opts.IfAbsent = time.Now().After(at.unconditional) && !obj.Overwrite
	asked := []string{regionOf(t, at)}
	var renewed, redated, probing bool
	for waits, pause := 1, p.cfg.Pause; ; {
		store, err := p.store(ctx, t, at, request)
		if err != nil {
			if errors.Is(err, errNoFIPS) { // to be asked anew: the way out is such a bucket elsewhere
				p.learn(t, func(known *place) { known.region = "" })
			}
			return r, err
		}
		if _, err := obj.Body.Seek(0, io.SeekStart); err != nil {
			return r, fmt.Errorf("rewind %q: %w: %w", obj.Key, objstore.ErrBody, err)
		}
		if ctx.Err() == nil { // else it says so, and nothing is sent
			r.Sends++
		}
		info, err := store.Put(ctx, obj.Key, obj.Body, opts)
		var answer *objstore.Error
		errors.As(err, &answer)
		switch {
		case err == nil:
			if probing { // so it was the header
				p.learn(t, func(known *place) { known.unconditional = time.Now().Add(unconditionalFor) })
			}
			r.ETag, r.Unconditional, r.DataKey = info.ETag, !opts.IfAbsent && !obj.Overwrite, info.DataKey
			return r, nil
		case errors.Is(err, objstore.ErrExists):
			r.Existed = true
			return r, nil
		case errors.Is(err, objstore.ErrWrongRegion) && answer != nil && follows(answer.Region, asked):
			at.region = answer.Region
			asked = append(asked, at.region)
			r.Region = at.region
			p.learn(t, func(known *place) { known.region = at.region })
		case opts.IfAbsent && refusesCondition(answer):
			probing, opts.IfAbsent = true, false
		case expired(answer) && request != nil && !renewed:
			renewed = true
			p.cfg.Roles.Forget(*request)
		case answer.Outlived() && !renewed: // our own: pkg/objstore renews them
			renewed = true
		case answer.Skewed() && !redated: // pkg/objstore dates requests by the store's clock from here on
			redated = true
		case (errors.Is(err, objstore.ErrConflict) || errors.Is(err, objstore.ErrUnavailable)) && waits < MaxSends && ctx.Err() == nil:
			waits++
			select {
			case <-time.After(pause/2 + jitter.N(pause)):
			case <-ctx.Done():
			}
			pause *= 4
		default:
			return r, err
		}
	}
}

// putOptions are the properties of an object as t's bucket is to keep them.
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

// Region returns where t's bucket was found to be, "" if nothing was learned:
// then it is where the catalog says.
func (p *Putter) Region(t catalog.Target) string { return p.place(t).region }

// sessionRequest is for the credentials that t's role gives for what goes to t; nil
// for a classic destination, which takes the operator's own.
func sessionRequest(t catalog.Target) (*assumerole.Request, error) {
	if t.RoleARN == "" {
		return nil, nil
	}
	session, err := policy.Session(t)
	if err != nil {
		return nil, err
	}
	// Asked of STS in the operator's own region, which is certainly enabled in
	// the operator's account; the bucket's may not be.
	return &assumerole.Request{RoleARN: t.RoleARN, ExternalID: t.Workspace, SessionPolicy: session, FIPS: t.FIPS}, nil
}

func (p *Putter) store(ctx context.Context, t catalog.Target, at place, r *assumerole.Request) (objstore.Store, error) {
	t.Region = regionOf(t, at)
	if t.FIPS && !catalog.HasFIPS(t.Region) { // its name would not even resolve
		return nil, &objstore.Error{Op: "put", Bucket: t.BucketName, Kind: objstore.ErrWrongRegion, Region: t.Region, Err: errNoFIPS}
	}
	if r == nil {
		return p.cfg.Open(t, nil), nil
	}
	creds := func(ctx context.Context) (objstore.Credentials, error) { return p.cfg.Roles.Credentials(ctx, *r) }
	if _, err := creds(ctx); err != nil { // its own error, not one of the PUT
		return nil, err
	}
	// Another customer may have us assume this role as well as its owner.
	if err := p.cfg.Roles.VerifyTrust(ctx, *r); err != nil {
		return nil, err
	}
	return p.cfg.Open(t, creds), nil
}

// placeKey names a bucket: each partition of AWS has names of its own, and where one's
// bucket is must not lead another customer's files there.
func placeKey(t catalog.Target) string {
	return t.Endpoint + " " + policy.Partition(t) + " " + t.BucketName
}

func (p *Putter) place(t catalog.Target) place {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.places[placeKey(t)]
}

// learn changes what is known of t's bucket: one thing, since another PUT may have
// learned something else meanwhile.
func (p *Putter) learn(t catalog.Target, change func(*place)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	key := placeKey(t)
	at := p.places[key]
	change(&at)
	p.places[key] = at
}

// refusesCondition reports whether the answer may mean that the store does
// not implement If-None-Match. If it meant something else, the PUT without it
// is refused as well, and nothing is learned.
func refusesCondition(e *objstore.Error) bool {
	if e == nil || errors.Is(e.Kind, objstore.ErrUnavailable) || errors.Is(e.Kind, objstore.ErrDenied) {
		return false // such as IncompleteBody, which speaks of a header
	}
	if e.Status == http.StatusNotImplemented {
		return true
	}
	if e.Status != http.StatusBadRequest || mismatched(e) {
		return false
	}
	switch e.Code {
	case "NotImplemented", "InvalidArgument", "InvalidRequest", "UnsupportedHeader":
		return true
	}
	said := strings.ToLower(e.Code + " " + e.Message)
	return strings.Contains(said, "if-none-match") || strings.Contains(said, "precondition") || strings.Contains(said, "header")
}

// mismatched reports whether the store says that the body is not the one that
// was announced. It tells so at the end, when all else was in order.
func mismatched(e *objstore.Error) bool {
	return e != nil && (e.Code == "BadDigest" || e.Code == "XAmzContentSHA256Mismatch" || e.Code == "XAmzContentChecksumMismatch")
}

// expired reports whether new credentials may help. The keys of a role that
// was deleted and made anew are unknown from then on.
func expired(e *objstore.Error) bool {
	return e.Outlived() || e != nil && (e.Code == "InvalidToken" || e.Code == "InvalidAccessKeyId")
}

// maxRegions is in how many regions a PUT looks for the bucket. Two are the
// rule: where it is not, and where that says it is. A bucket that was created
// anew elsewhere may be told of wrongly for some minutes.
const maxRegions = 3

// follows tells whether a PUT goes where an answer says that the bucket is.
func follows(region string, asked []string) bool {
	return region != "" && len(asked) < maxRegions && !slices.Contains(asked, region)
}

// errNoFIPS says that FIPS was asked for where S3 has none.
var errNoFIPS = errors.New("S3 has no FIPS endpoint there")

// regionOf is where a bucket is asked: where it was found, else where the
// catalog says, else wherever such buckets are known of.
func regionOf(t catalog.Target, at place) string {
	return cmp.Or(at.region, t.Region, firstRegion(t))
}

// firstRegion is where a bucket is looked for whose region is not known yet.
func firstRegion(t catalog.Target) string { return iam.FirstRegion(policy.Partition(t)) }
