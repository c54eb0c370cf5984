package appender

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/stream"
)

// fetchResult is the outcome of one fetch.
type fetchResult struct {
	stream.Fetched
	sentAt  time.Time // before the request, so the log's end was observed after it
	err     error
	fetcher Fetcher // owns the buffers of Records
}

// prefetcher fetches a partition ahead of its owner: while the records of one fetch are added to
// files, the next fetch is under way.
type prefetcher struct {
	results chan fetchResult
	free    chan Fetcher // fetchers whose records are no longer used
	end     int64        // of the log, as last seen; used only by the owner
	done    sync.WaitGroup
}

// startPrefetch fetches the partition from offset on, until ctx ends.
func (p *partition) startPrefetch(ctx context.Context, offset int64) *prefetcher {
	r := &prefetcher{results: make(chan fetchResult), free: make(chan Fetcher, 2)}
	r.free <- p.appender.deps.Log.Fetcher(p.log.Topic, p.log.Partition)
	r.free <- p.appender.deps.Log.Fetcher(p.log.Topic, p.log.Partition)
	r.done.Go(func() { r.run(ctx, p, offset) })
	return r
}

func (r *prefetcher) run(ctx context.Context, p *partition, offset int64) {
	backoff := jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	var failing time.Time // since when; zero: the last fetch succeeded
	for {
		var f Fetcher
		select {
		case <-ctx.Done():
			return
		case f = <-r.free:
		}
		got := fetchResult{sentAt: time.Now(), fetcher: f}
		got.Fetched, got.err = f.Fetch(ctx, offset, stream.FetchOptions{MaxBytes: fetchBytes, MaxWait: p.appender.pollInterval()})
		if got.err != nil && !errors.Is(got.err, stream.ErrOffsetOutOfRange) && ctx.Err() == nil {
			// Brokers come back, and what was read so far remains valid.
			if errors.Is(got.err, stream.ErrBatch) || errors.Is(got.err, stream.ErrBatchTooLarge) {
				p.logger.ErrorContext(ctx, "a record batch cannot be read, retrying",
					"offset", offset, "err", got.err, "fix", giveUpHint(p.log.Topic, p.log.Partition))
			} else {
				p.appender.fetchFails.Do(func(suppressed int) {
					p.logger.WarnContext(ctx, "fetch failed, retrying", "topic", p.log.Topic, "offset", offset, "err", got.err, "others_since", suppressed)
				})
			}
			if failing.IsZero() {
				failing = time.Now()
			}
			p.view.noteFetchErr(fmt.Errorf("continue from offset %d: %w", offset, got.err), failing.Add(unfetchedAfter))
			r.free <- f
			_ = backoff.Wait(ctx)
			continue
		}
		backoff.Reset()
		failing = time.Time{}
		p.view.noteFetchErr(nil, failing)
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

// giveUpHint tells an operator how to give up the records of a batch that cannot be read. The error
// names the batch's last offset, unless the batch's header is what is damaged.
func giveUpHint(topic string, partition int) string {
	return fmt.Sprintf(`to give its records up: kafka-delete-records.sh --bootstrap-server HOST:PORT --offset-json-file FILE, with {"version":1,"partitions":[{"topic":%q,"partition":%d,"offset":OFFSET_AFTER_THE_BATCH}]} in FILE (with TLS or SASL add --command-config FILE); once the partition has halted: sealift ledger accept-loss --partition %[2]d`, topic, partition)
}

// release returns the buffers of a read for reuse.
func (r *prefetcher) release(got fetchResult) {
	r.end = got.HighWatermark
	r.free <- got.fetcher
}

// wait returns when fetching has ended; its context must have been cancelled.
func (r *prefetcher) wait() { r.done.Wait() }

const fetchBytes = 1 << 20 // 1 MiB: larger fetches cost more CPU with zstd and gain nothing
