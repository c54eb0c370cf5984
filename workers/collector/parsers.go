package collector

import (
	"bytes"
	"runtime"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/event"
)

// parsers are the scratch space for inflating and parsing. There are few, and a request waits for a
// free one: both are CPU-bound, so more of them would not be faster, and a body of many tiny
// members needs much more memory than its own size while it is parsed.
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
