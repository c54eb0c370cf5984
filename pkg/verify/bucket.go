package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
)

// buckets are the destinations' buckets, opened when first needed.
type buckets struct {
	v *verifier

	mu   sync.Mutex // guards open
	open map[string]*bucket
}

// bucket is one destination's bucket, and what was found in it.
type bucket struct {
	Bucket
	once sync.Once
	id   string

	mu       sync.Mutex // guards all fields below
	closed   bool       // it cannot be read
	failures int        // objects that failed in a row
	present  map[folder]int64
}

// mostFailures is the number of objects failing in a row after which it is not the objects' fault:
// the bucket is then left alone.
const mostFailures = 10

// folder is one day of a source.
type folder struct {
	source string
	day    int64
}

// get opens the bucket of a destination. A bucket that cannot be listed is not read, because it
// would give the same answer for an object that is missing as for one that is denied.
func (b *buckets) get(ctx context.Context, dest string) *bucket {
	b.mu.Lock()
	one := b.open[dest]
	if one == nil {
		one = &bucket{id: dest, present: map[folder]int64{}}
		b.open[dest] = one
	}
	b.mu.Unlock()
	one.once.Do(func() { b.start(ctx, one) })
	return one
}

func (b *buckets) start(ctx context.Context, one *bucket) {
	if b.v.deps.Bucket == nil {
		one.closed = true
		return
	}
	var err error
	if one.Bucket, err = b.v.deps.Bucket(ctx, one.id); err == nil {
		one.Store = objstore.WithReadRetries(one.Store)
		_, err = one.Store.List(ctx, one.root(), "", 1)
	}
	switch {
	case err == nil:
		b.v.report.destination(one.id, func(d *Destination) { d.Bucket = bucketRead })
		return
	case !errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrNoBucket) && !errors.Is(err, ErrNoDestination):
		b.v.report.unread(fmt.Sprintf("%s: its bucket: %v", one.id, err))
	}
	b.unreadable(one, err)
}

// site is a place in a bucket, and the workspace that it belongs to: destinations of one workspace
// may share a place.
type site struct{ workspace, server, name, prefix string }

func (b *bucket) site() site { return site{workspaceOf(b.id), b.Server, b.Name, b.Prefix} }

// root is the prefix of everything of ours.
func (b *bucket) root() string {
	if b.Prefix == "" {
		return "segment-logs/"
	}
	return b.Prefix + "/segment-logs/"
}

func (b *buckets) unreadable(one *bucket, err error) {
	one.mu.Lock()
	one.closed = true
	one.mu.Unlock()
	b.v.report.destination(one.id, func(d *Destination) { d.Bucket, d.Why = bucketUnread, err.Error() })
}

// failed records that an object could not be read. One object that is denied says nothing about the
// others: it may have another owner, or be encrypted with another key.
func (b *buckets) failed(one *bucket, where string, err error) {
	b.v.report.unread(fmt.Sprintf("%s: %v", where, err))
	one.mu.Lock()
	one.failures++
	leave := one.failures == mostFailures
	one.mu.Unlock()
	if leave {
		b.unreadable(one, err)
	}
}

// answered records that an object could be read, as far as required.
func (b *bucket) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}

// object compares the object in the bucket with the file and its receipt.
//
// Invariant: I8, I9.
func (b *buckets) object(ctx context.Context, o *file, dest string, r delivery.Receipt) error {
	one := b.get(ctx, dest)
	one.mu.Lock()
	closed := one.closed
	one.mu.Unlock()
	unseen := func() { b.v.report.destination(dest, func(d *Destination) { d.Unseen++ }) }
	if closed {
		unseen()
		return nil
	}
	if r.Bucket != one.Name {
		b.v.report.destination(dest, func(d *Destination) { d.former(r.Bucket) })
		return nil
	}
	where := fmt.Sprintf("s3://%s/%s", one.Name, r.Key)
	info, err := one.Store.Head(ctx, r.Key)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		one.answered()
		b.v.report.curable(ObjectMissing, o.replayTo(dest), where, "delivered at %s as %s says, and not there", stamp(r.At), place(o.ref))
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		b.failed(one, where, err)
		unseen()
		return nil
	}
	put := r // the receipt of the PUT that stored the present bytes
	wrong := o.changed(info, r)
	if wrong != "" && r.Key == delivery.ObjectKey(one.Prefix, o.log, o.f) {
		// A replay may have put it again, with lines that were compressed anew.
		again, err := o.replayed(ctx, dest)
		if err != nil {
			return err
		}
		for _, later := range again {
			if o.changed(info, later) == "" {
				put, wrong = later, ""
			}
		}
		past, may := o.forgotten(info, r)
		switch {
		case wrong == "" || !may:
		case !b.v.outlived(info.LastModified):
			wrong += retainRaised
		default:
			put, wrong = past, ""
			if !b.v.cfg.Deep { // Deep reads its lines
				b.v.report.destination(dest, func(d *Destination) { d.Past++ })
			}
		}
	}
	if wrong == "" && b.v.cfg.Deep {
		if wrong, err = o.content(ctx, one.Store, put); ctx.Err() != nil {
			return ctx.Err()
		} else if errors.Is(err, objstore.ErrDenied) { // for each such object: what can be checked without reading it has been checked
			b.v.report.unread(fmt.Sprintf("%s: %v", where, err))
			unseen()
			return nil
		} else if err != nil {
			b.failed(one, where, err)
			unseen()
			return nil
		}
	}
	one.answered()
	if wrong != "" {
		b.v.report.curable(ObjectChanged, o.replayTo(dest)+" --force", where, "%s (%s)", wrong, place(o.ref))
	}
	one.mu.Lock()
	if r.Key == delivery.ObjectKey(one.Prefix, o.log, o.f) && o.receipts != nil && !info.LastModified.After(o.now) { // not a replay's object
		one.present[folder{o.f.Source, o.f.Stream().Day()}]++
	}
	one.mu.Unlock()
	b.v.report.destination(dest, func(d *Destination) {
		if o.receipts != nil { // not a replay's
			d.Objects++
		} else {
			d.ReplayedObjects++
		}
	})
	return nil
}

// changed says what is wrong with an object according to its HEAD, or nothing.
func (o *file) changed(info objstore.Info, r delivery.Receipt) string {
	switch {
	case info.Size != r.Bytes:
		return fmt.Sprintf("it has %d bytes, and had %d when it was put", info.Size, r.Bytes)
	case r.ETag != "" && info.ETag != r.ETag:
		return fmt.Sprintf("its ETag is %s, and was %s when it was put", info.ETag, r.ETag)
	case info.ContentType != "text/plain" || info.ContentEncoding != "gzip":
		return fmt.Sprintf("its content type is %q and its encoding %q, not text/plain and gzip", info.ContentType, info.ContentEncoding)
	}
	says := delivery.ObjectMetadata(o.log, o.f)
	says["sha256"] = r.SHA256
	for name, want := range says {
		if got := info.Metadata[name]; got != want {
			return fmt.Sprintf("its metadata says %s %q, the ledger %q", name, got, want)
		}
	}
	return ""
}

// outlived reports whether an object put at that time is older than the time for which replay
// orders are kept.
func (v *verifier) outlived(put time.Time) bool { return v.now.Sub(put) > v.cfg.Retain }

// retainRaised describes another possible reason for an object that is too young for its replay's
// order to be deleted: it is not recorded how long orders were kept before.
const retainRaised = "; or a replay put it, and its order expired before staging.retain was raised: then nothing is wrong"

// forgotten returns the receipt of a replay that may have put the object, if that replay's order
// has been deleted: by its metadata the object is the file, but its bytes are not those of receipt
// r. Nothing is known about its content.
func (o *file) forgotten(info objstore.Info, r delivery.Receipt) (delivery.Receipt, bool) {
	sum := info.Metadata["sha256"]
	if info.Size > replay.MaxBytes(o.f) || sum == r.SHA256 && info.Size != r.Bytes {
		return r, false
	}
	r.Bytes, r.ETag, r.SHA256 = info.Size, info.ETag, sum
	return r, o.changed(info, r) == ""
}

// slowestBody, plus two minutes, bounds how long a body may take: its server is a customer's, who
// could otherwise keep Verify busy forever, byte by byte.
const slowestBody = 32 << 10 // 32 KiB a second

// errSlow is the reason for giving up a body.
var errSlow = fmt.Errorf("it comes at less than %d KiB a second", slowestBody>>10)

// content reads an object in a bucket, and says what is wrong with it, or nothing.
func (o *file) content(ctx context.Context, store objstore.Store, r delivery.Receipt) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute+time.Duration(r.Bytes)*time.Second/slowestBody, errSlow)
	defer cancel()
	f := *o.f
	f.GzipBytes, f.SHA256 = r.Bytes, r.SHA256
	wrong, err := readObject(ctx, func() (io.ReadCloser, error) {
		body, _, err := objstore.GetSteadily(ctx, store, r.Key)
		return body, err
	}, &f)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return "it was deleted just now", nil
	case err != nil || len(wrong) == 0:
		return "", err
	}
	return wrong[0], nil
}

// logIDs maps the part of file names that identifies a log to that log.
func logIDs(logs []ledger.Log) map[string]ledger.Log {
	ids := make(map[string]ledger.Log, len(logs))
	for _, l := range logs {
		ids[logID(delivery.FileName(l, &ledger.File{SHA256: "0000000"}))] = l
	}
	return ids
}
