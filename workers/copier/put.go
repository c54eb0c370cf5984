package copier

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// maxSends is how often one try sends a PUT whose outcome stays unknown.
const maxSends = 3

// Roles gives the credentials of customers' roles; *assumerole.Roles is one.
type Roles interface {
	Credentials(context.Context, assumerole.Request) (objstore.Credentials, error)
	Forget(assumerole.Request)
}

// customer puts objects into customers' buckets, with nothing but
// s3:PutObject. It is safe for concurrent use.
type customer struct {
	roles  Roles
	open   func(catalog.Target, func(context.Context) (objstore.Credentials, error)) objstore.Store
	pause  time.Duration // between sends; it doubles
	metric *metrics

	mu     sync.Mutex       // guards places
	places map[string]place // what was learned of buckets
}

// place is what a bucket's answers told.
type place struct {
	region        string // where it lives, "" if not known
	unconditional bool   // it does not know If-None-Match
}

// delivered is what a successful put tells.
type delivered struct {
	etag    string
	existed bool // it was there already
}

// object is what becomes of a file at a customer.
type object struct {
	key, source string
	metadata    map[string]string
	overwrite   bool // what is there already, which is the same
}

func objectOf(prefix string, l ledger.Log, f *ledger.File) object {
	if ablation.On(ablation.KeyPerAttempt) {
		g := *f
		g.First = time.Now().UnixNano() // the name is made of it
		return object{key: delivery.ObjectKey(prefix, l, &g), source: f.Source, metadata: delivery.ObjectMetadata(l, f), overwrite: true}
	}
	return object{key: delivery.ObjectKey(prefix, l, f), source: f.Source, metadata: delivery.ObjectMetadata(l, f)}
}

// put stores the spooled bytes as that object in t's bucket, and returns when
// it is certainly there.
//
// Invariant: I8, I9. The key is a function of the ledger's file and names its
// content, so sending again after any doubt is a no-op (412) or writes the
// same bytes; both answers, 200 and 412, mean delivered.
func (c *customer) put(ctx context.Context, t catalog.Target, obj object, body *spooled) (delivered, error) {
	request, err := c.request(t, obj.source)
	if err != nil {
		return delivered{}, err
	}
	opts := objstore.PutOptions{
		SHA256:      body.sum,
		ContentType: "text/plain", ContentEncoding: "gzip",
		Metadata: obj.metadata,
		ACL:      t.ACL,
	}
	if t.SSE {
		opts.ServerSideEncryption = "AES256"
	}
	at := c.place(t)
	opts.IfAbsent = !at.unconditional && !obj.overwrite
	var followed, renewed, probing bool
	for sends, pause := 1, c.pause; ; sends++ {
		store, err := c.store(ctx, t, at, request)
		if err != nil {
			return delivered{}, err
		}
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return delivered{}, fmt.Errorf("rewind spool of %q: %w", obj.key, err)
		}
		info, err := store.Put(ctx, obj.key, body, opts)
		var answer *objstore.Error
		errors.As(err, &answer)
		switch {
		case err == nil:
			if probing { // so it was the header
				at.unconditional = true
				c.learn(t, at)
			}
			if !opts.IfAbsent && !obj.overwrite {
				c.metric.unconditional.Inc()
			}
			return delivered{etag: info.ETag}, nil
		case errors.Is(err, objstore.ErrExists):
			return delivered{existed: true}, nil
		case errors.Is(err, objstore.ErrWrongRegion) && answer != nil && answer.Region != "" && !followed:
			followed, at.region = true, answer.Region
			c.learn(t, at)
		case opts.IfAbsent && refusesCondition(answer):
			probing, opts.IfAbsent = true, false
		case expired(answer) && request != nil && !renewed:
			renewed = true
			c.roles.Forget(*request)
		case (errors.Is(err, objstore.ErrConflict) || errors.Is(err, objstore.ErrUnavailable)) && sends < maxSends && ctx.Err() == nil:
			select {
			case <-time.After(pause/2 + jitter.N(pause)):
			case <-ctx.Done():
			}
			pause *= 4
		default:
			return delivered{}, err
		}
	}
}

// request is for the credentials that t's role gives for a source's folder;
// nil for a classic destination, which takes the operator's own.
func (c *customer) request(t catalog.Target, source string) (*assumerole.Request, error) {
	if t.RoleARN == "" {
		return nil, nil
	}
	policy, err := sessionPolicy(t, source)
	if err != nil {
		return nil, err
	}
	// Asked of STS in the operator's own region, which is certainly enabled in
	// the operator's account; the bucket's may not be.
	return &assumerole.Request{RoleARN: t.RoleARN, ExternalID: t.Workspace, SessionPolicy: policy}, nil
}

func (c *customer) store(ctx context.Context, t catalog.Target, at place, r *assumerole.Request) (objstore.Store, error) {
	switch {
	case at.region != "":
		t.Region = at.region
	case t.Region == "":
		t.Region = firstRegion(t)
	}
	if r == nil {
		return c.open(t, nil), nil
	}
	creds := func(ctx context.Context) (objstore.Credentials, error) { return c.roles.Credentials(ctx, *r) }
	if _, err := creds(ctx); err != nil { // its own error, not one of the PUT
		return nil, err
	}
	return c.open(t, creds), nil
}

func (c *customer) place(t catalog.Target) place {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.places[t.Endpoint+" "+t.BucketName]
}

func (c *customer) learn(t catalog.Target, p place) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.places[t.Endpoint+" "+t.BucketName] = p
}

// refusesCondition reports whether the answer may mean that the store does
// not implement If-None-Match. If it meant something else, the PUT without it
// is refused as well, and nothing is learned.
func refusesCondition(e *objstore.Error) bool {
	if e == nil {
		return false
	}
	if e.Status == http.StatusNotImplemented {
		return true
	}
	if e.Status != http.StatusBadRequest {
		return false
	}
	switch e.Code {
	case "NotImplemented", "InvalidArgument", "InvalidRequest", "UnsupportedHeader":
		return true
	}
	said := strings.ToLower(e.Code + " " + e.Message)
	return strings.Contains(said, "if-none-match") || strings.Contains(said, "precondition") || strings.Contains(said, "header")
}

// expired reports whether new credentials may help.
func expired(e *objstore.Error) bool {
	return e != nil && (e.Code == "ExpiredToken" || e.Code == "TokenRefreshRequired" || e.Code == "InvalidToken")
}
