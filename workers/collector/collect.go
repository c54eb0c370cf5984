package collector

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/stream"
)

// The headers of a record of the events topic.
const (
	headerSource   = "sealift-source"
	headerReceived = "sealift-received" // unix milliseconds, decimal
	// headerLine vouches that the value is one JSON object without a newline,
	// so that the appender need not parse it again.
	headerLine = "sealift-line"
	// headerMessage is the messageId, by which the appender tells copies.
	headerMessage = "sealift-message"
)

// recordOverhead is about what a record costs beside its line.
const recordOverhead = 416 // bytes

// collect takes a request of the POST paths; nil means that all of it is in
// Kafka.
func (c *Collector) collect(r *http.Request, kind event.Kind) *refusal {
	c.metrics.inFlightRequests.Inc()
	defer c.metrics.inFlightRequests.Dec()
	if !c.loaded() {
		return retryLater(http.StatusServiceUnavailable, "starting", "the collector is starting: try again")
	}
	g := &grant{budget: &c.inFlight}
	body, no := c.readBody(r, g)
	if no != nil {
		g.release()
		return no
	}
	c.metrics.receivedBytes.Add(float64(len(body)))
	records, no := c.records(kind, body, c.stamp(r), authorization(r), g)
	freeBody(body)
	if no != nil {
		g.release()
		return no
	}
	return c.produce(r.Context(), records, g)
}

// stamp says what the request alone tells about its events. It is made once,
// when the body has arrived.
func (c *Collector) stamp(r *http.Request) *event.Stamp {
	return &event.Stamp{
		ReceivedAt: time.Now().UTC().Truncate(time.Millisecond),
		// Servers' HTTP clients send no Origin.
		Browser: r.Header.Get("Origin") != "",
		IP:      clientIP(r, c.cfg.TrustedProxies),
	}
}

// records turns a body into records, whose bytes are all that the grant then
// stands for. The body is free when it returns.
func (c *Collector) records(kind event.Kind, body []byte, stamp *event.Stamp, headerKey string, g *grant) ([]stream.Record, *refusal) {
	request := <-c.parsers
	defer func() { c.parsers <- request }()
	if err := request.Parse(kind, body); err != nil {
		return nil, refuseEvent(err)
	}
	sources, no := c.sources(request, headerKey)
	if no != nil {
		return nil, no
	}
	if no := c.limits.take(sources.charges, stamp.ReceivedAt); no != nil {
		return nil, no
	}
	size := request.LineBytes() + request.Len()*(maxSourceID+len(stamp.UserAgent)*6)
	if !g.resize(g.bytes + int64(size+request.Len()*recordOverhead)) {
		return nil, overloaded()
	}
	lines := make([]byte, 0, size)
	records := make([]stream.Record, request.Len())
	const each = 4 // headers
	all := make([]stream.Header, 0, each*len(records))
	var headers []stream.Header // shared by neighbours of one source, but for the last
	for i := range records {
		if i == 0 || sources.at(i) != sources.at(i-1) {
			stamp.ProjectID = sources.at(i)
			headers = []stream.Header{
				{Key: headerSource, Value: []byte(stamp.ProjectID)},
				{Key: headerReceived, Value: strconv.AppendInt(nil, stamp.ReceivedAt.UnixMilli(), 10)},
				{Key: headerLine, Value: []byte("1")},
				{Key: headerMessage},
			}
		}
		start := len(lines)
		var line event.Line
		lines, line = request.AppendLine(lines, i, stamp)
		all = append(all, headers...)
		own := all[len(all)-each : len(all) : len(all)]
		own[each-1].Value = line.MessageID
		records[i] = stream.Record{Key: headers[0].Value, Value: lines[start:len(lines):len(lines)], Time: stamp.ReceivedAt, Headers: own}
		c.metrics.event(line)
	}
	c.metrics.lineBytes.Add(float64(len(lines)))
	g.resize(int64(cap(lines) + len(records)*recordOverhead))
	return records, nil
}

// clientIP returns the address that a request came from, the zero Addr if it
// is not known: the connection's, or the last one in X-Forwarded-For that no
// trusted proxy wrote down for itself.
func clientIP(r *http.Request, trusted []netip.Prefix) netip.Addr {
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := at.Addr().Unmap()
	hops := r.Header.Values("X-Forwarded-For")
	for next := lastHop(hops); contains(trusted, addr); {
		hop, ok := next()
		if !ok {
			break
		}
		addr = hop
	}
	return addr
}
