// Package send feeds events into a collector over HTTP, in batches and over several connections,
// and sends again what was not accepted, as the SDKs do. It is for `sealift demo` and `sealift
// send`.
//
// It promises that every event handed to it is reported once, as acknowledged, as refused for good
// or as a dead letter, or that Close returns an error. After a broken connection or a 5xx answer it
// sends a batch again, so the collector may have accepted it twice; Resent returns how many events
// that may concern.
package send

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
	"github.com/sealift/sealift/pkg/transport"
)

// Event is one call to the Tracking API.
type Event struct {
	WriteKey  string
	MessageID string
	Line      int64  // line number in the file; 0 if from no file
	Body      []byte // one JSON object with a type and this messageId
	Wrapped   bool   // the line is not a call; it was put into a track call named Line
	Received  bool   // the line is from a file that was delivered before
}

// Config configures a Sender.
type Config struct {
	// URL is the collector's address, such as http://localhost:8080.
	URL string
	// Workers is how many batches are under way at once. Default 4.
	Workers int
	// BatchEvents and BatchBytes bound a batch. Default 500 events and 400 KiB,
	// below the collector's 2,500 and 500 KiB.
	BatchEvents, BatchBytes int
	// Gzip compresses the requests.
	Gzip bool
	// RetryFor is how long a batch is retried until sending ends with an error; 0: until ctx ends.
	RetryFor time.Duration
	// OnAcked is called with the accepted events of a batch, OnRefused with an event that was
	// answered 400 on its own, and OnDead with an event that was answered 200 but is a dead letter;
	// its reason is that of the dead letter. They are called from any goroutine and must not keep
	// Body. If OnDead is nil, OnRefused is called instead.
	OnAcked   func([]Event)
	OnRefused func(e Event, reason string)
	OnDead    func(e Event, reason string)
	Log       *slog.Logger
}

// Sender sends events. Send, Flush and Close are for one goroutine.
type Sender struct {
	cfg         Config
	http        *http.Client
	openBatches map[string]*batch // by write key; only used by Send, Flush and Close
	work        chan *batch
	wg          sync.WaitGroup
	ctx         context.Context
	cancel      context.CancelCauseFunc
	resent      atomic.Int64
}

type batch struct {
	events []Event
	bytes  int
}

// New returns a Sender that stops sending when ctx ends.
func New(ctx context.Context, cfg Config) *Sender {
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	if cfg.BatchEvents <= 0 {
		cfg.BatchEvents = 500
	}
	if cfg.BatchBytes <= 0 {
		cfg.BatchBytes = 400 << 10
	}
	if cfg.OnDead == nil {
		cfg.OnDead = cfg.OnRefused
	}
	s := &Sender{
		cfg: cfg, openBatches: map[string]*batch{}, work: make(chan *batch),
		http: &http.Client{
			Timeout:       time.Minute,
			CheckRedirect: transport.NoRedirects, // following a redirect would turn the POST into a GET without a body
			Transport:     &http.Transport{MaxIdleConnsPerHost: cfg.Workers, Proxy: http.ProxyFromEnvironment},
		},
	}
	s.ctx, s.cancel = context.WithCancelCause(ctx)
	for range cfg.Workers {
		s.wg.Go(func() {
			for b := range s.work {
				if err := s.deliver(b.events); err != nil {
					s.cancel(err) // stops the other workers, too; Close returns err
				}
			}
		})
	}
	return s
}

// Send accepts an event; it blocks while the collector is slower than the caller. It keeps Body
// until the event has been reported. The error says why sending ended for good.
func (s *Sender) Send(e Event) error {
	b := s.openBatches[e.WriteKey]
	if b == nil {
		b = &batch{}
		s.openBatches[e.WriteKey] = b
	}
	if len(b.events) > 0 && b.bytes+len(e.Body) > s.cfg.BatchBytes {
		if err := s.enqueue(b); err != nil {
			return err
		}
		b = &batch{}
		s.openBatches[e.WriteKey] = b
	}
	b.events = append(b.events, e)
	b.bytes += len(e.Body) + 1
	if len(b.events) < s.cfg.BatchEvents {
		return nil
	}
	delete(s.openBatches, e.WriteKey)
	return s.enqueue(b)
}

func (s *Sender) enqueue(b *batch) error {
	select {
	case s.work <- b:
		return nil
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

// Flush sends what waits for a full batch, without waiting for the answers. The error says why
// sending ended for good.
func (s *Sender) Flush() error {
	for key, b := range s.openBatches {
		if err := s.enqueue(b); err != nil {
			return err
		}
		delete(s.openBatches, key)
	}
	return context.Cause(s.ctx)
}

// Close sends the rest and waits for all answers.
func (s *Sender) Close() error {
	err := s.Flush()
	close(s.work)
	s.wg.Wait()
	if err == nil {
		err = context.Cause(s.ctx)
	}
	s.cancel(nil)
	s.http.CloseIdleConnections()
	return err
}

// Resent returns how many events were sent again although an earlier request with them may have
// been accepted.
func (s *Sender) Resent() int64 { return s.resent.Load() }

// deliver sends the events, and retries, until every one was answered with 200, 400 or 413.
func (s *Sender) deliver(events []Event) error {
	start, backoff := time.Now(), jitter.Backoff{Min: 100 * time.Millisecond, Max: 5 * time.Second}
	for try := 1; ; try++ {
		a := s.post(events)
		switch {
		case a.err == nil && a.status == http.StatusOK && a.accepted:
			s.report(events, a.dead)
			return nil
		case a.err == nil && a.status == http.StatusOK:
			return fmt.Errorf("send %d events to %s: answered 200 without success: it is no collector; check the URL", len(events), s.cfg.URL)
		case a.err == nil && a.status == http.StatusBadRequest, a.err == nil && a.status == http.StatusRequestEntityTooLarge:
			return s.bisect(events, a)
		case a.err == nil && a.status < 500 && a.status != http.StatusTooManyRequests && a.status != http.StatusRequestTimeout:
			return fmt.Errorf("send %d events to %s: answered %d: %s", len(events), s.cfg.URL, a.status, a.reason)
		}
		if try == 3 || try%50 == 0 {
			s.cfg.Log.Warn("the collector does not take events, retrying", "url", s.cfg.URL, "status", a.status, "reason", a.reason, "err", a.err)
		}
		if s.cfg.RetryFor > 0 && time.Since(start) > s.cfg.RetryFor {
			return fmt.Errorf("send %d events to %s: not taken in %s: %w", len(events), s.cfg.URL, s.cfg.RetryFor, a.failure())
		}
		if sleep.For(s.ctx, max(backoff.Next(), a.retryAfter)) != nil {
			return fmt.Errorf("send %d events to %s: %w", len(events), s.cfg.URL, errors.Join(context.Cause(s.ctx), a.err))
		}
		if a.err != nil || a.status != http.StatusTooManyRequests {
			s.resent.Add(int64(len(events)))
		}
	}
}

// report reports the events of a batch that was answered 200.
func (s *Sender) report(events []Event, dead map[string][]int) {
	if len(dead) == 0 {
		s.cfg.OnAcked(events)
		return
	}
	reasons := make([]string, len(events))
	for reason, at := range dead {
		for _, i := range at {
			if i >= 0 && i < len(events) {
				reasons[i] = reason
			}
		}
	}
	var accepted []Event
	for i, e := range events {
		if reasons[i] == "" {
			accepted = append(accepted, e)
		} else {
			s.cfg.OnDead(e, reasons[i])
		}
	}
	if len(accepted) > 0 {
		s.cfg.OnAcked(accepted)
	}
}

// bisect finds the events that are at fault. A 400 or 413 concerns a batch as a whole, of which
// nothing was accepted, so its halves are sent separately.
func (s *Sender) bisect(events []Event, a answer) error {
	if len(events) == 1 {
		s.cfg.OnRefused(events[0], a.reason)
		return nil
	}
	half := len(events) / 2
	if err := s.deliver(events[:half]); err != nil {
		return err
	}
	return s.deliver(events[half:])
}

// answer is the result of one request.
type answer struct {
	status     int
	accepted   bool             // the 200 comes from a collector
	dead       map[string][]int // reason -> indexes of the events that are dead letters
	reason     string
	retryAfter time.Duration
	err        error
}

// failure says why the batch was not accepted.
func (a answer) failure() error {
	if a.err != nil {
		return a.err
	}
	return fmt.Errorf("answered %d: %s", a.status, a.reason)
}

func (s *Sender) post(events []Event) answer {
	var body bytes.Buffer
	body.WriteString(`{"batch":[`)
	for i, e := range events {
		if i > 0 {
			body.WriteByte(',')
		}
		body.Write(e.Body)
	}
	body.WriteByte(']')
	// Otherwise the time since an event was received would count as what its sender's clock is wrong by.
	if !slices.ContainsFunc(events, func(e Event) bool { return e.Received }) {
		fmt.Fprintf(&body, `,"sentAt":%q`, time.Now().UTC().Format("2006-01-02T15:04:05.000Z07:00"))
	}
	body.WriteByte('}')

	encoding := ""
	if s.cfg.Gzip {
		encoding = "gzip"
		body = gzipBody(&body)
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodPost, strings.TrimSuffix(s.cfg.URL, "/")+"/v1/batch", &body)
	if err != nil {
		return answer{status: http.StatusBadRequest, err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	if encoding != "" {
		req.Header.Set("Content-Encoding", encoding)
	}
	req.SetBasicAuth(events[0].WriteKey, "")
	resp, err := s.http.Do(req)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return answer{err: err}
	}
	a := answer{status: resp.StatusCode, reason: reasonOf(text)}
	a.accepted, a.dead = parseSuccess(text)
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && seconds > 0 {
		a.retryAfter = time.Duration(min(seconds, 60)) * time.Second
	}
	return a
}

// gzipBody compresses body at the fastest level, because the collector is usually near.
func gzipBody(body *bytes.Buffer) bytes.Buffer {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed) // the level is valid
	_, _ = body.WriteTo(z)                          // writing to memory does not fail
	_ = z.Close()
	return b
}

// parseSuccess tells a collector's 200 from another server's, and returns which events are dead
// letters.
func parseSuccess(body []byte) (bool, map[string][]int) {
	var answer struct {
		Success     bool             `json:"success"`
		DeadLetters map[string][]int `json:"dead_letters"`
	}
	ok := json.Unmarshal(body, &answer) == nil && answer.Success
	return ok, answer.DeadLetters
}

// reasonOf returns the text of an answer.
func reasonOf(body []byte) string {
	var fields map[string]any
	if json.Unmarshal(body, &fields) == nil {
		for _, name := range []string{"message", "error", "reason", "detail"} {
			if text, ok := fields[name].(string); ok && text != "" {
				return text
			}
		}
	}
	return strings.TrimSpace(string(body))
}
