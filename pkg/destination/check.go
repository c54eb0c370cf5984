package destination

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/assumerole"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/policy"
)

// STS is what a Checker needs from the token service; *assumerole.Roles is one.
type STS interface {
	Roles
	Identity(context.Context) (arn string, err error)
}

// Checker tries what a delivery does, with the same code. It needs no permission that a delivery
// does not need, and is safe for concurrent use.
type Checker struct {
	STS    STS
	Putter *Putter
	// NoExternalID says that this STS does not support external ids.
	NoExternalID bool
	// Principal is the ARN by which policies name Sealift; "" means the identity that STS reports.
	Principal string
	// Guard returns an error if an endpoint is not allowed; nil allows all.
	Guard func(endpoint string) error
}

// Options configure a check.
type Options struct {
	// Sources are the sources whose folders are tried, at least one.
	Sources []string
	// Write stores an object of catalog.ReservedSourceID. Otherwise nothing is stored.
	Write bool
	// OnStep is called for every step when it is over; it may be nil.
	OnStep func(Step)
}

// run is a check in progress.
type run struct {
	*Checker
	Options
	t                catalog.Target
	mu               sync.Mutex // guards report while PUTs are under way
	report           Report
	ownARN           string // ARN of Sealift's principal; "" if not known
	failedStep       string // the step that failed
	denialText       string // the store's answer to the PUT that was denied
	denial           denial // that answer, parsed
	wroteObject      bool   // an object was stored
	ignoresChecksums bool   // the store does not verify checksums
}

// Check checks t. The context limits the whole check.
func (c *Checker) Check(ctx context.Context, t catalog.Target, o Options) Report {
	r := &run{Checker: c, Options: o, t: t, report: Report{Destination: t.ID, Proven: []string{}, Unproven: []string{}}}
	r.step("catalog", r.catalog)
	r.step("endpoint", r.endpoint)
	r.step("credentials", func() (string, error) { return r.credentials(ctx) })
	r.step("role", func() (string, error) { return r.role(ctx) })
	r.step("external id", func() (string, error) { return r.externalID(ctx) })
	r.puts(ctx)
	r.report.OK = true
	for _, s := range r.report.Steps {
		r.report.OK = r.report.OK && s.Status != Failed
	}
	if r.report.OK {
		r.conclude(r.refusesWrongOwner(ctx))
	}
	return r.report
}

// refusesWrongOwner reports whether the server refuses a wrong bucket owner. AWS does, but other
// servers may accept any; then being accepted with the right owner proves nothing.
func (r *run) refusesWrongOwner(ctx context.Context) bool {
	if r.t.Owner == "" || r.ignoresChecksums {
		return false
	}
	wrong := r.t
	if wrong.Owner = "000000000000"; r.t.Owner == wrong.Owner {
		wrong.Owner = "111111111111"
	}
	return errors.Is(r.tryPut(ctx, wrong, r.Sources[0], nil).err, objstore.ErrDenied)
}

func (r *run) catalog() (string, error) {
	switch {
	case r.t.RefusalReason != "":
		return "", &verdictError{permanent("catalog_refused", "the catalog is wrong: "+r.t.RefusalReason,
			"correct the catalog (`sealift catalog validate`) and apply it")}
	case !r.t.IsEnabled:
		return "disabled: no files are owed to it until it is enabled", nil
	}
	return "enabled", nil
}

func (r *run) endpoint() (string, error) {
	if r.t.Endpoint == "" {
		return "", skipReason("the catalog names none")
	}
	if r.Guard != nil {
		if err := r.Guard(r.t.Endpoint); err != nil {
			return "", err
		}
	}
	return r.t.Endpoint, nil
}

// credentials checks the operator's own credentials. That STS does not say whose they are is no
// failure by itself: no delivery asks for that, and the STS of some servers cannot tell.
func (r *run) credentials(ctx context.Context) (string, error) {
	arn, err := r.STS.Identity(ctx)
	if r.ownARN = r.Principal; r.ownARN == "" && err == nil {
		if p, perr := policy.ParsePrincipal(arn); perr == nil { // otherwise it is an identity that no policy can name
			r.ownARN = p.ARN
		}
	}
	switch {
	case err == nil, errors.Is(err, objstore.ErrNoCredentials):
		return arn, err
	case r.t.RoleARN != "" && (errors.Is(err, assumerole.ErrUnavailable) || errors.Is(err, assumerole.ErrOwnCredentials)): // nor can the role be assumed
		return "", err
	}
	return "", skipReason("STS does not say who Sealift is, and no delivery asks it")
}

func (r *run) role(ctx context.Context) (string, error) {
	request, err := sessionRequest(r.t)
	if err != nil {
		return "", &verdictError{permanent("policy_malformed", err.Error(), "correct bucket in the catalog")}
	}
	if request == nil {
		return "", skipReason("no role: Sealift's principal puts, and the bucket's policy allows it")
	}
	creds, err := r.STS.Credentials(ctx, *request)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("assumed with ExternalId %s, until %s", r.t.Workspace, creds.Expires.UTC().Format(time.RFC3339)), nil
}

func (r *run) externalID(ctx context.Context) (string, error) {
	request, err := sessionRequest(r.t)
	if err != nil || request == nil {
		return "", skipReason("no role")
	}
	if r.NoExternalID {
		return "", skipReason("sts.verify_trust is false")
	}
	if err := r.STS.VerifyTrust(ctx, *request); err != nil {
		return "", err
	}
	return "refused without it, and with a wrong one", nil
}

// maxParallel is how many source folders are tried at once.
const maxParallel = 8

// puts tries a PUT into the folder of each source. The first goes alone: it shows whether the store
// is reachable and where the bucket is.
func (r *run) puts(ctx context.Context) {
	if r.failedStep != "" {
		for _, name := range []string{"reach", "region", "put"} {
			r.step(name, nil)
		}
		return
	}
	var conn connTrace
	begun := time.Now()
	tries := []attempt{r.tryPut(conn.trace(ctx), r.t, r.Sources[0], nil)}
	first := tries[0].err
	var e *objstore.Error
	answered := !errors.As(first, &e) || e.Status != 0 || errors.Is(first, objstore.ErrWrongRegion)
	r.step("reach", func() (string, error) {
		if !answered {
			return "", first
		}
		return conn.String(), nil
	})
	r.step("region", func() (string, error) {
		if errors.Is(first, objstore.ErrWrongRegion) {
			return "", first
		}
		return r.region(), nil
	})
	if r.failedStep == "" && !r.ignoresChecksums {
		tries = append(tries, r.tryOtherFolders(ctx)...)
	}
	r.step("put", func() (string, error) { return r.judgePuts(ctx, tries) })
	last := &r.report.Steps[len(r.report.Steps)-1]
	if last.Status != Skipped {
		last.Milliseconds = time.Since(begun).Milliseconds()
	}
	if r.Write {
		r.step("write", func() (string, error) { return r.write(ctx) })
	}
}

// attempt is the outcome of one PUT.
type attempt struct {
	source string
	err    error // nil: accepted
}

func (r *run) tryPut(ctx context.Context, t catalog.Target, source string, alter func(*objstore.PutOptions)) attempt {
	obj, result, err := r.Putter.probe(ctx, t, source, alter)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.report.Puts += result.Sends
	if errors.Is(err, errStored) {
		err, r.ignoresChecksums = nil, true
		r.report.Stored = append(r.report.Stored, Stored{t.BucketName, obj.Key})
	}
	return attempt{source, err}
}

// tryOtherFolders tries the folders of all sources but the first.
func (r *run) tryOtherFolders(ctx context.Context) []attempt {
	tries := make([]attempt, len(r.Sources)-1)
	var all sync.WaitGroup
	slots := make(chan struct{}, maxParallel)
	for i := range tries {
		slots <- struct{}{}
		all.Go(func() {
			tries[i] = r.tryPut(ctx, r.t, r.Sources[i+1], nil)
			<-slots
		})
	}
	all.Wait()
	return tries
}

// region describes where the bucket was found.
func (r *run) region() string {
	switch found := r.Putter.Region(r.t); {
	case found != "" && r.t.Region != "" && found != r.t.Region:
		return fmt.Sprintf("%s, and not %s as the catalog says: Sealift follows, and one request less is made with region: %s", found, r.t.Region, found)
	case found != "":
		return found + ", as the store says"
	case r.t.Region != "":
		return r.t.Region
	}
	return firstRegion(r.t)
}

// judgePuts summarizes the outcome of all PUTs.
func (r *run) judgePuts(ctx context.Context, tries []attempt) (string, error) {
	var allowed, refused []string
	var failed *attempt
	for i, s := range tries {
		switch {
		case s.err == nil:
			allowed = append(allowed, s.source)
		case failed == nil:
			failed = &tries[i]
			fallthrough
		default:
			refused = append(refused, s.source)
		}
	}
	if failed != nil {
		return "", &verdictError{r.explain(ctx, failed, allowed, refused)}
	}
	return fmt.Sprintf("%s into %s: accepted, but for its made-up checksum", strings.Join(putActions(r.t), " and "), folders(r.t, allowed)), nil
}

func folders(t catalog.Target, sources []string) string {
	first := strings.TrimSuffix(strings.SplitN(policy.ObjectARN(t, sources[0]), ":::", 2)[1], "*")
	if len(sources) == 1 {
		return first
	}
	return fmt.Sprintf("%s and %d more", first, len(sources)-1)
}

// write stores a small, well-formed object.
func (r *run) write(ctx context.Context) (string, error) {
	obj, err := TrialObject(r.t, trialSource)
	if err != nil {
		return "", err
	}
	result, err := r.Putter.Put(ctx, r.t, obj)
	r.report.Puts += result.Sends
	if err == nil {
		r.wroteObject = true
		r.report.Stored = append(r.report.Stored, Stored{r.t.BucketName, obj.Key})
		return "s3://" + r.t.BucketName + "/" + obj.Key, nil
	}
	if !errors.Is(err, objstore.ErrDenied) {
		return "", err
	}
	if out := r.tryPut(ctx, r.t, trialSource, nil); out.err != nil {
		// So only the folder is denied, and no delivery needs that one
		return "", skipReason("the policies allow the folders of sources, and not " + folders(r.t, []string{trialSource}))
	}
	return "", &verdictError{r.explainWrite(err)}
}
