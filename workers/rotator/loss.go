package rotator

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// ErrNothingLost says that Kafka holds all that the ledger has not.
var ErrNothingLost = errors.New("nothing is lost")

// Loss returns the entry by which a partition goes on where its log begins now,
// when Kafka removed records before they were in a file: the way out of
// ErrHalted for that, which an operator takes and no worker does. Appending it
// fences whoever owns the partition.
//
// Of the offsets that it skips, some may be in files: how many of a file's
// records lie below an offset is not known.
func Loss(head *ledger.Entry, cluster string, b stream.Bounds, by string) (*ledger.Entry, error) {
	switch lost := b.First - head.LowWatermark; {
	case head.Cluster != cluster:
		return nil, fmt.Errorf("the ledger belongs to Kafka cluster %q, this is %q: check kafka.brokers", head.Cluster, cluster)
	case lost <= 0:
		return nil, fmt.Errorf("%w: the topic begins at offset %d, and the ledger resumes at %d", ErrNothingLost, b.First, head.LowWatermark)
	default:
		e := next(head, []ledger.File{}, &segment.Batch{
			LowWatermark: b.First, Skipped: map[string]int64{ledger.SkippedLost: lost},
		}, ledger.Tenure{Owner: by})
		e.DispatchedThrough = head.DispatchedThrough // its owner may not have come so far
		// What was read of the lost messages, and is remembered, is in no file: what
		// is sent again of them is no copy.
		e.RouterFrom = b.First
		e.Attempt = uuid.NewString()
		return e, nil
	}
}

// AcceptLoss appends the entry of Loss to a chain. With ledger.ErrLost another
// entry came first.
func AcceptLoss(ctx context.Context, chain *ledger.Chain, cluster string, b stream.Bounds, by string) (*ledger.Entry, error) {
	head, err := chain.Head(ctx)
	if err != nil {
		return nil, err
	}
	e, err := Loss(head, cluster, b, by)
	if err != nil {
		return nil, err
	}
	return e, chain.Append(ctx, e)
}
