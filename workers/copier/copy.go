package copier

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/shell"
)

// goneTries is how often a job is tried whose destination is not in the
// catalog: the appender may have read the catalog before this copier did.
const goneTries = 2

// try does what the job asks for, once. It returns nil if it delivered the file, an
// *ended if it is known what became of the job otherwise, and an *away if something
// of the operator's own did not answer; then nothing is known, and nothing lost.
func (c *Copier) try(ctx context.Context, e errand) error {
	job := e.Job
	entry, err := c.owed(ctx, job)
	if err != nil {
		return err
	}
	f, shared := &entry.Files[job.File.Index], ctx
	ctx, counted := c.counting(ctx, job.Destination)
	defer counted()
	held, err := c.acquire(ctx, job)
	if err != nil {
		return err
	}
	defer c.release(ctx, held)

	// Under the lease, so that what its last holder did is not overlooked: it
	// left a marker, and its receipt may be younger than our listing.
	known, asked, err := c.marked(ctx, delivery.DoneMarker(job.File, job.Destination))
	if err != nil {
		return err
	}
	if known { // of a debt of another entry, if an older ledger was put back and Redis was not cleared
		c.deps.Log.DebugContext(ctx, "job over: Redis says that its receipt exists", "destination", job.Destination, "file", job.File.String())
		return errMoot
	}
	closed, err := c.receipts.closed(ctx, shared, job, entry, held != nil && asked)
	if err != nil {
		return c.stagingFailed(err, "look for the receipt")
	}
	if closed {
		c.mark(ctx, job)
		return errMoot
	}
	t, err := c.target(job)
	if err != nil {
		return err
	}
	var body *spooled
	if job.Attempt == 0 { // its neighbours come, too
		body = c.packs.near(ctx, entry, job.File.Index)
	}
	if body == nil {
		if body, err = c.fetch(ctx, f); err != nil {
			return err
		}
	}
	defer body.remove()
	return c.deliver(ctx, e, t, f, body, held, false, func(r delivery.Receipt) error {
		return c.settle(ctx, r)
	})
}

// settle writes the receipt of a debt, and makes it known to whoever might
// believe a listing of before: a marker tells others.
func (c *Copier) settle(ctx context.Context, r delivery.Receipt) error {
	if err := WriteReceipt(ctx, c.deps.Staging, r); err != nil {
		return err
	}
	job := delivery.Job{File: r.File, Destination: r.Destination}
	c.receipts.written(job)
	c.mark(ctx, job)
	return nil
}

// deliver puts the object, then closes what asked for it.
//
// Invariant: I8, I9, I12. 1. object  2. receipt and marker, by close  3. lease
// 4. offset, by whoever called. A crash after any of them repeats those before,
// and each is harmless when repeated.
func (c *Copier) deliver(ctx context.Context, job errand, t catalog.Target, f *ledger.File, body *spooled, held *lease.Lease,
	overwrite bool, closing func(delivery.Receipt) error) error {
	// A cheap look at our own lease saves a PUT, which else ends with it; what
	// makes a second one harmless is its key, and If-None-Match.
	if held != nil && !held.Held() {
		c.metrics.leaseLost.Inc()
		return errBusy
	}
	begun := time.Now()
	sum := hex.EncodeToString(body.sum[:]) // another than the ledger's if it was rebuilt
	receipt := delivery.Receipt{
		File: job.File, Destination: job.Destination, Outcome: delivery.Delivered,
		Bucket: t.BucketName, Key: delivery.ObjectKey(t.Prefix, job.File.Log(), f),
		SHA256: sum, Bytes: body.size, Records: f.Records, Worker: c.cfg.Worker, Replay: job.Replay, Role: t.RoleARN,
	}
	if held != nil {
		receipt.Fence = held.Fence
	}
	if ablation.On(ablation.ReceiptFirst) {
		_ = closing(receipt)
	}
	obj := objectOf(t.Prefix, job.File.Log(), f, body)
	obj.Overwrite = obj.Overwrite || overwrite
	put, err := c.put(ctx, t, obj, body.size, job, held)
	c.count(job.Destination, countsOf(put, err))
	switch {
	case errors.Is(err, errLost):
		c.metrics.leaseLost.Inc()
		return errBusy
	case errors.Is(err, errYields):
		return errBusy
	case err != nil:
		return failedAs(destination.Judge(err, t))
	}
	// What is left is ours to do: it takes no slot and no room in the spool.
	job.stored()
	body.remove()
	if put.Region != "" && t.Region != "" {
		c.deps.Log.WarnContext(ctx, "the bucket is not in the region that the catalog says; the file was delivered, correct the catalog",
			"destination", job.Destination, "catalog", t.Region, "region", put.Region)
	}
	receipt.ETag, receipt.Existed, receipt.At = put.ETag, put.Existed, time.Now().UnixMilli()
	// Waited for here, under the lease, lest the file is sent again for want
	// of its receipt.
	err = c.patiently(ctx, func() error {
		if err := closing(receipt); err != nil {
			return c.stagingFailed(err, "write the receipt")
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.metrics.delivered(job.Destination, f, put, time.Since(begun))
	c.book.Succeeded(job.Destination)
	c.deps.Log.InfoContext(ctx, "file delivered", "destination", job.Destination, "source", f.Source, "topic", job.File.Topic,
		"partition", job.File.Partition, "file", receipt.Key, "bytes", body.size, "records", f.Records,
		"existed", put.Existed, "attempt", job.Attempt, "replay", job.Replay, "took", time.Since(begun))
	return nil
}

// objectOf is what becomes of a file at a customer.
func objectOf(prefix string, l ledger.Log, f *ledger.File, body *spooled) destination.Object {
	named := *f
	if ablation.On(ablation.KeyPerAttempt) {
		named.First = time.Now().UnixNano() // the name is made of it
	}
	metadata := delivery.ObjectMetadata(l, f)
	metadata["sha256"] = hex.EncodeToString(body.sum[:])
	return destination.Object{
		Key: delivery.ObjectKey(prefix, l, &named), Metadata: metadata, Body: body, SHA256: body.sum,
		Overwrite: ablation.On(ablation.KeyPerAttempt),
	}
}

// owed returns the entry of the file if the job is honest.
//
// Invariant: I7. The job is a pointer, written by anyone who may write to the
// topic; what is owed to whom stands in the ledger.
func (c *Copier) owed(ctx context.Context, job delivery.Job) (*ledger.Entry, error) {
	if job.Replay != "" {
		return nil, c.forged(ctx, job, "a replay's job has no business here")
	}
	e, err := c.entry(ctx, job)
	if err != nil {
		return nil, err
	}
	f := &e.Files[job.File.Index]
	if !owes(f, job.Destination) && !ablation.On(ablation.JobIsAuthority) {
		return nil, c.forged(ctx, job, "the ledger does not owe it")
	}
	return e, nil
}

func owes(f *ledger.File, destination string) bool { return slices.Contains(f.Owed, destination) }

// newEntries keeps entries, for the jobs of one come together.
func newEntries(staging objstore.Store, room int) *ledger.Cache {
	return ledger.NewCache(staging, room, func(e *ledger.Entry) {
		e.SealedThrough = nil // of a partition with many streams it is most of the entry, and no copier's
	})
}

// entry returns the ledger entry with the job's file.
func (c *Copier) entry(ctx context.Context, job delivery.Job) (*ledger.Entry, error) {
	rctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e, err := c.entries.Entry(rctx, job.File.Log(), job.File.Seq)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, c.forged(ctx, job, "no such ledger entry")
	case errors.Is(err, ledger.ErrCorrupt):
		return nil, fileFailed(destination.Permanent, "ledger_corrupt", err.Error(),
			"restore the ledger entry from the staging bucket's versions; `sealift ledger show` shows its neighbours")
	case err != nil:
		return nil, c.stagingFailed(err, "read the ledger")
	case job.File.Index >= len(e.Files):
		return nil, c.forged(ctx, job, "the entry has no such file")
	}
	return e, nil
}

func (c *Copier) forged(ctx context.Context, job delivery.Job, why string) error {
	c.metrics.forged.Inc()
	c.deps.Log.WarnContext(ctx, "copy job dropped", "why", why, "destination", job.Destination, "file", job.File.String())
	return errMoot
}

// target returns the destination if something may be sent there.
func (c *Copier) target(job delivery.Job) (catalog.Target, error) {
	const absent = "the destination is not in the catalog"
	t, ok := c.deps.Catalog.Snapshot().Destination(job.Destination)
	switch {
	case !ok && job.Attempt < goneTries:
		return t, failedAs(destination.Passing(destination.OfFile, delivery.ReasonGone, absent, "").Waiting("the catalog may be late"))
	case !ok:
		return t, fileFailed(destination.Hopeless, delivery.ReasonGone, absent, "put it back"+thenAgain(job)+orGiveUp(job))
	case !t.IsEnabled:
		return t, fileFailed(destination.Hopeless, delivery.ReasonDisabled, "disabled", "enable the destination"+thenAgain(job))
	case t.Refused != "":
		return t, fileFailed(destination.Permanent, delivery.ReasonRefused, "the catalog is wrong: "+t.Refused, "correct the catalog (`sealift catalog validate`) and apply it")
	}
	return t, nil
}

// thenAgain is what is left to do when the catalog was mended: the auditor sees
// that by itself, for what the ledger owes.
func thenAgain(job delivery.Job) string {
	if job.Replay != "" {
		return fmt.Sprintf(", then run `%s`", again(job))
	}
	return "; the auditor then tries it again"
}

// orGiveUp is the other way out for a destination that is gone.
func orGiveUp(job delivery.Job) string {
	if job.Replay != "" {
		return ""
	}
	return fmt.Sprintf("; or give its files up: `sealift redrive --destination %s --skip`", shell.Word(job.Destination))
}

// errUnstaged says that the staged file is missing or damaged.
var errUnstaged = errors.New("the staged file cannot be used")

// fetch spools the staged file. It tries twice to get the right bytes.
func (c *Copier) fetch(ctx context.Context, f *ledger.File) (*spooled, error) {
	body, err := spool(ctx, c.deps.Staging, c.cfg.SpoolDir, f)
	if errors.Is(err, errDamaged) {
		body, err = spool(ctx, c.deps.Staging, c.cfg.SpoolDir, f)
	}
	unstaged := func(how, reason, cause string) error {
		c.metrics.staged.WithLabelValues(how).Inc()
		return fmt.Errorf("%w: %w", errUnstaged, fileFailed(destination.Permanent, reason, cause,
			"restore it from the staging bucket's versions, or rebuild it from Kafka; nothing of it was sent"))
	}
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, objstore.ErrNotFound):
		return nil, unstaged("missing", "staged_missing", fmt.Sprintf("staged object %q is missing", f.StagedKey))
	case errors.Is(err, errDamaged):
		return nil, unstaged("damaged", "staged_damaged", err.Error())
	}
	return nil, c.spoolFailed(err, "read the staged file")
}

// spoolFailed judges why a file could not be spooled: because of staging, or of the
// copier's own disk.
func (c *Copier) spoolFailed(err error, doing string) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return c.stagingFailed(err, doing)
	}
	return fileFailed(destination.Transient, "spool", err.Error(), "give the copier's disk room (copier.spool_dir)")
}

// stagingFailed judges an error of the operator's own bucket, which is never
// held against a destination.
func (c *Copier) stagingFailed(err error, doing string) error {
	if errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, objstore.ErrConflict) || passes(err) {
		return &away{c.staging, fmt.Errorf("%s: %w", doing, err)}
	}
	return fileFailed(destination.Transient, "staging", fmt.Sprintf("%s: %v", doing, err),
		"give the copier's principal s3:GetObject and s3:PutObject on the staging bucket")
}

// passes tells whether staging refuses us for what is mended by itself: credentials are renewed,
// and requests are dated by its clock when they were refused for ours.
func passes(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e) && (e.Outlived() || e.Skewed())
}

// WriteReceipt closes a debt for good. That it is closed already is fine.
func WriteReceipt(ctx context.Context, staging objstore.Store, r delivery.Receipt) error {
	return store(ctx, staging, delivery.ReceiptKey(r.File, r.Destination), r.Encode(), true)
}

// store writes a note of ours to staging. That it is there already is fine.
func store(ctx context.Context, staging objstore.Store, key string, body []byte, ifAbsent bool) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := staging.Put(ctx, key, bytes.NewReader(body), objstore.PutOptions{IfAbsent: ifAbsent, ContentType: "application/json"})
	if errors.Is(err, objstore.ErrExists) {
		return nil
	}
	return err
}

// exists is objstore.Exists in the time of one request.
func exists(ctx context.Context, staging objstore.Store, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return objstore.Exists(ctx, staging, key)
}
