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

// maxTriesOutsideCatalog is how often a job is tried whose destination is not in the catalog: this
// copier's catalog may be older than the appender's.
const maxTriesOutsideCatalog = 2

// try does once what the job asks for. It returns nil if it delivered the file, an *outcomeError if
// the outcome of the job is known otherwise, and an *awayError if something on the operator's side
// did not answer. In the last case nothing is known about the outcome, and nothing is lost.
func (c *Copier) try(ctx context.Context, e attempt) error {
	job := e.Job
	entry, err := c.owedEntry(ctx, job)
	if err != nil {
		return err
	}
	f, shared := &entry.Files[job.File.Index], ctx
	ctx, addUp := c.countRequests(ctx, job.Destination)
	defer addUp()
	done := delivery.DoneMarker(job.File, job.Destination)
	held, err := c.acquireDebt(ctx, job, done)
	if err != nil {
		return err
	}
	marker := "" // done, once the debt is closed
	defer func() { c.release(ctx, held, marker) }()

	// Look under the lease, so as not to miss what its last holder did: it left a marker, and its
	// receipt may be newer than our listing.
	closed, err := c.receipts.lookUp(ctx, shared, job, entry, held != nil)
	if err != nil {
		return c.stagingFailed(err, "look for the receipt")
	}
	if closed {
		marker = done
		return errMoot
	}
	t, err := c.target(job)
	if err != nil {
		return err
	}
	var body *spooledFile
	if job.Attempt == 0 { // the jobs of neighbouring files come at about the same time
		body = c.packs.readWithNeighbours(ctx, entry, job.File.Index)
	}
	if body == nil {
		if body, err = c.fetch(ctx, f); err != nil {
			return err
		}
	}
	defer body.remove()
	return c.deliver(ctx, e, t, f, body, held, false, func(r delivery.Receipt) error {
		if err := c.receipts.write(ctx, r, entry); err != nil {
			return err
		}
		marker = done
		return nil
	})
}

// deliver puts the object, then closes the job by calling closeJob.
//
// Invariant: I8, I9, I12. The order is: 1. object  2. receipt, by closeJob  3. marker and lease
// 4. offset, by the caller. After a crash the steps before it are repeated, and each is harmless
// when repeated.
func (c *Copier) deliver(ctx context.Context, job attempt, t catalog.Target, f *ledger.File, body *spooledFile, held *lease.Lease,
	overwrite bool, closeJob func(delivery.Receipt) error) error {
	// Checking our own lease is cheap and saves a PUT that would be cancelled. What makes a second
	// PUT harmless is the key and If-None-Match.
	if held != nil && !held.Held() {
		c.metrics.leaseLost.Inc()
		return errBusy
	}
	start := time.Now()
	sum := hex.EncodeToString(body.sum[:]) // differs from the ledger's if the file was rebuilt
	receipt := delivery.Receipt{
		File: job.File, Destination: job.Destination, Outcome: delivery.Delivered,
		Bucket: t.BucketName, Key: delivery.ObjectKey(t.Prefix, job.File.Log(), f),
		SHA256: sum, Bytes: body.size, Records: f.Records, Worker: c.cfg.Worker, Replay: job.Replay, Role: t.RoleARN,
	}
	if held != nil {
		receipt.Fence = held.Fence
	}
	if ablation.On(ablation.ReceiptFirst) {
		_ = closeJob(receipt)
	}
	obj := objectOf(t.Prefix, job.File.Log(), f, body)
	obj.Overwrite = obj.Overwrite || overwrite
	put, err := c.put(ctx, t, obj, body.size, job, held)
	c.addCounts(job.Destination, requestCounts(put, err))
	switch {
	case errors.Is(err, errLeaseLost):
		c.metrics.leaseLost.Inc()
		return errBusy
	case errors.Is(err, errMadeRoom):
		return errBusy
	case err != nil:
		return verdictError(destination.Judge(err, t))
	}
	// What is left concerns only us: it takes no slot and no room in the spool.
	job.onStored()
	c.book.RecordSuccess(job.Destination)
	body.remove()
	if put.Region != "" && t.Region != "" {
		c.deps.Log.WarnContext(ctx, "the bucket is not in the region that the catalog says; the file was delivered, correct the catalog",
			"destination", job.Destination, "catalog", t.Region, "region", put.Region)
	}
	took := time.Since(start)
	receipt.ETag, receipt.Existed, receipt.At = put.ETag, put.Existed, time.Now().UnixMilli()
	// Wait here, under the lease, so that the file is not sent again because its receipt is
	// missing.
	err = c.repeatThroughOutages(ctx, func() error {
		if err := closeJob(receipt); err != nil {
			return c.stagingFailed(err, "write the receipt")
		}
		return nil
	})
	if err != nil {
		return err
	}
	c.metrics.recordDelivery(job.Destination, f, put, took)
	c.deps.Log.InfoContext(ctx, "file delivered", "destination", job.Destination, "source", f.Source, "topic", job.File.Topic,
		"partition", job.File.Partition, "file", receipt.Key, "bytes", body.size, "records", f.Records,
		"existed", put.Existed, "attempt", job.Attempt, "replay", job.Replay, "took", took)
	return nil
}

// objectOf returns the object that a file becomes at a customer.
func objectOf(prefix string, l ledger.Log, f *ledger.File, body *spooledFile) destination.Object {
	named := *f
	if ablation.On(ablation.KeyPerAttempt) {
		named.First = time.Now().UnixNano() // the name contains it
	}
	metadata := delivery.ObjectMetadata(l, f)
	metadata["sha256"] = hex.EncodeToString(body.sum[:])
	return destination.Object{
		Key: delivery.ObjectKey(prefix, l, &named), Metadata: metadata, Body: body, SHA256: body.sum,
		Overwrite: ablation.On(ablation.KeyPerAttempt),
	}
}

// owedEntry returns the entry of the file if the job is genuine.
//
// Invariant: I7. The job is only a pointer, and anyone with access to the topic may have written
// it. What is owed to whom is in the ledger.
func (c *Copier) owedEntry(ctx context.Context, job delivery.Job) (*ledger.Entry, error) {
	if job.Replay != "" {
		return nil, c.dropForged(ctx, job, "a replay's job has no business here")
	}
	e, err := c.entry(ctx, job)
	if err != nil {
		return nil, err
	}
	f := &e.Files[job.File.Index]
	if !isOwed(f, job.Destination) && !ablation.On(ablation.JobIsAuthority) {
		return nil, c.dropForged(ctx, job, "the ledger does not owe it")
	}
	return e, nil
}

func isOwed(f *ledger.File, destination string) bool { return slices.Contains(f.Owed, destination) }

// newEntries returns a cache of entries, because the jobs of an entry come together.
func newEntries(staging objstore.Store, room int) *ledger.Cache {
	return ledger.NewCache(staging, room, func(e *ledger.Entry) {
		e.SealedThrough = nil // most of the entry if the partition has many streams; copiers do not need it
	})
}

// entry returns the ledger entry with the job's file.
func (c *Copier) entry(ctx context.Context, job delivery.Job) (*ledger.Entry, error) {
	rctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	e, err := c.entries.Entry(rctx, job.File.Log(), job.File.Seq)
	switch {
	case errors.Is(err, ledger.ErrNotFound):
		return nil, c.dropForged(ctx, job, "no such ledger entry")
	case errors.Is(err, ledger.ErrTooNew): // soon, another copier or this one will be able to read it
		return nil, fileFailed(destination.Transient, "ledger_too_new", err.Error(), "upgrade the copiers")
	case errors.Is(err, ledger.ErrCorrupt):
		return nil, fileFailed(destination.Permanent, "ledger_corrupt", err.Error(),
			"restore the ledger entry from the staging bucket's versions; `sealift ledger show` shows its neighbours")
	case err != nil:
		return nil, c.stagingFailed(err, "read the ledger")
	case job.File.Index >= len(e.Files):
		return nil, c.dropForged(ctx, job, "the entry has no such file")
	}
	return e, nil
}

func (c *Copier) dropForged(ctx context.Context, job delivery.Job, why string) error {
	c.metrics.forged.Inc()
	c.deps.Log.WarnContext(ctx, "copy job dropped", "why", why, "destination", job.Destination, "file", job.File.String())
	return errMoot
}

// target returns the destination if something may be sent there.
func (c *Copier) target(job delivery.Job) (catalog.Target, error) {
	const absent = "the destination is not in the catalog"
	t, ok := c.deps.Catalog.Snapshot().Destination(job.Destination)
	switch {
	case !ok && job.Attempt < maxTriesOutsideCatalog:
		return t, verdictError(destination.TransientVerdict(destination.ScopeFile, delivery.ReasonGone, absent, "").WithRetry("the catalog may be late"))
	case !ok:
		return t, fileFailed(destination.Hopeless, delivery.ReasonGone, absent, "put it back"+retryAdvice(job)+giveUpAdvice(job))
	case !t.IsEnabled:
		return t, fileFailed(destination.Hopeless, delivery.ReasonDisabled, "disabled", "enable the destination"+retryAdvice(job))
	case t.RefusalReason != "":
		return t, fileFailed(destination.Permanent, delivery.ReasonRefused, "the catalog is wrong: "+t.RefusalReason, "correct the catalog (`sealift catalog validate`) and apply it")
	}
	return t, nil
}

// retryAdvice says what to do after the catalog was corrected. For what the ledger owes, the
// auditor notices that by itself.
func retryAdvice(job delivery.Job) string {
	if job.Replay != "" {
		return fmt.Sprintf(", then run `%s`", retryCommand(job))
	}
	return "; the auditor then tries it again"
}

// giveUpAdvice is the alternative for a destination that is gone for good.
func giveUpAdvice(job delivery.Job) string {
	if job.Replay != "" {
		return ""
	}
	return fmt.Sprintf("; or give its files up: `sealift redrive --destination %s --skip`", shell.QuoteIfNeeded(job.Destination))
}

// errStagedUnusable says that the staged file is missing or damaged.
var errStagedUnusable = errors.New("the staged file cannot be used")

// fetch spools the staged file. If the bytes are wrong, it tries once more.
func (c *Copier) fetch(ctx context.Context, f *ledger.File) (*spooledFile, error) {
	body, err := spoolStaged(ctx, c.deps.Staging, c.cfg.SpoolDir, f)
	if errors.Is(err, errDamaged) {
		body, err = spoolStaged(ctx, c.deps.Staging, c.cfg.SpoolDir, f)
	}
	unusable := func(how, reason, cause string) error {
		c.metrics.staged.WithLabelValues(how).Inc()
		return fmt.Errorf("%w: %w", errStagedUnusable, fileFailed(destination.Permanent, reason, cause,
			"restore it from the staging bucket's versions, or deliver it from Kafka with the command that `sealift verify --deep` prints; nothing of it was sent"))
	}
	switch {
	case err == nil:
		return body, nil
	case errors.Is(err, objstore.ErrNotFound):
		return nil, unusable("missing", "staged_missing", fmt.Sprintf("staged object %q is missing", f.StagedKey))
	case errors.Is(err, errDamaged):
		return nil, unusable("damaged", "staged_damaged", err.Error())
	}
	return nil, c.spoolFailed(err, "read the staged file")
}

// spoolFailed decides why a file could not be spooled: because of staging or of the copier's own
// disk.
func (c *Copier) spoolFailed(err error, doing string) error {
	var e *objstore.Error
	if errors.As(err, &e) {
		return c.stagingFailed(err, doing)
	}
	return fileFailed(destination.Transient, "spool", err.Error(), "give the copier's disk room (copier.spool_dir)")
}

// stagingFailed classifies an error of the operator's own bucket, which never counts against a
// destination.
func (c *Copier) stagingFailed(err error, doing string) error {
	if errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, objstore.ErrConflict) || isPassing(err) {
		return &awayError{c.staging, fmt.Errorf("%s: %w", doing, err)}
	}
	return fileFailed(destination.Transient, "staging", fmt.Sprintf("%s: %v", doing, err),
		"give the copier's principal s3:GetObject and s3:PutObject on the staging bucket")
}

// isPassing reports whether staging's refusal will pass by itself: expired credentials are renewed,
// and after a refusal because of our clock, requests are dated by the store's clock.
func isPassing(err error) bool {
	var e *objstore.Error
	return errors.As(err, &e) && (e.CredentialsExpired() || e.ClockSkewed())
}

// putNote stores a note in staging, in place of any that is there.
func putNote(ctx context.Context, staging objstore.Store, key string, note []byte) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := staging.Put(ctx, key, bytes.NewReader(note), objstore.PutOptions{ContentType: "application/json"})
	return err
}

// exists is objstore.Exists with requestTimeout.
func exists(ctx context.Context, staging objstore.Store, key string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return objstore.Exists(ctx, staging, key)
}
