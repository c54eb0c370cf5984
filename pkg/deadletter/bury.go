package deadletter

import (
	"context"

	"github.com/sealift/sealift/pkg/stream"
)

// Bury writes letters once, cut short where their topic does not take them
// whole. It returns those that are not in it: left, with the error, which may
// pass, and never, which are too large even so.
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
