package deadletter

import (
	"context"

	"github.com/sealift/sealift/pkg/stream"
)

// Write writes letters once, and cuts those that are too large for their topic. It returns those
// that were not written: left, together with an error that may pass; and tooLarge, which are too
// large even after the cut.
func Write(ctx context.Context, to Producer, letters []stream.Record) (left, tooLarge []stream.Record, err error) {
	for left = letters; len(left) > 0; {
		failed := to.Produce(ctx, left...)
		var large []stream.Record
		if left, large = stream.NotWritten(failed, left); len(large) == 0 {
			return left, tooLarge, failed
		}
		for i := range large {
			if _, cut := large[i].Header(HeaderCut); cut {
				tooLarge = append(tooLarge, large[i])
			} else {
				left = append(left, cutShort(large[i]))
			}
		}
	}
	return nil, tooLarge, nil
}
