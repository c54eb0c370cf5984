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
	"github.com/sealift/sealift/pkg/receipt"
	"github.com/sealift/sealift/pkg/shell"
)

// file is the verification of one file of the ledger.
type file struct {
	*walk
	e        *ledger.Entry
	f        *ledger.File
	ref      delivery.FileRef
	receipts *receiptSet
	staged   int64  // size of the staged object in the listing, or -1
	view     string // the view of the replay whose receipt is checked
}

func (o *file) verify(ctx context.Context) error {
	present, err := o.verifyStaged(ctx)
	if err != nil {
		return err
	}
	if present && o.cfg.Deep {
		if err := o.verifyStagedContent(ctx); err != nil {
			return err
		}
	}
	for _, dest := range o.f.Owed {
		if !o.includesDestination(dest) {
			continue
		}
		if err := o.verifyDebt(ctx, dest); err != nil {
			return err
		}
	}
	for _, dest := range o.receipts.destinations[o.ref.Index] {
		if !o.includesDestination(dest) {
			continue
		}
		if err := o.verifyReceipts(ctx, dest); err != nil {
			return err
		}
	}
	return nil
}

// replayCommand returns the command that replays what the flags name.
func (v *verifier) replayCommand(flags string) string {
	if v.cfg.CommandFlags != "" {
		flags = v.cfg.CommandFlags + " " + flags
	}
	return "sealift replay " + flags
}

// replayFileCommand returns the command that delivers the file again. At the turn of an hour the
// source may have another file in the same range of offsets, which is then delivered as well.
func (o *file) replayFileCommand() string {
	return o.replayCommand(fmt.Sprintf("--source %s --offsets %s", o.f.Source, delivery.Range{Partition: o.log.Partition, First: o.f.First, Last: o.f.Last}))
}

// replayFromKafkaCommand returns the command that replays the file to everyone it is owed to. It
// insists on Kafka, because a replay that may choose would use a staged object of which only the
// content is wrong.
func (o *file) replayFromKafkaCommand() string { return o.replayFileCommand() + " --from kafka" }

// replayToCommand returns the command that replays the file to the destination, into the view where
// it was.
func (o *file) replayToCommand(dest string) string {
	command := o.replayFileCommand() + " --destination " + shell.QuoteIfNeeded(dest)
	if o.view != "" {
		command += " --view " + o.view
	}
	return command
}

// age is how long ago the file was sealed, by its author's clock. It is not that at the beginning
// of the run: the auditor deletes what comes of age meanwhile.
func (o *file) age() time.Duration { return time.Since(time.UnixMilli(o.e.WrittenAt)) }

// verifyDebt counts an owed pair.
//
// Invariant: I10, a debt is closed, parked, or being worked on. The latter takes no longer than the
// time after which it would be parked, counted from when it was sealed or redriven. When it was
// redriven is not recorded: the problem's fix mentions that.
func (o *file) verifyDebt(ctx context.Context, dest string) error {
	_, closed := o.receipts.Set[receipt.PairOf(o.ref, dest)]
	parked := o.parked.take(o.ref, dest)
	if !closed && !parked && !o.receipts.partial && o.age() > o.cfg.Overdue {
		latest, err := o.receipts.relist() // look at what became of it meanwhile
		if err != nil {
			return err
		}
		if _, closed = latest[receipt.PairOf(o.ref, dest)]; !closed {
			if parked, err = objstore.Exists(ctx, o.verifier.staging, delivery.ParkedKey(o.ref, dest)); err != nil {
				return err
			}
		}
		if !closed && !parked {
			o.report.addProblem(Debt, describeFile(o.ref), "owed to %s for %s, and neither delivered nor parked", dest, formatDuration(o.age()))
		}
	}
	o.report.updateDestination(dest, func(d *Destination) {
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

// verifyReceipts compares the receipts of a debt with the file, and then the object with both. What
// counts is only one of them.
//
// Invariant: I7, I9.
func (o *file) verifyReceipts(ctx context.Context, dest string) error {
	found := o.receipts.Set[receipt.PairOf(o.ref, dest)]
	for _, other := range found.Duplicates {
		if r, err := o.readReceipt(ctx, other, dest); err != nil {
			return err
		} else if r != nil && r.Outcome == delivery.Delivered {
			o.checkReceipt(*r, other.Key)
		}
	}
	r, err := o.readReceipt(ctx, found, dest)
	if r == nil {
		return err
	}
	if r.Outcome == delivery.Skipped {
		o.report.update(func(p *Report) { p.Receipts.Skipped++ })
		return nil
	}
	o.report.update(func(p *Report) { p.Receipts.Delivered++ })
	o.report.updateDestination(dest, func(d *Destination) { d.Delivered++ })
	if !o.checkReceipt(*r, found.Key) {
		return nil
	}
	return o.buckets.verifyObject(ctx, o, dest, *r)
}

// readReceipt returns a receipt of the debt, or nil if it cannot be that.
func (o *file) readReceipt(ctx context.Context, found receipt.Found, dest string) (*delivery.Receipt, error) {
	r, err := found.Read(ctx, o.verifier.staging)
	switch {
	case errors.Is(err, objstore.ErrNotFound):
		o.report.addProblem(BadReceipt, found.Key, "%v", errGone)
		return nil, nil
	case errors.Is(err, delivery.ErrBadReceipt):
		o.report.addProblem(BadReceipt, found.Key, "%v", err)
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		o.report.addUnread(fmt.Sprintf("receipt %q: %v", found.Key, err))
		return nil, nil
	}
	if !slices.Contains(o.f.Owed, dest) {
		o.report.addProblem(NotOwed, found.Key, "a receipt (%s), and %s is owed to %s", r.Outcome, describeFile(o.ref), joinOwed(o.f.Owed))
	}
	if r.File != o.ref || r.Destination != dest {
		o.report.addProblem(BadReceipt, found.Key, "it says that it is of %s at %s", describeFile(r.File), r.Destination)
		return nil, nil
	}
	return &r, nil
}

// checkReceipt reports whether a receipt that says that the file was delivered agrees with the
// ledger.
func (o *file) checkReceipt(r delivery.Receipt, key string) bool {
	same := r.SHA256 == o.f.SHA256 && r.Bytes == o.f.GzipBytes || r.Replay != "" // a rebuilt file was compressed anew
	if !same || r.Records != o.f.Records {
		o.report.addProblem(BadReceipt, key, "it is of %d records in %d bytes with sha256 %s, the ledger says %d, %d and %s",
			r.Records, r.Bytes, r.SHA256, o.f.Records, o.f.GzipBytes, o.f.SHA256)
		return false
	}
	// Invariant: I8, whatever the prefix was then, the rest of the key is a function of the file.
	inner := delivery.ObjectKey("", o.log, o.f)
	if prefix, ok := strings.CutSuffix(r.Key, inner); !ok || prefix != "" && (prefix == "/" || !strings.HasSuffix(prefix, "/")) {
		o.report.addProblem(BadReceipt, key, "its object is %q, and must be %q below the destination's prefix", r.Key, inner)
		return false
	}
	return true
}

func joinOwed(owed []string) string {
	if len(owed) == 0 {
		return "nobody"
	}
	return strings.Join(owed, ", ")
}

// formatDuration formats a duration for people.
func formatDuration(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return fmt.Sprintf("%d days", int(d.Hours()/24))
	case d >= time.Minute:
		return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
	}
	return d.Round(time.Second).String()
}
