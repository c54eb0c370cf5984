package appender

import (
	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// routed is a record with the stream that it belongs to.
type routed struct {
	route.Routed
	reason string
	key    dedup.Key
	hasKey bool // key is set: it has a messageId
}

// routeChunk is how many records are routed at a time: enough for their memory accesses to overlap.
const routeChunk = 64

// routeAll routes up to routeChunk records.
func (l *loop) routeAll(records []stream.Record, out *[routeChunk]routed) {
	var keys [routeChunk]dedup.Key
	n := 0
	for i := range records {
		to := &out[i]
		*to = routed{}
		to.Routed, to.reason = l.router.Route(&records[i])
		if l.deduper == nil || to.reason != "" {
			continue
		}
		if len(to.Message) > 0 {
			to.key, to.hasKey = l.deduper.Key(to.Source, to.Message), true
			keys[n] = to.key
			n++
		}
	}
	if n > 0 {
		l.deduper.Prefetch(keys[:n])
	}
}
