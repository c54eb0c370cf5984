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
)

const (
	// linger is how long a record waits for others when nothing is under way to
	// its partition.
	linger = 5 * time.Millisecond

	metadataTTL = 5 * time.Second

	// produceFor is for how long a batch is tried again: a leader that crashed has
	// a successor after ten seconds or so.
	produceFor     = 30 * time.Second
	produceTimeout = 10 * time.Second // of one try

	// maxThrottle bounds how long a broker's word on a quota is believed.
	maxThrottle = time.Minute
)

// call is one Produce.
type call struct {
	records []Record // those of a partition together
	done    chan struct{}
	gone    atomic.Bool // its caller gave up

	mu   sync.Mutex
	left int    // guarded by mu; pieces
	told []told // guarded by mu; what became of pieces, if not all are in the log
	err  error  // guarded by mu until done; of the first piece that failed
}

// told is what became of some records of a call.
type told struct {
	at, n int
	err   error // nil: they are in the log
}

// unwritten is the error of a call, which did not write all.
func (c *call) unwritten(err error) *Unwritten {
	c.mu.Lock()
	defer c.mu.Unlock()
	became := make([]*told, len(c.records)) // nil: nothing is known
	for i := range c.told {
		for n := range c.told[i].n {
			became[c.told[i].at+n] = &c.told[i]
		}
	}
	u := &Unwritten{Err: err}
	for i, t := range became {
		switch {
		case t == nil || t.err != nil && !errors.Is(t.err, ErrRecordTooLarge):
			u.Failed = append(u.Failed, c.records[i])
		case t.err != nil:
			u.TooLarge = append(u.TooLarge, c.records[i])
		}
	}
	return u
}

// piece is what of a call goes to one partition together, at most a batch.
type piece struct {
	partition int
	at        int // in the call's records
	records   []Record
	bytes     int
	call      *call
}

// finish tells the call what became of the piece.
func (p *piece) finish(err error) {
	c := p.call
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
	if c.left--; c.left > 0 || c.err != nil {
		c.told = append(c.told, told{at: p.at, n: len(p.records), err: err})
	}
	if c.left == 0 {
		close(c.done)
	}
}

// finish tells the calls what became of a batch.
func finish(batch []piece, err error) {
	for i := range batch {
		batch[i].finish(err)
	}
}

// halves cuts a batch in two; first is empty if it is a single record.
func halves(batch []piece) (first, second []piece) {
	if len(batch) == 1 && len(batch[0].records) > 1 {
		batch = batch[0].half()
	}
	half := len(batch) / 2
	return batch[:half], batch[half:]
}

// half cuts the piece in two.
func (p *piece) half() []piece {
	half := len(p.records) / 2
	p.call.mu.Lock()
	defer p.call.mu.Unlock()
	p.call.left++
	return []piece{
		{at: p.at, records: p.records[:half], call: p.call},
		{at: p.at + half, records: p.records[half:], call: p.call},
	}
}

// awaited tells whether its caller still waits.
func (p *piece) awaited() bool { return !p.call.gone.Load() }

// lane writes to one partition, in order and one request at a time. What comes
// while one is under way goes with the next: the slower the brokers, the larger
// the batches.
type lane struct {
	producer  *Producer
	partition int
	wake      chan struct{} // of capacity 1
	rest      time.Time     // run's; nothing is sent before: a broker's quota
	ill       time.Time     // run's; since when it fails by what may pass; zero: it does not

	mu      sync.Mutex
	waiting []piece   // guarded by mu
	bytes   int       // guarded by mu; of waiting
	since   time.Time // guarded by mu; when waiting was empty last
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
			case <-l.producer.life.Done():
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
	if wait = time.Until(l.rest); wait > 0 && l.producer.life.Err() == nil {
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
// sent it. Of what may pass in another try nothing is overtaken by what is behind it, unless
// nobody waits for it any more.
func (l *lane) write(batch []piece) {
	todo := [][]piece{batch} // what comes next is the last
	for len(todo) > 0 {
		batch, todo = todo[len(todo)-1], todo[:len(todo)-1]
		err := l.try(batch)
		if errors.Is(err, kafka.MessageSizeTooLarge) {
			if first, second := halves(batch); len(first) > 0 {
				todo = append(todo, second, first)
				continue
			}
			err = ErrRecordTooLarge
		}
		finish(batch, err)
		if err != nil && !errors.Is(err, ErrRecordTooLarge) && !errors.Is(err, context.Canceled) {
			finish(slices.Concat(todo...), err)
			return
		}
	}
}

// try writes a batch, and tries again what may pass, as long as anybody waits for it:
// nothing is sent for those who gave it up, whatever took the time.
func (l *lane) try(batch []piece) error {
	began, backoff := time.Now(), jitter.Backoff{Min: 50 * time.Millisecond, Max: time.Second}
	for {
		if !slices.ContainsFunc(batch, func(p piece) bool { return p.awaited() }) {
			return context.Canceled
		}
		err := l.once(batch)
		if !mayPass(err) {
			l.ill = time.Time{}
			return err
		}
		if l.ill.IsZero() {
			l.ill = time.Now()
		}
		if time.Since(began) > produceFor {
			return err
		}
		select {
		case <-l.producer.life.Done():
			return io.ErrClosedPipe
		case <-time.After(max(backoff.Next(), time.Until(l.rest))):
		}
		l.producer.renew(l.producer.life, err, time.Since(l.ill) < produceFor)
	}
}

func (l *lane) once(batch []piece) error {
	ctx, cancel := context.WithTimeout(l.producer.life, produceTimeout+l.producer.muted())
	defer cancel()
	res, err := bare(ctx, l.producer.client.Produce, &kafka.ProduceRequest{
		Topic: l.producer.cfg.Topic, Partition: l.partition,
		RequiredAcks: kafka.RequireAll, Compression: l.producer.codec,
		Records: &reader{pieces: batch, keepTime: l.producer.cfg.KeepTime},
	})
	if l.producer.life.Err() != nil && err != nil {
		return io.ErrClosedPipe
	}
	if err != nil {
		return err
	}
	if over := min(res.Throttle, maxThrottle); over > 0 {
		l.rest = time.Now().Add(over)
		l.producer.mute(over)
	}
	return res.Error
}

// mayPass tells whether the same request may succeed later; false for nil.
func mayPass(err error) bool {
	if errors.Is(err, ErrBatch) {
		return false // it is as short another time, whatever ended its decompression
	}
	var temporary interface{ Temporary() bool }
	var name *net.DNSError // of a broker that is replaced
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

// reader reads the records of a batch, once.
type reader struct {
	pieces     []piece
	keepTime   bool
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
	r.record = kafka.Record{Headers: from.Headers} // the zero time becomes that of the request
	// A clock that ran ahead made a time that brokers refuse. It is cut here, each time a
	// record is sent: where it waits for another try, the clock may be right by then.
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
