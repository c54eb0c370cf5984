package stream

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"
	"github.com/segmentio/kafka-go/protocol/produce"
	"github.com/stretchr/testify/require"
)

// fakeLog is the log of a broker that accepts or refuses produce requests.
type fakeLog struct {
	mu       sync.Mutex
	batches  []string // "partition: values", in the order in which requests ended; guarded by mu
	takes    time.Duration
	fails    []error // errors of the first requests; guarded by mu
	maxBytes int     // bytes of values that a request may contain; 0: any
	// throttles are the throttle times in the first answers; guarded by mu. Until such a time is
	// over no request is read.
	throttles   []time.Duration
	muted       time.Time // guarded by mu
	late        int       // requests that were not read at once; guarded by mu
	unavailable error     // error of requests to partition 0
	accepts     int       // batches that are accepted before TopicAuthorizationFailed; 0: all; guarded by mu
}

// RoundTrip implements kafka.RoundTripper.
func (l *fakeLog) RoundTrip(ctx context.Context, _ net.Addr, r kafka.Request) (kafka.Response, error) {
	req := r.(*produce.Request)
	part := req.Topics[0].Partitions[0]
	if req.Timeout < 4000 { // half of the request's timeout
		return nil, fmt.Errorf("request gives replicas only %d ms", req.Timeout)
	}
	l.mu.Lock()
	muted := time.Until(l.muted)
	if muted > 0 {
		l.late++
	}
	l.mu.Unlock()
	select {
	case <-time.After(muted):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-time.After(l.takes):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.fails) > 0 {
		err := l.fails[0]
		l.fails = l.fails[1:]
		return nil, err
	}
	switch {
	case l.unavailable != nil && part.Partition == 0:
		return nil, l.unavailable
	case l.accepts > 0 && len(l.batches) == l.accepts:
		return nil, kafka.TopicAuthorizationFailed
	}
	var values []string
	size := 0
	for {
		record, err := part.RecordSet.Records.ReadRecord()
		if errors.Is(err, io.EOF) {
			break
		}
		value, err := io.ReadAll(record.Value)
		if err != nil {
			return nil, err
		}
		values = append(values, string(value[:min(len(value), 8)]))
		size += len(value)
	}
	if l.maxBytes > 0 && size > l.maxBytes {
		return &produce.Response{Topics: []produce.ResponseTopic{{Partitions: []produce.ResponsePartition{{ErrorCode: int16(kafka.MessageSizeTooLarge)}}}}}, nil
	}
	l.batches = append(l.batches, fmt.Sprintf("%d: %s", part.Partition, strings.Join(values, " ")))
	res := &produce.Response{Topics: []produce.ResponseTopic{{Partitions: []produce.ResponsePartition{{}}}}}
	if len(l.throttles) > 0 {
		res.ThrottleTimeMs = int32(l.throttles[0].Milliseconds())
		l.muted, l.throttles = time.Now().Add(l.throttles[0]), l.throttles[1:]
	}
	return res, nil
}

func newTestProducer(l *fakeLog, batchBytes, parts int) *Producer {
	p := (&Client{addr: kafka.TCP("broker:9092")}).NewProducer(ProducerConfig{Topic: "t", BatchBytes: batchBytes})
	p.client.Transport = l
	p.countPartitions = func(context.Context) (int, error) { return parts, nil }
	p.refreshMetadata = func(context.Context, error, bool) {}
	return p
}

func numberedRecords(from, to, size int) (records []Record) {
	for i := from; i < to; i++ {
		value := fmt.Appendf(nil, "%-*d", max(1, size), i)
		records = append(records, Record{Key: []byte("key"), Value: value})
	}
	return records
}

// Records that arrive while a request is in flight wait, however long, and are sent in one batch.
func TestBatchesGrowWhileBrokersAreSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{takes: time.Second}
		p := newTestProducer(l, 0, 1)
		var calls sync.WaitGroup
		for i := range 10 {
			calls.Go(func() {
				time.Sleep(time.Duration(i) * 20 * time.Millisecond)
				require.NoError(t, p.Produce(t.Context(), numberedRecords(i, i+1, 0)...))
			})
		}
		calls.Wait()
		require.Equal(t, []string{"0: 0", "0: 1 2 3 4 5 6 7 8 9"}, l.batches)
		require.NoError(t, p.Close(t.Context()))
		require.ErrorIs(t, p.Produce(t.Context(), numberedRecords(0, 1, 0)...), io.ErrClosedPipe)
	})
}

// TestProduceWaitsOutAQuota: a broker that throttles reads no requests meanwhile. A request that
// it has received and that timed out would be sent again, and written twice.
func TestProduceWaitsOutAQuota(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{throttles: []time.Duration{25 * time.Second, 0, 3 * time.Second}}
		p := newTestProducer(l, 0, 1)
		began := time.Now()
		require.NoError(t, p.Produce(t.Context(), numberedRecords(0, 1, 0)...), "a written record had to wait for the throttling")
		require.Less(t, time.Since(began), time.Second)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, p.Produce(ctx, numberedRecords(1, 2, 0)...), context.DeadlineExceeded)
		require.NoError(t, p.Produce(t.Context(), numberedRecords(2, 3, 0)...))
		require.Equal(t, []string{"0: 0", "0: 2"}, l.batches, "abandoned records were written")
		require.Less(t, time.Since(began), 26*time.Second)
		require.NoError(t, p.Produce(t.Context(), numberedRecords(3, 4, 0)...))
		require.NoError(t, p.Close(t.Context()))
	})
}

// TestThrottledRequestIsNotRetried: partitions share connections.
func TestThrottledRequestIsNotRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{throttles: []time.Duration{25 * time.Second}}
		p := newTestProducer(l, 0, 2)
		of := func(n int) Record {
			for i := 0; ; i++ {
				if key := fmt.Append(nil, i); keyPartition(key, []int{0, 1}) == n {
					return Record{Key: key, Value: []byte("v")}
				}
			}
		}
		require.NoError(t, p.Produce(t.Context(), of(0)))
		require.NoError(t, p.Produce(t.Context(), of(1)))
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, []string{"0: v", "1: v"}, l.batches)
		require.Equal(t, 1, l.late)
	})
}

func TestCallsLargerThanABatchAreSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{}
		p := newTestProducer(l, 1000, 1)
		require.NoError(t, p.Produce(t.Context(), numberedRecords(0, 5, 400)...))
		require.ErrorIs(t, p.Produce(t.Context(), numberedRecords(5, 6, 1000)...), ErrRecordTooLarge)
		require.NoError(t, p.Close(t.Context()))
		for i := range l.batches {
			l.batches[i] = strings.Join(strings.Fields(l.batches[i]), " ")
		}
		require.Equal(t, []string{"0: 0 1", "0: 2 3", "0: 4"}, l.batches)
	})
}

// TestProduceRetriesAreBounded: errors that may pass are retried for half a minute, but not after
// all callers gave up, since they may have stored the records elsewhere by then.
func TestProduceRetriesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{fails: slices.Repeat([]error{kafka.NotEnoughReplicas}, 1000)}
		p := newTestProducer(l, 0, 1)
		began := time.Now()
		require.ErrorIs(t, p.Produce(t.Context(), numberedRecords(0, 1, 0)...), kafka.NotEnoughReplicas)
		require.InDelta(t, 30, time.Since(began).Seconds(), 2)

		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		require.ErrorIs(t, p.Produce(ctx, numberedRecords(1, 2, 0)...), context.DeadlineExceeded)
		time.Sleep(time.Second)
		synctest.Wait() // for the race detector; no try is under way
		l.fails = nil
		require.NoError(t, p.Produce(t.Context(), numberedRecords(2, 3, 0)...))
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, []string{"0: 2"}, l.batches)
	})
}

// TestElectionPacingSpansBatches: that time does not start anew with each batch.
func TestElectionPacingSpansBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{}
		p := newTestProducer(l, 0, 1)
		var soon []bool
		p.refreshMetadata = func(_ context.Context, _ error, is bool) { soon = append(soon, is) }
		fails := func(n int) (asked []bool) {
			l.fails = slices.Repeat([]error{kafka.NotLeaderForPartition}, n)
			soon = nil
			err := p.Produce(t.Context(), numberedRecords(0, 1, 0)...)
			require.Equal(t, n > 10, err != nil)
			return slices.Compact(soon)
		}
		require.Equal(t, []bool{true}, fails(3))
		require.Equal(t, []bool{true, false}, fails(1000))
		require.Equal(t, []bool{false}, fails(3), "next batch during the same outage")
		require.Equal(t, []bool{true}, fails(3), "batch after one that was written")
		require.NoError(t, p.Close(t.Context()))
	})
}

// TestAbandonedRecordsAreNotRetried: even if something else took the time. A caller that sends
// its records some other way would otherwise have them twice.
func TestAbandonedRecordsAreNotRetried(t *testing.T) {
	for hazard, c := range map[string]struct {
		log    *fakeLog
		renews time.Duration
		want   []string
	}{
		"during_a_metadata_refresh": {&fakeLog{fails: []error{kafka.NotLeaderForPartition}}, 3 * time.Second, nil},
		"batch_is_split":            {&fakeLog{takes: 3 * time.Second, maxBytes: 600}, 0, nil},
		"batch_is_split_for_others": {&fakeLog{takes: 3 * time.Second, maxBytes: 600}, 0, []string{"0: 2        3       "}},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestProducer(c.log, 10_000, 1)
				p.refreshMetadata = func(context.Context, error, bool) { time.Sleep(c.renews) }
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				var calls sync.WaitGroup
				calls.Go(func() { require.ErrorIs(t, p.Produce(ctx, numberedRecords(0, 2, 400)...), context.DeadlineExceeded) })
				if c.want != nil {
					time.Sleep(time.Millisecond) // in the same batch
					calls.Go(func() { require.NoError(t, p.Produce(t.Context(), numberedRecords(2, 4, 200)...)) })
				}
				calls.Wait()
				require.NoError(t, p.Close(t.Context()))
				require.Equal(t, c.want, c.log.batches)
			})
		})
	}
}

// TestBatchIsSplitForASmallTopicLimit: such a topic gets every record that it accepts alone, and
// only the caller whose record is too large is told so.
func TestBatchIsSplitForASmallTopicLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{maxBytes: 1000}
		p := newTestProducer(l, 10_000, 1)
		var calls sync.WaitGroup
		calls.Go(func() { require.NoError(t, p.Produce(t.Context(), numberedRecords(0, 7, 400)...)) })
		time.Sleep(time.Millisecond)
		calls.Go(func() { require.ErrorIs(t, p.Produce(t.Context(), numberedRecords(7, 8, 1001)...), ErrRecordTooLarge) })
		time.Sleep(time.Millisecond)
		calls.Go(func() { require.NoError(t, p.Produce(t.Context(), numberedRecords(8, 9, 400)...)) })
		calls.Wait()
		require.NoError(t, p.Close(t.Context()))
		var taken []string
		for _, b := range l.batches {
			taken = append(taken, strings.Fields(b)[1:]...)
		}
		require.Equal(t, []string{"0", "1", "2", "3", "4", "5", "6", "8"}, taken, "accepted records in order")
	})
}

func TestKeysOfACallGoToTheirPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{}
		p := newTestProducer(l, 0, 4)
		var records []Record
		want := map[int][]string{}
		for i := range 40 {
			r := Record{Key: fmt.Appendf(nil, "source%d", i/3%5), Value: fmt.Appendf(nil, "%d", i)}
			records = append(records, r)
			n := kafka.Murmur2Balancer{}.Balance(kafka.Message{Key: r.Key}, 0, 1, 2, 3)
			want[n] = append(want[n], string(r.Value))
		}
		require.NoError(t, p.Produce(t.Context(), records...))
		require.NoError(t, p.Close(t.Context()))
		require.Len(t, l.batches, len(want))
		for n, values := range want {
			require.Contains(t, l.batches, fmt.Sprintf("%d: %s", n, strings.Join(values, " ")))
		}
	})
}

// A caller that gave up leaves nothing behind except what is in flight. So during an outage, the
// waiting records are limited by what callers may hold.
func TestAbandonedRecordsAreNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{takes: 3 * time.Second}
		p := newTestProducer(l, 0, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		var calls sync.WaitGroup
		calls.Go(func() { require.ErrorIs(t, p.Produce(ctx, numberedRecords(0, 1, 0)...), context.DeadlineExceeded) })
		time.Sleep(100 * time.Millisecond) // until it is in flight
		calls.Go(func() { require.ErrorIs(t, p.Produce(ctx, numberedRecords(1, 2, 0)...), context.DeadlineExceeded) })
		calls.Go(func() { require.NoError(t, p.Produce(t.Context(), numberedRecords(2, 3, 0)...)) })
		calls.Wait()
		require.Equal(t, []string{"0: 0", "0: 2"}, l.batches)
		require.Zero(t, p.lanes[0].bytes)
		require.NoError(t, p.Close(t.Context()))
	})
}

func TestCloseWritesPendingRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &fakeLog{takes: time.Second}
		p := newTestProducer(l, 0, 1)
		var calls sync.WaitGroup
		for i := range 2 {
			calls.Go(func() { require.NoError(t, p.Produce(t.Context(), numberedRecords(i, i+1, 0)...)) })
			time.Sleep(10 * time.Millisecond)
		}
		require.NoError(t, p.Close(t.Context()))
		require.Equal(t, []string{"0: 0", "0: 1"}, l.batches)
		calls.Wait()
	})
}

// TestCloseIsBounded: brokers that are down, or that throttle, do not keep a process from ending.
func TestCloseIsBounded(t *testing.T) {
	for name, l := range map[string]*fakeLog{
		"silent":    {takes: time.Hour},
		"refuses":   {fails: slices.Repeat([]error{kafka.NotEnoughReplicas}, 1000)},
		"throttles": {throttles: []time.Duration{time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestProducer(l, 1000, 1)
				var calls sync.WaitGroup
				for i := range 3 {
					calls.Go(func() {
						if err := p.Produce(t.Context(), numberedRecords(i, i+1, 900)...); i > 0 || name != "throttles" {
							require.ErrorIs(t, err, io.ErrClosedPipe)
						}
					})
					time.Sleep(100 * time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				began := time.Now()
				require.NoError(t, p.Close(ctx))
				require.LessOrEqual(t, time.Since(began), 3*time.Second)
				calls.Wait()
			})
		})
	}
}

func TestProduceRetriesTransientErrors(t *testing.T) {
	for name, of := range map[string]struct {
		fails []error
		err   error
	}{
		"not_leader":         {[]error{kafka.NotLeaderForPartition}, nil},
		"no_leader":          {[]error{fmt.Errorf("produce: %w", protocol.ErrNoLeader)}, nil},
		"new_address":        {[]error{&net.DNSError{Name: "kafka-1", IsNotFound: true}, syscall.EHOSTUNREACH, kafka.BrokerNotAvailable}, nil},
		"connection_broken":  {[]error{io.ErrUnexpectedEOF, io.ErrUnexpectedEOF}, nil},
		"fails_for_seconds":  {slices.Repeat([]error{kafka.NotEnoughReplicas}, 30), nil},
		"permanent":          {[]error{kafka.TopicAuthorizationFailed}, kafka.TopicAuthorizationFailed},
		"topic_limit_is_low": {[]error{kafka.MessageSizeTooLarge}, ErrRecordTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := &fakeLog{fails: of.fails}
				p := newTestProducer(l, 0, 1)
				require.ErrorIs(t, p.Produce(t.Context(), numberedRecords(0, 1, 0)...), of.err)
				require.NoError(t, p.Produce(t.Context(), numberedRecords(1, 2, 0)...), "record after the failed one")
				require.NoError(t, p.Close(t.Context()))
				require.Empty(t, l.fails)
			})
		})
	}
}

// TestUnwrittenListsRecordsNotInTheLog: each record is either in the log or in the error, once.
func TestUnwrittenListsRecordsNotInTheLog(t *testing.T) {
	large := func(i int) Record { return Record{Key: []byte("key"), Value: fmt.Appendf(nil, "%-*d", 1500, i)} }
	for hazard, of := range map[string]struct {
		log              *fakeLog
		parts            int
		records          []Record
		within           time.Duration
		failed, tooLarge string
		err              error
	}{
		"a_partition_without_a_leader":   {&fakeLog{unavailable: kafka.TopicAuthorizationFailed}, 2, nil, time.Hour, "own", "", kafka.TopicAuthorizationFailed},
		"a_partition_that_hangs":         {&fakeLog{unavailable: kafka.LeaderNotAvailable}, 2, nil, time.Second / 2, "own", "", context.DeadlineExceeded},
		"larger_than_the_topic_accepts":  {&fakeLog{maxBytes: 1000}, 1, append(append(numberedRecords(0, 3, 400), large(3), large(4)), numberedRecords(5, 6, 1)...), time.Hour, "", "3 4", ErrRecordTooLarge},
		"larger_than_a_batch":            {&fakeLog{}, 1, append(numberedRecords(0, 2, 1), Record{Key: []byte("key"), Value: make([]byte, 20_000)}), time.Hour, "0 1", "", ErrRecordTooLarge},
		"failure_while_a_batch_is_split": {&fakeLog{maxBytes: 1000, accepts: 2}, 1, numberedRecords(0, 8, 400), time.Hour, "4 5 6 7", "", kafka.TopicAuthorizationFailed},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newTestProducer(of.log, 10_000, of.parts)
				var own []string // of partition 0
				if of.records == nil {
					for i := range 20 {
						r := Record{Key: fmt.Appendf(nil, "source%d", i%7), Value: fmt.Append(nil, i)}
						if keyPartition(r.Key, []int{0, 1}) == 0 {
							own = append(own, string(r.Value))
						}
						of.records = append(of.records, r)
					}
					require.NotEmpty(t, own)
				}
				ctx, cancel := context.WithTimeout(t.Context(), of.within)
				defer cancel()
				err := p.Produce(ctx, of.records...)
				require.ErrorIs(t, err, of.err)
				var u *Unwritten
				require.ErrorAs(t, err, &u)
				require.NoError(t, p.Close(t.Context()))
				require.Equal(t, strings.Replace(of.failed, "own", strings.Join(own, " "), 1), values(u.Failed))
				if of.tooLarge != "" {
					require.Equal(t, of.tooLarge, values(u.TooLarge))
				}
				written := 0
				for _, b := range of.log.batches {
					written += len(strings.Fields(b)) - 1
				}
				require.Equal(t, len(of.records), written+len(u.Failed)+len(u.TooLarge))
			})
		})
	}
}

func values(records []Record) string {
	var all []string
	for i := range records {
		all = append(all, string(bytes.Trim(records[i].Value, " ")))
	}
	return strings.Join(all, " ")
}
