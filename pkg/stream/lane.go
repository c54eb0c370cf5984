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
)

const (
	// linger is how long a record waits for others when nothing is under way to
	// its partition.
	linger = 5 * time.Millisecond

	metadataTTL    = 5 * time.Second
	produceTimeout = 10 * time.Second
	produceTries   = 5

	// maxThrottle bounds how long a broker's word on a quota is believed.
	maxThrottle = time.Minute
)

// call is one Produce.
type call struct {
	left atomic.Int32 // pieces
	done chan struct{}
	once sync.Once
	err  error // of the first piece that failed; valid after done
}

func (c *call) finish(err error) {
	if err != nil {
		c.once.Do(func() { c.err = err })
	}
	if c.left.Add(-1) == 0 {
		close(c.done)
	}
}

// piece is what of a call goes to one partition together, at most a batch.
type piece struct {
	partition int
	records   []Record
	bytes     int
	call      *call
}

// lane writes to one partition, in order and one request at a time. What comes
// while one is under way goes with the next: the slower the brokers, the larger
// the batches.
type lane struct {
	producer  *Producer
	partition int
	wake      chan struct{} // of capacity 1

	mu      sync.Mutex
	waiting []piece   // guarded by mu
	bytes   int       // guarded by mu; of waiting
	since   time.Time // guarded by mu; when waiting was empty last
	rest    time.Time // guarded by mu; nothing is sent before: a broker's quota
	closed  bool      // guarded by mu
}

func (l *lane) add(p piece) {
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.bytes >= l.producer.cfg.BatchBytes
	if len(l.waiting) == 0 {
		l.since = time.Now()
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
			}
		default:
			l.write(batch)
		}
	}
}

// next takes a batch, or says how long to wait for more, less than 0: until there
// is any. ok is false when there will be none.
func (l *lane) next() (batch []piece, wait time.Duration, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.waiting) == 0 {
		return nil, -1, !l.closed
	}
	if wait = time.Until(l.rest); wait > 0 {
		return nil, wait, true
	}
	if l.bytes < l.producer.cfg.BatchBytes && !l.closed {
		if wait = linger - time.Since(l.since); wait > 0 {
			return nil, wait, true
		}
	}
	n, bytes := 0, 0
	for n < len(l.waiting) && (n == 0 || bytes+l.waiting[n].bytes <= l.producer.cfg.BatchBytes) {
		bytes += l.waiting[n].bytes
		n++
	}
	// A copy: after a timeout the client may still be reading it.
	batch = slices.Clone(l.waiting[:n])
	l.waiting = slices.Delete(l.waiting, 0, n)
	l.bytes -= bytes
	return batch, 0, true
}

// write writes a batch and tells its calls. What the topic does not take
// together is written in halves: who is told that a record is too large has
// sent it.
func (l *lane) write(batch []piece) {
	err := l.try(batch)
	if errors.Is(err, kafka.MessageSizeTooLarge) {
		if one := batch[0]; len(batch) == 1 && len(one.records) > 1 {
			half := len(one.records) / 2
			one.call.left.Add(1)
			batch = []piece{{records: one.records[:half], call: one.call}, {records: one.records[half:], call: one.call}}
		}
		if half := len(batch) / 2; half > 0 {
			l.write(batch[:half])
			l.write(batch[half:])
			return
		}
	}
	for _, p := range batch {
		p.call.finish(err)
	}
}

// try writes a batch, and tries again what may pass.
func (l *lane) try(batch []piece) error {
	var res *kafka.ProduceResponse
	var err error
	for try := range produceTries {
		if try > 0 {
			time.Sleep(max(min(time.Duration(try*try)*50*time.Millisecond, time.Second), l.throttled(res)))
		}
		ctx, cancel := context.WithTimeout(context.Background(), produceTimeout+l.producer.muted())
		res, err = l.producer.client.Produce(ctx, &kafka.ProduceRequest{
			Topic: l.producer.cfg.Topic, Partition: l.partition,
			RequiredAcks: kafka.RequireAll, Compression: l.producer.codec,
			Records: &reader{pieces: batch},
		})
		cancel()
		if err == nil {
			err = res.Error
		}
		if !mayPass(err) {
			break
		}
	}
	l.throttled(res)
	return err
}

// throttled notes for how long a broker reads nothing more of us, by what it
// answered, nil if it did not, and returns that.
func (l *lane) throttled(res *kafka.ProduceResponse) time.Duration {
	if res == nil || res.Throttle <= 0 {
		return 0
	}
	over := min(res.Throttle, maxThrottle)
	l.mu.Lock()
	l.rest = time.Now().Add(over)
	l.mu.Unlock()
	l.producer.mute(over)
	return over
}

// mayPass tells whether the same request may succeed later; false for nil.
func mayPass(err error) bool {
	var temporary interface{ Temporary() bool }
	var name *net.DNSError // of a broker that is replaced
	if errors.As(err, &temporary) && temporary.Temporary() || errors.As(err, &name) {
		return true
	}
	for _, passing := range []error{
		protocol.ErrNoLeader, kafka.BrokerNotAvailable, io.ErrUnexpectedEOF,
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// reader reads the records of a batch, once.
type reader struct {
	pieces     []piece
	at         int // in the first piece
	record     kafka.Record
	key, value content
}

type content struct{ bytes.Reader }

// Close implements io.Closer.
func (*content) Close() error { return nil }

// ReadRecord implements kafka.RecordReader.
func (r *reader) ReadRecord() (*kafka.Record, error) {
	for len(r.pieces) > 0 && r.at == len(r.pieces[0].records) {
		r.pieces, r.at = r.pieces[1:], 0
	}
	if len(r.pieces) == 0 {
		return nil, io.EOF
	}
	from := &r.pieces[0].records[r.at]
	r.at++
	r.record = kafka.Record{Time: from.Time, Headers: from.Headers}
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
