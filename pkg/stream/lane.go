package stream

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
)

const (
	// linger is how long a record waits for others if no request to its partition is in flight.
	linger = 5 * time.Millisecond

	partitionCountTTL = 5 * time.Second

	// produceRetryFor is how long a batch is retried. A crashed leader has a successor after about ten
	// seconds.
	produceRetryFor = 30 * time.Second
	produceTimeout  = 10 * time.Second // of one try

	// maxThrottle limits how long a broker's throttling is honoured.
	maxThrottle = time.Minute
)

// call is one call of Produce.
type call struct {
	records   []Record // those of a partition are together
	done      chan struct{}
	abandoned atomic.Bool // its caller gave up

	mu         sync.Mutex
	unfinished int       // guarded by mu; number of unfinished pieces
	outcomes   []outcome // guarded by mu; outcomes of pieces, if not all are in the log
	err        error     // guarded by mu until done; of the first piece that failed
}

// outcome is the outcome of some records of a call: n of them, from index at.
type outcome struct {
	at, n int
	err   error // nil: they are in the log
}

// unwritten returns the error of a call that did not write all of its records.
func (c *call) unwritten(err error) *Unwritten {
	c.mu.Lock()
	defer c.mu.Unlock()
	outcomes := make([]*outcome, len(c.records)) // nil: unknown
	for i := range c.outcomes {
		for n := range c.outcomes[i].n {
			outcomes[c.outcomes[i].at+n] = &c.outcomes[i]
		}
	}
	u := &Unwritten{Err: err}
	for i, t := range outcomes {
		switch {
		case t == nil || t.err != nil && !errors.Is(t.err, ErrRecordTooLarge):
			u.Failed = append(u.Failed, c.records[i])
		case t.err != nil:
			u.TooLarge = append(u.TooLarge, c.records[i])
		}
	}
	return u
}

// piece is the part of a call that goes to one partition together, at most one batch.
type piece struct {
	partition int
	at        int // index in the call's records
	records   []Record
	bytes     int
	call      *call
}

// finish reports the outcome of the piece to its call.
func (p *piece) finish(err error) {
	c := p.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.unfinished--; c.unfinished > 0 || c.err != nil {
		c.outcomes = append(c.outcomes, outcome{at: p.at, n: len(p.records), err: err})
	}
	if c.unfinished == 0 {
		close(c.done)
	}
}

// finishBatch reports the outcome of a batch to its calls.
func finishBatch(batch []piece, err error) {
	for i := range batch {
		batch[i].finish(err)
	}
}

// splitBatch splits a batch in two; first is empty if the batch is a single record.
func splitBatch(batch []piece) (first, second []piece) {
	if len(batch) == 1 && len(batch[0].records) > 1 {
		batch = batch[0].split()
	}
	half := len(batch) / 2
	return batch[:half], batch[half:]
}

// split splits the piece in two.
func (p *piece) split() []piece {
	half := len(p.records) / 2
	p.call.mu.Lock()
	defer p.call.mu.Unlock()
	p.call.unfinished++
	return []piece{
		{at: p.at, records: p.records[:half], call: p.call},
		{at: p.at + half, records: p.records[half:], call: p.call},
	}
}

// awaited reports whether its caller still waits.
func (p *piece) awaited() bool { return !p.call.abandoned.Load() }

// lane writes to one partition, in order and one request at a time. What arrives while a request is
// in flight is sent with the next one: the slower the brokers, the larger the batches.
type lane struct {
	producer     *Producer
	partition    int
	wake         chan struct{} // of capacity 1
	notBefore    time.Time     // used by run only; nothing is sent before, because of a broker's quota
	failingSince time.Time     // used by run only; since when it fails with errors that may pass; zero: it does not

	mu           sync.Mutex
	waiting      []piece   // guarded by mu
	bytes        int       // guarded by mu; total of waiting
	waitingSince time.Time // guarded by mu; when the first piece was added to an empty waiting
	closed       bool      // guarded by mu
}

func (l *lane) add(p piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.bytes >= l.producer.cfg.BatchBytes
	if len(l.waiting) == 0 {
		l.waitingSince = time.Now()
		l.signal()
	}
	l.waiting = append(l.waiting, p)
	l.bytes += p.bytes
	if !full && l.bytes >= l.producer.cfg.BatchBytes {
		l.signal()
	}
}

func (l *lane) signal() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *lane) drop(c *call) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waiting = slices.DeleteFunc(l.waiting, func(p piece) bool {
		if p.call == c {
			l.bytes -= p.bytes
		}
		return p.call == c
	})
}

func (l *lane) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.signal()
}

func (l *lane) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		batch, wait, ok := l.next()
		switch {
		case !ok:
			return
		case wait < 0:
			<-l.wake
		case wait > 0:
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-l.wake:
			case <-l.producer.requestCtx.Done():
			}
		default:
			l.write(batch)
		}
	}
}

// next returns a batch, or how long to wait for more records; if that is negative, until there are
// any. ok is false if there will be no more.
func (l *lane) next() (batch []piece, wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, -1, !l.closed
	}
	if wait = time.Until(l.notBefore); wait > 0 && l.producer.requestCtx.Err() == nil {
		return nil, wait, true
	}
	if l.bytes < l.producer.cfg.BatchBytes && !l.closed {
		if wait = linger - time.Since(l.waitingSince); wait > 0 {
			return nil, wait, true
		}
	}
	n, bytes := 0, 0
	for n < len(l.waiting) && (n == 0 || bytes+l.waiting[n].bytes <= l.producer.cfg.BatchBytes) {
		bytes += l.waiting[n].bytes
		n++
	}
	// A copy, because the client may still be reading it after a timeout.
	batch = slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	l.bytes -= bytes
	return batch, 0, true
}

// write writes a batch and reports the outcome to its calls. If the topic does not accept the batch
// because of its size, it is written in halves, so that only callers whose own record is too large
// get that error. If an error may pass on retry, nothing behind the failed records overtakes them,
// unless nobody waits for them any more.
func (l *lane) write(batch []piece) {
	todo := [][]piece{batch} // a stack: the next to write is last
	for len(todo) > 0 {
		batch, todo = todo[len(todo)-1], todo[:len(todo)-1]
		err := l.writeWithRetries(batch)
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			if first, second := splitBatch(batch); len(first) > 0 {
				todo = append(todo, second, first)
				continue
			}
			err = ErrRecordTooLarge
		}
		finishBatch(batch, err)
		if err != nil && !errors.Is(err, ErrRecordTooLarge) && !errors.Is(err, context.Canceled) {
			finishBatch(slices.Concat(todo...), err)
			return
		}
	}
}

// writeWithRetries writes a batch, and retries errors that may pass, as long as anybody waits for
// it: nothing is sent for callers who gave up.
func (l *lane) writeWithRetries(batch []piece) error {
	began, backoff := time.Now(), jitter.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for {
		if !slices.ContainsFunc(batch, func(p piece) bool { return p.awaited() }) {
			return context.Canceled
		}
		err := l.produceOnce(batch)
		if !isTransient(err) {
			l.failingSince = time.Time{}
			return err
		}
		if l.failingSince.IsZero() {
			l.failingSince = time.Now()
		}
		if time.Since(began) > produceRetryFor {
			return err
		}
		if sleep.For(l.producer.requestCtx, max(backoff.Next(), time.Until(l.notBefore))) != nil {
			return io.ErrClosedPipe
		}
		l.producer.refreshMetadata(l.producer.requestCtx, err, time.Since(l.failingSince) < produceRetryFor)
	}
}

func (l *lane) produceOnce(batch []piece) error {
	ctx, cancel := context.WithTimeout(l.producer.requestCtx, produceTimeout+l.producer.throttledFor())
	defer cancel()
	res, err := callAPI(ctx, l.producer.client.Produce, &kafka.ProduceRequest{
		Topic: l.producer.cfg.Topic, Partition: l.partition,
		RequiredAcks: kafka.RequireAll, Compression: l.producer.codec,
		Records: &batchReader{pieces: batch, keepTime: l.producer.cfg.KeepTime},
	})
	if l.producer.requestCtx.Err() != nil && err != nil {
		return io.ErrClosedPipe
	}
	if err != nil {
		return err
	}
	if throttle := min(res.Throttle, maxThrottle); throttle > 0 {
		l.notBefore = time.Now().Add(throttle)
		l.producer.setThrottled(throttle)
	}
	return res.Error
}

// isTransient reports whether the same request may succeed later; false for nil.
func isTransient(err error) bool {
	if errors.Is(err, ErrBatch) {
		return false // the batch stays damaged, whatever error ended its decompression
	}
	var temporary interface{ Temporary() bool }
	var name *net.DNSError // that of a broker that is being replaced
	if errors.As(err, &temporary) && temporary.Temporary() || errors.As(err, &name) {
		return true
	}
	for _, passing := range []error{
		protocol.ErrNoLeader, kafka.BrokerNotAvailable, io.EOF, io.ErrUnexpectedEOF,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// batchReader reads the records of a batch, once.
type batchReader struct {
	pieces     []piece
	keepTime   bool
	at         int // index in the first piece
	record     kafka.Record
	key, value content
}

type content struct{ bytes.Reader }

// Close implements io.Closer.
func (*content) Close() error { return nil }

// ReadRecord implements kafka.RecordReader.
func (r *batchReader) ReadRecord() (*kafka.Record, error) {
	for len(r.pieces) > 0 && r.at == len(r.pieces[0].records) {
		r.pieces, r.at = r.pieces[1:], 0
	}
	if len(r.pieces) == 0 {
		return nil, io.EOF
	}
	from := &r.pieces[0].records[r.at]
	r.at++
	r.record = kafka.Record{Headers: from.Headers} // a zero time becomes that of the request
	// Brokers refuse a time that is too far in the future, which comes from a clock that was ahead.
	// A future time is replaced here, at each try, since it may be past by the next one.
	if r.keepTime && from.Time.Before(time.Now()) {
		r.record.Time = from.Time
	}
	if from.Key != nil {
		r.key.Reset(from.Key)
		r.record.Key = &r.key
	}
	if from.Value != nil {
		r.value.Reset(from.Value)
		r.record.Value = &r.value
	}
	return &r.record, nil
}
