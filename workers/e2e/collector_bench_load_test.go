package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/sample"
)

// shape is the form of a load's requests.
type shape struct {
	events int // per request
	gzip   bool
}

func (s shape) String() string {
	if s.gzip {
		return fmt.Sprintf("%d gzip", s.events)
	}
	return fmt.Sprintf("%d plain", s.events)
}

const (
	benchSources  = 20
	benchRequests = 400 // different requests; after these they repeat
)

// requests returns complete HTTP requests to host, ready to be written: batches with one event per
// line, for all sources in turn.
func (s shape) requests(host string) [][]byte {
	events := sample.New(sample.Config{Seed: 1})
	var all [][]byte
	for i := range benchRequests {
		var body bytes.Buffer
		body.WriteString(`{"batch":[`)
		for n := range s.events {
			if n > 0 {
				body.WriteString(",\n")
			}
			body.Write(events.Next().Body)
		}
		fmt.Fprintf(&body, `],"sentAt":"2026-01-01T00:00:00.000Z","writeKey":%q}`, writeKey(sourceID(i%benchSources)))
		encoding := ""
		if s.gzip {
			var packed bytes.Buffer
			z := gzip.NewWriter(&packed)
			_, _ = z.Write(body.Bytes())
			_ = z.Close()
			body, encoding = packed, "Content-Encoding: gzip\r\n"
		}
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(writeKey(sourceID(i%benchSources)), "")
		head := fmt.Sprintf("POST /v1/batch HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nUser-Agent: bench\r\nAuthorization: %s\r\n%sContent-Length: %d\r\n\r\n",
			host, r.Header.Get("Authorization"), encoding, body.Len())
		all = append(all, append([]byte(head), body.Bytes()...))
	}
	return all
}

// line is one kept-alive connection. It takes less CPU than net/http's client does, on a machine
// that load and server share.
type line struct {
	net.Conn
	in *bufio.Reader
}

func dialLine(host string) (*line, error) {
	conn, err := net.DialTimeout("tcp", host, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &line{Conn: conn, in: bufio.NewReader(conn)}, nil
}

// send sends a request and returns the status of the answer.
func (l *line) send(request []byte) (int, error) {
	_ = l.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := l.Write(request); err != nil {
		return 0, err
	}
	resp, err := http.ReadResponse(l.in, nil)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	if resp.Close {
		err = errors.New("the server closes the connection")
	}
	return resp.StatusCode, err
}

// closedLoop sends over that many connections, on each as soon as it has its answer and at least
// once. It returns how many requests were answered 200 and how long it took after all connections
// were established.
func closedLoop(host string, requests [][]byte, connections int, d time.Duration) (taken int64, wall time.Duration, err error) {
	lines := make([]*line, connections)
	for i := range lines {
		if lines[i], err = dialLine(host); err != nil {
			return 0, 0, err
		}
		defer lines[i].Close()
	}
	var next, ok atomic.Int64
	var wg sync.WaitGroup
	errs := make([]error, connections)
	begin := time.Now()
	for i, l := range lines {
		wg.Go(func() {
			for first := true; first || time.Since(begin) < d; first = false {
				status, err := l.send(requests[int(next.Add(1))%len(requests)])
				if err != nil {
					errs[i] = err
					return
				}
				if status == http.StatusOK {
					ok.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return ok.Load(), time.Since(begin), errors.Join(errs...)
}

// latencies are what an open loop observed.
type latencies struct {
	ok     []time.Duration // of requests answered 200
	shed   []time.Duration // 503
	failed int             // anything else
	wall   time.Duration
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// openLoop sends requests at a constant rate, whatever becomes of earlier ones, over as many
// connections as necessary, up to the given number. Latencies count from when a request was due: if
// it waits for a connection, or for this process, its sender would notice that too.
func openLoop(host string, requests [][]byte, perSecond float64, connections int, d time.Duration) latencies {
	var mu sync.Mutex
	var seen latencies
	due := make(chan time.Time)
	var next atomic.Int64
	var wg sync.WaitGroup
	worker := func(first time.Time) {
		var l *line
		send := func(at time.Time) {
			status := 0
			var err error
			if l == nil {
				l, err = dialLine(host)
			}
			if err == nil {
				status, err = l.send(requests[int(next.Add(1))%len(requests)])
			}
			took := time.Since(at)
			if err != nil && l != nil {
				_ = l.Close()
				l = nil
			}
			mu.Lock()
			defer mu.Unlock()
			switch status {
			case http.StatusOK:
				seen.ok = append(seen.ok, took)
			case http.StatusServiceUnavailable:
				seen.shed = append(seen.shed, took)
			default:
				seen.failed++
			}
		}
		send(first)
		for at := range due {
			send(at)
		}
		if l != nil {
			_ = l.Close()
		}
	}
	begin, open := time.Now(), 0
	interval := float64(time.Second) / perSecond
	for i := 0; ; i++ {
		at := begin.Add(time.Duration(float64(i) * interval))
		if at.Sub(begin) > d {
			break
		}
		time.Sleep(time.Until(at))
		select {
		case due <- at:
			continue
		default:
		}
		if open < connections {
			open++
			wg.Go(func() { worker(at) })
			continue
		}
		due <- at
	}
	close(due)
	wg.Wait()
	seen.wall = time.Since(begin)
	slices.Sort(seen.ok)
	slices.Sort(seen.shed)
	return seen
}
