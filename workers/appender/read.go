package appender

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/stream"
)

// read is the outcome of one fetch.
type read struct {
	stream.Fetched
	sentAt  time.Time // before the request: the log's end was seen after it
	err     error
	fetcher Fetcher // whose buffers Records lie in
}

// reads fetches one partition ahead of its owner: while one fetch is being
// filed, the next is on its way.
type reads struct {
	results chan read
	free    chan Fetcher // fetchers whose records were filed
	end     int64        // last seen end of the log; the owner's
	done    sync.WaitGroup
}

// read starts fetching a partition from offset on, until ctx ends.
func (a *Appender) read(ctx context.Context, log ledger.Log, offset int64) *reads {
	r := &reads{results: make(chan read), free: make(chan Fetcher, 2)}
	r.free <- a.deps.Log.Fetcher(log.Topic, log.Partition)
	r.free <- a.deps.Log.Fetcher(log.Topic, log.Partition)
	r.done.Go(func() { r.fetch(ctx, a, log, offset) })
	return r
}

func (r *reads) fetch(ctx context.Context, a *Appender, log ledger.Log, offset int64) {
	wait := 100 * time.Millisecond
	for {
		var f Fetcher
		select {
		case <-ctx.Done():
			return
		case f = <-r.free:
		}
		got := read{sentAt: time.Now(), fetcher: f}
		got.Fetched, got.err = f.Fetch(ctx, offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: a.pollEvery()})
		if got.err != nil && !errors.Is(got.err, stream.ErrOffsetOutOfRange) && ctx.Err() == nil {
			// Brokers come back: what was read so far stays good.
			a.deps.Logger.WarnContext(ctx, "fetch failed, retrying", "topic", log.Topic, "partition", log.Partition, "offset", offset, "err", got.err)
			r.free <- f
			select {
			case <-ctx.Done():
			case <-time.After(wait):
			}
			wait = min(2*wait, 5*time.Second)
			continue
		}
		wait = 100 * time.Millisecond
		select {
		case <-ctx.Done():
			return
		case r.results <- got:
		}
		if got.err != nil {
			return
		}
		offset = got.Next
	}
}

// again gives the buffers of a read back.
func (r *reads) again(got read) {
	r.end = got.HighWatermark
	r.free <- got.fetcher
}

// wait returns when fetching has ended; its context has.
func (r *reads) wait() { r.done.Wait() }

const fetchBytes = 1 << 20 // 1 MiB: larger fetches cost more CPU with zstd and gain nothing
