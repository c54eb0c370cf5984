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

// ErrNothingLost says that Kafka holds everything that is not in the ledger yet.
var ErrNothingLost = errors.New("nothing is lost")

// LossEntry returns the entry with which a partition continues where its log begins now, after
// Kafka removed records before they were in a file. It is the way out of ErrHalted in that case;
// only an operator takes it, never a worker. Appending the entry fences whoever owns the partition.
//
// Some of the offsets that it counts as lost may be in files: how many of a file's records are
// below an offset is not known.
func LossEntry(head *ledger.Entry, cluster string, b stream.Bounds, by string) (*ledger.Entry, error) {
	switch lost := b.First - head.LowWatermark; {
	case head.Cluster != cluster:
		return nil, fmt.Errorf("the ledger belongs to Kafka cluster %q, this is %q: check kafka.brokers", head.Cluster, cluster)
	case lost <= 0:
		return nil, fmt.Errorf("%w: the topic begins at offset %d, and the ledger resumes at %d", ErrNothingLost, b.First, head.LowWatermark)
	default:
		e := sealEntry(head, []ledger.File{}, &segment.Batch{
			LowWatermark: b.First, Skipped: map[string]int64{ledger.SkippedLost: lost},
		}, ledger.Tenure{Owner: by})
		e.DispatchedThrough = head.DispatchedThrough // head's owner may not have enqueued head's jobs
		// The ids of lost records may be remembered, but those records are in no file: if they are
		// sent again, they are not duplicates.
		e.RouterFrom = b.First
		e.Attempt = uuid.NewString()
		return e, nil
	}
}

// AcceptLoss appends the entry of LossEntry to a chain. ledger.ErrLost means that another entry
// came first.
func AcceptLoss(ctx context.Context, chain *ledger.Chain, cluster string, b stream.Bounds, by string) (*ledger.Entry, error) {
	head, err := chain.Head(ctx)
	if err != nil {
		return nil, err
	}
	e, err := LossEntry(head, cluster, b, by)
	if err != nil {
		return nil, err
	}
	return e, chain.Append(ctx, e)
}
