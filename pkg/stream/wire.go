package stream

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

// brokerConn is a connection to a broker, with at most one request in flight. kafka-go opens and
// authenticates it, and does not use it after that.
type brokerConn struct {
	conn      net.Conn
	id        int32 // of the last request
	idleSince time.Time
}

// connPool are a client's idle connections by broker; partitions share them.
type connPool struct {
	mu     sync.Mutex // guards idle and closed
	idle   map[string][]*brokerConn
	closed bool
}

// maxIdle is how long an unused connection is kept. Brokers close them after ten minutes by
// default.
const maxIdle = time.Minute

// get returns a connection, and whether it was used before.
func (p *connPool) get(ctx context.Context, dialer *kafka.Dialer, broker string) (w *brokerConn, used bool, err error) {
	p.mu.Lock()
	for list := p.idle[broker]; len(list) > 0; list = p.idle[broker] {
		w := list[len(list)-1]
		p.idle[broker] = list[:len(list)-1]
		if time.Since(w.idleSince) < maxIdle {
			p.mu.Unlock()
			return w, true, nil
		}
		_ = w.conn.Close()
	}
	p.mu.Unlock()
	w, err = dialBroker(ctx, dialer, broker)
	return w, false, err
}

// put returns a connection.
func (p *connPool) put(broker string, w *brokerConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = w.conn.Close()
		return
	}
	if p.idle == nil {
		p.idle = map[string][]*brokerConn{}
	}
	w.idleSince = time.Now()
	p.idle[broker] = append(p.idle[broker], w)
	for broker, list := range p.idle { // the last one is used first, so the others age
		for len(list) > 0 && w.idleSince.Sub(list[0].idleSince) > maxIdle {
			_ = list[0].conn.Close()
			list = list[1:]
		}
		if p.idle[broker] = list; len(list) == 0 {
			delete(p.idle, broker)
		}
	}
}

// close closes connections that are idle now, and those returned later.
func (p *connPool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, list := range p.idle {
		for _, w := range list {
			_ = w.conn.Close()
		}
	}
	p.idle = nil
}

func dialBroker(ctx context.Context, dialer *kafka.Dialer, broker string) (*brokerConn, error) {
	w := new(brokerConn)
	d := *dialer
	d.TLS = nil
	d.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		w.conn = conn
		if dialer.TLS == nil {
			return conn, nil
		}
		cfg := dialer.TLS.Clone()
		if cfg.ServerName == "" {
			cfg.ServerName, _, _ = net.SplitHostPort(address)
		}
		secure := tls.Client(conn, cfg)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, err
		}
		w.conn = secure
		return secure, nil
	}
	if _, err := d.DialContext(ctx, "tcp", broker); err != nil {
		return nil, err
	}
	return w, nil
}

// nextID returns the id of the next request.
func (w *brokerConn) nextID() int32 {
	w.id++
	return w.id
}

// maxResponseBytes limits the size of a response. A fetch returns at least one whole batch; a
// broker that accepts batches larger than this is misconfigured, or not a broker.
const maxResponseBytes = 256 << 20

var errResponse = errors.New("the broker's answer is not one to the request")

// roundTrip sends a request and returns the body of the response, in buf if it fits. After an error
// the connection cannot be used any more.
func (w *brokerConn) roundTrip(ctx context.Context, request, buf []byte) ([]byte, error) {
	deadline, _ := ctx.Deadline()
	if err := w.conn.SetDeadline(deadline); err != nil {
		return buf, err
	}
	// If the context ends early, so does the wait for the answer.
	stop := context.AfterFunc(ctx, func() { _ = w.conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := w.conn.Write(request); err != nil {
		return buf, err
	}
	var head [8]byte
	if _, err := io.ReadFull(w.conn, head[:]); err != nil {
		return buf, err
	}
	size := int64(int32(binary.BigEndian.Uint32(head[:]))) - 4
	if id := int32(binary.BigEndian.Uint32(head[4:])); size < 0 || size > maxResponseBytes || id != w.id {
		return buf, fmt.Errorf("%w: %d bytes to request %d", errResponse, size, id)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size+size/8)
	}
	buf = buf[:size]
	_, err := io.ReadFull(w.conn, buf)
	if err == nil && !stop() {
		return buf, ctx.Err() // AfterFunc may have set the deadline
	}
	return buf, err
}

// appendFetch appends a Fetch request, version 10 (brokers since 2.1), for one partition, without a
// session.
func appendFetch(b []byte, id int32, client, topic string, partition int, offset int64, opts FetchOptions) []byte {
	be := binary.BigEndian
	i32 := func(ns ...int32) {
		for _, n := range ns {
			b = be.AppendUint32(b, uint32(n))
		}
	}
	text := func(s string) { b = append(be.AppendUint16(b, uint16(len(s))), s...) }
	start := len(b)
	i32(0)
	b = append(b, 0, 1, 0, 10) // Fetch, version 10
	i32(id)
	text(client)
	i32(-1, int32(opts.MaxWait.Milliseconds()), 1, int32(opts.MaxBytes)) // no replica; wait; minimum and maximum bytes
	b = append(b, 0)                                                     // including uncommitted records
	i32(0, -1)                                                           // no session
	i32(1)
	text(topic)
	i32(1, int32(partition), -1) // any leader epoch
	b = be.AppendUint64(b, uint64(offset))
	b = be.AppendUint64(b, ^uint64(0)) // no replica's log start
	i32(int32(opts.MaxBytes), 0)       // and no forgotten topics
	be.PutUint32(b[start:], uint32(len(b)-start-4))
	return b
}

// fetchResponse is the content of a Fetch response for its only partition.
type fetchResponse struct {
	code                    int16
	highWatermark, logStart int64
	records                 []byte
}

// throttledError is a response without data: the client is over a quota, and has to ask again after
// that time.
type throttledError time.Duration

func (t throttledError) Error() string {
	return fmt.Sprintf("over a quota of the broker's, for %s", time.Duration(t))
}

// readFetchResponse decodes a Fetch response, version 10.
func readFetchResponse(b []byte, topic string, partition int) (fetchResponse, error) {
	r := cursor{b: b}
	throttle := throttledError(time.Duration(r.i32()) * time.Millisecond)
	code := int16(r.u16())
	r.skip(4) // session
	if code != 0 {
		return fetchResponse{code: code}, r.err
	}
	topics, name := r.i32(), ""
	if topics == 0 && throttle > 0 && r.err == nil {
		return fetchResponse{}, throttle
	}
	if topics == 1 {
		name = string(r.take(int64(r.u16())))
	}
	partitions, n := r.i32(), r.i32()
	if r.err != nil || topics != 1 || partitions != 1 || name != topic || int(n) != partition {
		return fetchResponse{}, fmt.Errorf("%w: another partition", errResponse)
	}
	a := fetchResponse{code: int16(r.u16()), highWatermark: r.i64()}
	r.skip(8) // last stable offset
	a.logStart = r.i64()
	if aborted := r.i32(); aborted > 0 {
		r.skip(16 * int64(aborted))
	}
	if size := r.i32(); size > 0 {
		a.records = r.take(int64(size))
	}
	return a, r.err
}
