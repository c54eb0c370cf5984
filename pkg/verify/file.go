package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/shell"
)

// file is the verification of one file of the ledger.
type file struct {
	*walk
	e        *ledger.Entry
	f        *ledger.File
	ref      delivery.FileRef
	receipts receiptSet
	staged   int64  // size of the staged object in the listing, or -1
	view     string // the view of the replay whose receipt is checked
}

func (o *file) verify(ctx context.Context) error {
	there, err := o.verifyStaged(ctx)
	if err != nil {
		return err
	}
	if there && o.cfg.Deep {
		if err := o.deep(ctx); err != nil {
			return err
		}
	}
	for _, dest := range o.f.Owed {
		if !o.looksAt(dest) {
			continue
		}
		if err := o.debt(ctx, dest); err != nil {
			return err
		}
	}
	for dest, listed := range o.receipts[o.ref.Index] {
		if !o.looksAt(dest) {
			continue
		}
		if err := o.receipt(ctx, listed.Key, dest); err != nil {
			return err
		}
	}
	return nil
}

// replay returns the command that delivers the file again. At the turn of an hour the source may
// have another file in the same range of offsets, which is then delivered as well.
func (o *file) replay() string {
	command := "sealift replay"
	if o.cfg.Flags != "" {
		command += " " + o.cfg.Flags
	}
	return fmt.Sprintf("%s --source %s --offsets %s", command, o.f.Source, delivery.Range{Partition: o.log.Partition, First: o.f.First, Last: o.f.Last})
}

// fromKafka returns the command that replays the file to everyone it is owed to. It insists on
// Kafka, because a replay that may choose would use a staged object of which only the content is
// wrong.
func (o *file) fromKafka() string { return o.replay() + " --from kafka" }

// replayTo returns the command that replays the file to the destination, into the view where it
// was.
func (o *file) replayTo(dest string) string {
	command := o.replay() + " --destination " + shell.QuoteIfNeeded(dest)
	if o.view != "" {
		command += " --view " + o.view
	}
	return command
}

// age is how long ago the file was sealed, by its author's clock.
func (o *file) age() time.Duration { return o.now.Sub(time.UnixMilli(o.e.WrittenAt)) }

// debt counts an owed pair.
//
// Invariant: I10, a debt is closed, parked, or being worked on. The latter takes no longer than the
// time after which it would be parked, counted from when it was sealed or redriven. When it was
// redriven is not recorded: the problem's fix mentions that.
func (o *file) debt(ctx context.Context, dest string) error {
	closed := o.receipts.has(o.ref, dest)
	parked := o.parked.take(o.ref, dest)
	if !closed && !parked && o.age() > o.cfg.Overdue {
		var err error // look at what became of it meanwhile
		if closed, err = objstore.Exists(ctx, o.verifier.staging, delivery.ReceiptKey(o.ref, dest)); err == nil && !closed {
			parked, err = objstore.Exists(ctx, o.verifier.staging, delivery.ParkedKey(o.ref, dest))
		}
		if err != nil {
			return err
		}
		if !closed && !parked {
			o.report.problem(Debt, place(o.ref), "owed to %s for %s, and neither delivered nor parked", dest, short(o.age()))
		}
	}
	o.report.destination(dest, func(d *Destination) {
		d.Owed++
		switch {
		case closed:
			d.Closed++
			return
		case parked:
			d.Parked++
		default:
			d.Pending++
		}
		d.OldestSeconds = max(d.OldestSeconds, o.age().Seconds())
	})
	return nil
}

// receipt compares a receipt with the file, and then the object with both.
//
// Invariant: I7, I9.
func (o *file) receipt(ctx context.Context, key, dest string) error {
	r, err := readReceipt(ctx, o.verifier.staging, key)
	switch {
	case errors.Is(err, objstore.ErrNotFound): // receipts are never deleted
		o.report.problem(BadReceipt, key, "it is listed, and not there")
		return nil
	case errors.Is(err, delivery.ErrBadReceipt):
		o.report.problem(BadReceipt, key, "%v", err)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		o.report.unread(fmt.Sprintf("receipt %q: %v", key, err))
		return nil
	}
	if !slices.Contains(o.f.Owed, dest) {
		o.report.problem(NotOwed, key, "a receipt (%s), and %s is owed to %s", r.Outcome, place(o.ref), orNobody(o.f.Owed))
	}
	if r.File != o.ref || r.Destination != dest {
		o.report.problem(BadReceipt, key, "it says that it is of %s at %s", place(r.File), r.Destination)
		return nil
	}
	switch r.Outcome {
	case delivery.Skipped:
		o.report.edit(func(p *Report) { p.Receipts.Skipped++ })
		return nil
	case delivery.Expired:
		o.report.edit(func(p *Report) { p.Receipts.Expired++ })
		return nil
	}
	o.report.edit(func(p *Report) { p.Receipts.Delivered++ })
	o.report.destination(dest, func(d *Destination) { d.Delivered++ })
	same := r.SHA256 == o.f.SHA256 && r.Bytes == o.f.GzipBytes || r.Replay != "" // a rebuilt file was compressed anew
	if !same || r.Records != o.f.Records {
		o.report.problem(BadReceipt, key, "it is of %d records in %d bytes with sha256 %s, the ledger says %d, %d and %s",
			r.Records, r.Bytes, r.SHA256, o.f.Records, o.f.GzipBytes, o.f.SHA256)
		return nil
	}
	// Invariant: I8, whatever the prefix was then, the rest of the key is a function of the file.
	inner := delivery.ObjectKey("", o.log, o.f)
	if prefix, ok := strings.CutSuffix(r.Key, inner); !ok || prefix != "" && (prefix == "/" || !strings.HasSuffix(prefix, "/")) {
		o.report.problem(BadReceipt, key, "its object is %q, and must be %q below the destination's prefix", r.Key, inner)
		return nil
	}
	return o.buckets.object(ctx, o, dest, r)
}

func readReceipt(ctx context.Context, staging objstore.Store, key string) (delivery.Receipt, error) {
	b, err := objstore.Read(ctx, staging, key, maxNote)
	if err != nil {
		return delivery.Receipt{}, err
	}
	return delivery.DecodeReceipt(b)
}

// maxNote bounds receipts and other small objects.
const maxNote = 1 << 20 // 1 MiB

func orNobody(owed []string) string {
	if len(owed) == 0 {
		return "nobody"
	}
	return strings.Join(owed, ", ")
}

// short formats a duration for people.
func short(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Minute:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}
