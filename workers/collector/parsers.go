package collector

import (
	"runtime"

	"github.com/sealift/sealift/pkg/event"
)

// parsers are the scratch space for parsing. There are few of them, and a
// request waits for one: parsing is a matter of the processor, so more at
// once are no faster, and a body made of many tiny members needs much more
// memory while parsed than its own size.
type parsers chan *event.Request

func newParsers() parsers {
	n := 2 * runtime.GOMAXPROCS(0)
	p := make(parsers, n)
	for range n {
		p <- new(event.Request)
	}
	return p
}
