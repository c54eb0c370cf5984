package deadletter

import (
	"context"

	"github.com/sealift/sealift/pkg/stream"
)

// Bury writes letters once, and cuts those that are too large for their topic. It returns those
// that were not written: left, together with an error that may pass; and never, which are too large
// even after the cut.
func Bury(ctx context.Context, to Producer, letters []stream.Record) (left, never []stream.Record, err error) {
	for left = letters; len(left) > 0; {
		failed := to.Produce(ctx, left...)
		var large []stream.Record
		if left, large = stream.NotWritten(failed, left); len(large) == 0 {
			return left, never, failed
		}
		for i := range large {
			if _, cut := large[i].Header(HeaderCut); cut {
				never = append(never, large[i])
			} else {
				left = append(left, Cut(large[i]))
			}
		}
	}
	return nil, never, nil
}
