package collector

import (
	"bytes"
	"runtime"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/event"
)

// parsers are the scratch space for inflating and parsing. There are few of them, and a
// request waits for one: both are a matter of the processor, so more at
// once are no faster, and a body made of many tiny members needs much more
// memory while parsed than its own size.
type parsers chan *scratch

type scratch struct {
	request  event.Request
	deflated bytes.Reader
	gzip     gzip.Reader
}

func newParsers() parsers {
	n := 2 * runtime.GOMAXPROCS(0)
	p := make(parsers, n)
	for range n {
		p <- new(scratch)
	}
	return p
}
