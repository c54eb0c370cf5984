package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
	"github.com/sealift/sealift/pkg/shell"
)

// buckets are the destinations' buckets, opened when first needed.
type buckets struct {
	v *verifier

	mu            sync.Mutex // guards byDestination
	byDestination map[string]*bucket
}

// bucket is one destination's bucket, and what was found in it.
type bucket struct {
	Bucket
	once sync.Once
	id   string

	mu               sync.Mutex // guards all fields below
	unreadable       bool
	missing          bool // it does not exist, and that has not been reported yet
	failures         int  // objects that failed in a row
	objectsPerFolder map[folder]int64
}

// maxObjectFailures is the number of objects failing in a row after which it is not the objects'
// fault: the bucket is then left alone.
const maxObjectFailures = 10

// folder is one day of a source.
type folder struct {
	source string
	day    int64
}

// open opens the bucket of a destination. A bucket that cannot be listed is not read, because it
// would give the same answer for an object that is missing as for one that is denied.
func (bs *buckets) open(ctx context.Context, dest string) *bucket {
	bs.mu.Lock()
	b := bs.byDestination[dest]
	if b == nil {
		b = &bucket{id: dest, objectsPerFolder: map[folder]int64{}}
		bs.byDestination[dest] = b
	}
	bs.mu.Unlock()
	b.once.Do(func() { bs.connect(ctx, b) })
	return b
}

func (bs *buckets) connect(ctx context.Context, b *bucket) {
	if bs.v.deps.Bucket == nil {
		b.unreadable = true
		return
	}
	var err error
	if b.Bucket, err = bs.v.deps.Bucket(ctx, b.id); err == nil {
		b.Store = objstore.WithReadRetries(b.Store)
		_, err = b.Store.List(ctx, b.root(), "", 1)
	}
	switch {
	case err == nil:
		bs.v.report.updateDestination(b.id, func(d *Destination) { d.Bucket = bucketRead })
		return
	case errors.Is(err, ErrNoDestination):
		b.unreadable = true
		bs.v.report.updateDestination(b.id, func(d *Destination) { d.Why = err.Error() }) // its bucket is not looked at
		return
	case !errors.Is(err, objstore.ErrDenied) && !errors.Is(err, objstore.ErrNoBucket):
		bs.v.report.addUnread(fmt.Sprintf("%s: its bucket: %v", b.id, err))
	}
	bs.markUnreadable(b, err)
}

// site is a place in a bucket, and the workspace that it belongs to: destinations of one workspace
// may share a place.
type site struct{ workspace, server, name, prefix string }

func (b *bucket) site() site { return site{delivery.WorkspaceOf(b.id), b.Server, b.Name, b.Prefix} }

// root is the prefix of everything of ours.
func (b *bucket) root() string {
	if b.Prefix == "" {
		return "segment-logs/"
	}
	return b.Prefix + "/segment-logs/"
}

func (bs *buckets) markUnreadable(b *bucket, err error) {
	b.mu.Lock()
	b.unreadable, b.missing = true, errors.Is(err, objstore.ErrNoBucket)
	b.mu.Unlock()
	bs.v.report.updateDestination(b.id, func(d *Destination) { d.Bucket, d.Why = bucketUnreadable, err.Error() })
}

// recordFailure records that an object could not be read. One object that is denied says nothing
// about the others: it may have another owner, or be encrypted with another key.
func (bs *buckets) recordFailure(b *bucket, where string, err error) {
	bs.v.report.addUnread(fmt.Sprintf("%s: %v", where, err))
	bs.countUnseen(b)
	b.mu.Lock()
	b.failures++
	giveUp := b.failures == maxObjectFailures
	b.mu.Unlock()
	if giveUp {
		bs.markUnreadable(b, err)
	}
}

// resetFailures records that an object could be read, as far as required.
func (b *bucket) resetFailures() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failures = 0
}

// verifyObject compares the object in the bucket with the file and its receipt.
//
// Invariant: I8, I9.
func (bs *buckets) verifyObject(ctx context.Context, o *file, dest string, r delivery.Receipt) error {
	b := bs.open(ctx, dest)
	b.mu.Lock()
	unreadable, missing := b.unreadable, b.missing && r.Bucket == b.Name
	b.missing = b.missing && !missing
	b.mu.Unlock()
	if missing { // one problem for all of its objects
		bs.v.report.addFixableProblem(BucketMissing, bs.v.replayCommand("--destination "+shell.QuoteIfNeeded(dest)), "s3://"+b.Name,
			"files were delivered to it, as %s at %s, and it does not exist", describeFile(o.ref), time.UnixMilli(r.At).UTC().Format(time.RFC3339))
	}
	switch {
	case unreadable:
		bs.countUnseen(b)
		return nil
	case r.Bucket != b.Name:
		bs.v.report.updateDestination(dest, func(d *Destination) { d.countFormer(r.Bucket) })
		return nil
	}
	where := fmt.Sprintf("s3://%s/%s", b.Name, r.Key)
	info, err := b.Store.Head(ctx, r.Key)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		b.resetFailures()
		bs.v.report.addFixableProblem(ObjectMissing, o.replayToCommand(dest), where, "delivered at %s as %s says, and not there", time.UnixMilli(r.At).UTC().Format(time.RFC3339), describeFile(o.ref))
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, objstore.ErrDenied) && o.receipts != nil && !strings.HasPrefix(r.Key, b.root()): // the prefix was another, and so were the rights
		root, _, _ := strings.Cut(r.Key, "segment-logs/")
		bs.v.report.updateDestination(dest, func(d *Destination) { d.countFormer(strings.TrimSuffix(b.Name+"/"+root, "/")) })
		return nil
	case err != nil:
		bs.recordFailure(b, where, err)
		return nil
	}
	put, mismatch, err := bs.findPut(ctx, b, o, info, r)
	if err != nil {
		return err
	}
	if mismatch == "" && bs.v.cfg.Deep {
		mismatch, err = o.contentMismatch(ctx, b.Store, put)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, objstore.ErrDenied): // for each such object: what can be checked without reading it has been checked
			bs.v.report.addUnread(fmt.Sprintf("%s: %v", where, err))
			bs.countUnseen(b)
			return nil
		case err != nil:
			bs.recordFailure(b, where, err)
			return nil
		}
	}
	b.resetFailures()
	if mismatch != "" {
		bs.v.report.addFixableProblem(ObjectChanged, o.replayToCommand(dest)+" --force", where, "%s (%s)", mismatch, describeFile(o.ref))
	}
	bs.countObject(b, o, info, r)
	return nil
}

// findPut returns the receipt of the PUT that stored the present bytes of an object, which is r or
// that of a replay, and what is wrong with the object according to its HEAD, or nothing.
func (bs *buckets) findPut(ctx context.Context, b *bucket, o *file, info objstore.Info, r delivery.Receipt) (put delivery.Receipt, mismatch string, err error) {
	mismatch = o.metadataMismatch(info, r)
	if mismatch != "" && r.Existed { // the bytes of r, if they were rebuilt, may be those that were refused
		staged := r
		if staged.SHA256, staged.Bytes = o.f.SHA256, o.f.GzipBytes; o.metadataMismatch(info, staged) == "" {
			return staged, "", nil
		}
	}
	if mismatch == "" || r.Key != delivery.ObjectKey(b.Prefix, o.log, o.f) {
		return r, mismatch, nil
	}
	// A replay may have put it again, with lines that were compressed anew: the latest counts.
	replayReceipts, err := o.replayReceipts(ctx, b.id)
	if err != nil {
		return r, "", err
	}
	for _, replayed := range slices.Backward(replayReceipts) {
		if o.metadataMismatch(info, replayed) == "" {
			return replayed, "", nil
		}
	}
	expired, plausible := o.expiredReplayReceipt(info, r)
	switch {
	case !plausible:
		return r, mismatch, nil
	case !bs.v.orderExpired(info.LastModified):
		return r, mismatch + retainRaisedHint, nil
	case !bs.v.cfg.Deep: // Deep reads its lines
		bs.v.report.updateDestination(b.id, func(d *Destination) { d.Past++ })
	}
	return expired, "", nil
}

// countObject counts an object that was compared with receipt r.
func (bs *buckets) countObject(b *bucket, o *file, info objstore.Info, r delivery.Receipt) {
	if o.receipts == nil { // a replay's
		bs.v.report.updateDestination(b.id, func(d *Destination) { d.ReplayedObjects++ })
		return
	}
	bs.v.report.updateDestination(b.id, func(d *Destination) { d.Objects++ })
	if r.Key == delivery.ObjectKey(b.Prefix, o.log, o.f) && !info.LastModified.After(o.now) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.objectsPerFolder[folder{o.f.Source, o.f.Stream().Day()}]++
	}
}

func (bs *buckets) countUnseen(b *bucket) {
	bs.v.report.updateDestination(b.id, func(d *Destination) { d.Unseen++ })
}

// metadataMismatch says what is wrong with an object according to its HEAD, or nothing.
func (o *file) metadataMismatch(info objstore.Info, r delivery.Receipt) string {
	switch {
	case info.Size != r.Bytes:
		return fmt.Sprintf("it has %d bytes, and had %d when it was put", info.Size, r.Bytes)
	case r.ETag != "" && info.ETag != r.ETag:
		return fmt.Sprintf("its ETag is %s, and was %s when it was put", info.ETag, r.ETag)
	case info.ContentType != "text/plain" || info.ContentEncoding != "gzip":
		return fmt.Sprintf("its content type is %q and its encoding %q, not text/plain and gzip", info.ContentType, info.ContentEncoding)
	}
	metadata := delivery.ObjectMetadata(o.log, o.f)
	metadata["sha256"] = r.SHA256
	for name, want := range metadata {
		if got := info.Metadata[name]; got != want {
			return fmt.Sprintf("its metadata says %s %q, the ledger %q", name, got, want)
		}
	}
	return ""
}

// orderExpired reports whether an object put at that time is older than the time for which replay
// orders are kept.
func (v *verifier) orderExpired(put time.Time) bool { return time.Since(put) > v.cfg.Retain }

// retainRaisedHint describes another possible reason for an object that is too young for its
// replay's order to be deleted: it is not recorded how long orders were kept before.
const retainRaisedHint = "; or a replay put it, and its order expired before staging.retain was raised: then nothing is wrong"

// expiredReplayReceipt returns the receipt of a replay that may have put the object, if that
// replay's order has been deleted: by its metadata the object is the file, but its bytes are not
// those of receipt r. Nothing is known about its content.
func (o *file) expiredReplayReceipt(info objstore.Info, r delivery.Receipt) (delivery.Receipt, bool) {
	sum := info.Metadata["sha256"]
	if info.Size > replay.MaxBytes(o.f) || sum == r.SHA256 && info.Size != r.Bytes {
		return r, false
	}
	r.Bytes, r.ETag, r.SHA256 = info.Size, info.ETag, sum
	return r, o.metadataMismatch(info, r) == ""
}

// minBytesPerSecond, plus two minutes, bounds how long a body may take: its server is a customer's,
// who could otherwise keep Verify busy forever, byte by byte.
const minBytesPerSecond = 32 << 10 // 32 KiB a second

// errSlowBody is the reason for giving up a body.
var errSlowBody = fmt.Errorf("it comes at less than %d KiB a second", minBytesPerSecond>>10)

// contentMismatch reads an object in a bucket, and says what is wrong with it, or nothing.
func (o *file) contentMismatch(ctx context.Context, store objstore.Store, r delivery.Receipt) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute+time.Duration(r.Bytes)*time.Second/minBytesPerSecond, errSlowBody)
	defer cancel()
	f := *o.f
	f.GzipBytes, f.SHA256 = r.Bytes, r.SHA256
	mismatches, err := checkBodyWithRetries(ctx, func() (io.ReadCloser, error) {
		body, _, err := objstore.GetSteadily(ctx, store, r.Key)
		return body, err
	}, &f)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		return "it was deleted just now", nil
	case err != nil || len(mismatches) == 0:
		return "", err
	}
	return mismatches[0], nil
}

// logIDs maps the part of file names that identifies a log to that log.
func logIDs(logs []ledger.Log) map[string]ledger.Log {
	ids := make(map[string]ledger.Log, len(logs))
	for _, l := range logs {
		ids[logID(delivery.FileName(l, &ledger.File{SHA256: "0000000"}))] = l
	}
	return ids
}
