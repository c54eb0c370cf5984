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

// bucket is one destination's, and what was found in it.
type bucket struct {
	Bucket
	once sync.Once
	id   string

	mu       sync.Mutex // guards all below
	closed   bool       // it cannot be read
	failures int        // of objects in a row
	present  map[folder]int64
}

// mostFailures of objects in a row are not theirs: the bucket is left alone.
const mostFailures = 10

// folder is a source's day.
type folder struct {
	source string
	day    int64
}

// get opens the bucket of a destination. One that cannot be listed is not read:
// it would answer for an object that is not there as for one that is denied.
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
		one.Store = objstore.Patient(one.Store)
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

// site is a place in a bucket, and whose it is: destinations of one workspace
// may share one.
type site struct{ workspace, server, name, prefix string }

func (b *bucket) site() site { return site{workspaceOf(b.id), b.Server, b.Name, b.Prefix} }

// root is below what everything of ours lies.
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

// failed notes that an object could not be read. One that is denied says nothing
// of the others: it may be of another owner, or under another key.
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

// answered notes that an object could be read, all of it that was to be.
func (b *bucket) answered() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}

// object holds the object in the bucket against the file and its receipt.
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
	put := r // what put the bytes that are there
	wrong := o.changed(info, r)
	if wrong != "" && r.Key == delivery.ObjectKey(one.Prefix, o.log, o.f) {
		// A replay may have put it again, from lines compressed anew.
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
			if !b.v.cfg.Deep { // which reads its lines
				b.v.report.destination(dest, func(d *Destination) { d.Past++ })
			}
		}
	}
	if wrong == "" && b.v.cfg.Deep {
		if wrong, err = o.content(ctx, one.Store, put); ctx.Err() != nil {
			return ctx.Err()
		} else if errors.Is(err, objstore.ErrDenied) { // at once: all that can be seen without reading is
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
	if r.Key == delivery.ObjectKey(one.Prefix, o.log, o.f) && o.receipts != nil && !info.LastModified.After(o.now) { // not a replay's
		one.present[folder{o.f.Source, o.f.Stream().Day()}]++
	}
	one.mu.Unlock()
	b.v.report.destination(dest, func(d *Destination) { d.Objects++ })
	return nil
}

// changed says what an object's head tells against it, or nothing.
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

// outlived reports whether what was put then has been there for longer than the
// orders of replays are kept.
func (v *verifier) outlived(put time.Time) bool { return v.now.Sub(put) > v.cfg.Retain }

// retainRaised says what else may be the reason of what is there too early for the
// order to be forgotten: for how long orders were kept before nothing says.
const retainRaised = "; or a replay put it, and its order expired before staging.retain was raised: then nothing is wrong"

// forgotten returns the receipt of a replay that may have put the object, if its
// order was forgotten since: it is the file by what it says of itself, in other
// bytes than those of receipt r. Of what it holds nothing is known.
func (o *file) forgotten(info objstore.Info, r delivery.Receipt) (delivery.Receipt, bool) {
	sum := info.Metadata["sha256"]
	if info.Size > replay.MaxBytes(o.f) || sum == r.SHA256 && info.Size != r.Bytes {
		return r, false
	}
	r.Bytes, r.ETag, r.SHA256 = info.Size, info.ETag, sum
	return r, o.changed(info, r) == ""
}

// A body may take two minutes, and as long as this rate makes it: its server is a
// customer's, who could keep Verify for ever, byte by byte.
const slowestBody = 32 << 10 // 32 KiB a second

// errSlow is why a body was given up.
var errSlow = fmt.Errorf("it comes at less than %d KiB a second", slowestBody>>10)

// content reads an object of a bucket, and says what is wrong, or nothing.
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

// logIDs are how the names of files tell the log that they are of.
func logIDs(logs []ledger.Log) map[string]ledger.Log {
	ids := make(map[string]ledger.Log, len(logs))
	for _, l := range logs {
		ids[logID(delivery.FileName(l, &ledger.File{SHA256: "0000000"}))] = l
	}
	return ids
}
