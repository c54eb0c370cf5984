package collector

import (
	"cmp"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/event"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// recordOverhead is roughly what a record costs in addition to its line.
const recordOverhead = 416 // bytes

// collect handles a request to one of the POST paths. If it returns no refusal, the whole request
// is in Kafka or in the spool, its rejected events as dead letters.
func (c *Collector) collect(w http.ResponseWriter, r *http.Request, kind event.Kind) (rejected map[event.Reason][]int, refused *refusal) {
	c.metrics.inFlightRequests.Inc()
	defer c.metrics.inFlightRequests.Dec()
	if !c.loaded() {
		return nil, retryLater(http.StatusServiceUnavailable, "starting", "the collector is starting: try again")
	}
	if !c.pace.admits() {
		return nil, overloaded()
	}
	g := &grant{budget: &c.inFlight}
	defer g.release()
	body, refused := c.readBody(w, r, g)
	if refused != nil {
		return nil, refused
	}
	waiting := len(body) + requestOverhead
	c.pace.enter(waiting)
	defer func() { c.pace.leave(waiting, refused == nil) }()
	t, refused := c.parse(kind, body, c.stamp(r), authorization(r), true, g)
	if refused != nil {
		return nil, refused
	}
	c.pace.enter(t.body + requestOverhead - waiting) // its size is known now that it is inflated
	waiting = t.body + requestOverhead
	return t.rejected, c.produce(t, g.transfer())
}

// stamp returns what the request itself tells about its events. It is made once, when the body has
// arrived.
func (c *Collector) stamp(r *http.Request) *event.Stamp {
	return &event.Stamp{
		ReceivedAt: time.Now().UTC().Truncate(time.Millisecond),
		// Server-side HTTP clients send no Origin.
		Browser: r.Header.Get("Origin") != "",
		IP:      clientIP(r, c.cfg.TrustedProxies),
	}
}

// parse turns a body into records and frees it; the grant then stands for the records' bytes
// only. If strict, it refuses a body all of whose events are at fault: its sender reads the answer.
func (c *Collector) parse(kind event.Kind, body []byte, stamp *event.Stamp, headerKey string, strict bool, g *grant) (parcel, *refusal) {
	p := <-c.parsers
	defer func() { c.parsers <- p }()
	body, refused := p.inflate(body, g)
	if refused != nil {
		return parcel{}, refused
	}
	defer func() { freeBody(body) }()
	c.metrics.receivedBytes.Add(float64(len(body)))
	request := &p.request
	if err := request.Parse(kind, body); err != nil {
		return parcel{}, eventRefusal(err)
	}
	if err := request.AllFaulty(); err != nil && strict {
		return parcel{}, eventRefusal(err)
	}
	sources, refused := c.resolveSources(request, headerKey)
	if refused != nil {
		return parcel{}, refused
	}
	size := request.LineBytes() + request.Len()*(maxSourceID+len(stamp.UserAgent)*6)
	if !g.resize(g.bytes + int64(size+request.Len()*recordOverhead)) {
		return parcel{}, overloaded()
	}
	if refused := c.limits.take(sources.charges); refused != nil {
		return parcel{}, refused
	}
	t, lines := c.pack(request, sources, stamp, size)
	t.body = len(body)
	c.metrics.lineBytes.Add(float64(len(lines)))
	g.resize(int64(cap(lines) + request.Len()*recordOverhead))
	return t, nil
}

// pack makes the records of a request's events, and the dead letters of those at fault. All of them
// share the memory of lines, of which size bytes are enough.
func (c *Collector) pack(request *event.Request, sources sourceIDs, stamp *event.Stamp, size int) (out parcel, lines []byte) {
	lines = make([]byte, 0, size)
	out = parcel{records: make([]stream.Record, 0, request.Len()), charges: sources.charges}
	const each = 4 // headers
	all := make([]stream.Header, 0, each*request.Len())
	var headers []stream.Header // shared by consecutive events of one source, except for the last header
	for i := range request.Len() {
		if i == 0 || sources.at(i) != sources.at(i-1) {
			stamp.ProjectID = sources.at(i)
			headers = []stream.Header{
				{Key: route.HeaderSource, Value: []byte(stamp.ProjectID)},
				{Key: route.HeaderReceived, Value: strconv.AppendInt(nil, stamp.ReceivedAt.UnixMilli(), 10)},
				{Key: route.HeaderLine, Value: []byte("1")},
				{Key: route.HeaderMessage},
			}
		}
		if fault := c.fault(request, sources, i); fault != nil {
			var letter stream.Record
			lines, letter = deadLetter(lines, request, i, stamp, fault)
			out.dead = append(out.dead, letter)
			if out.rejected == nil {
				out.rejected = map[event.Reason][]int{}
			}
			out.rejected[fault.Reason] = append(out.rejected[fault.Reason], i)
			c.metrics.rejected.WithLabelValues(string(fault.Reason)).Inc()
			continue
		}
		start := len(lines)
		var line event.Line
		lines, line = request.AppendLine(lines, i, stamp)
		all = append(all, headers...)
		own := all[len(all)-each : len(all) : len(all)]
		own[each-1].Value = line.MessageID
		out.records = append(out.records, stream.Record{Key: headers[0].Value, Value: lines[start:len(lines):len(lines)], Time: stamp.ReceivedAt, Headers: own})
		c.metrics.countEvent(line)
	}
	return out, lines
}

// fault returns why event i goes to the dead letters; nil if it does not.
func (c *Collector) fault(request *event.Request, sources sourceIDs, i int) *event.Error {
	fault := cmp.Or(request.Fault(i), sources.fault(i))
	if fault == nil && c.cfg.Validate {
		fault = request.MissingField(i)
	}
	return fault
}

// deadLetter appends event i to lines, formatted as a line if possible, and returns its dead
// letter.
func deadLetter(lines []byte, request *event.Request, i int, stamp *event.Stamp, fault *event.Error) ([]byte, stream.Record) {
	start := len(lines)
	isLine := fault.Reason != event.ErrNotObject
	var id []byte
	if isLine {
		var line event.Line
		lines, line = request.AppendLine(lines, i, stamp)
		if fault.Reason != event.ErrMessageID {
			id = line.MessageID
		}
	} else {
		lines = append(lines, request.Raw(i)...)
	}
	value := lines[start:len(lines):len(lines)]
	return lines, deadletter.NewRefused(stamp.ProjectID, stamp.ReceivedAt, value, isLine, id, string(fault.Reason))
}

// clientIP returns the address that a request came from, or the zero Addr if it is not known. It is
// the connection's address or, if that is a trusted proxy's, the last one in X-Forwarded-For that
// is not.
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
