package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/send"
	"github.com/sealift/sealift/pkg/transport"
)

// writeKeyVariable names the variable that holds the write key if --write-key is not given: flags
// are visible in process lists.
const writeKeyVariable = "SEALIFT_WRITE_KEY"

// sendFlushEvery is how often lines are sent that do not fill a batch, as of tail -f.
const sendFlushEvery = time.Second

// sendOptions are the arguments of `sealift send`.
type sendOptions struct {
	file        string // "-": standard input
	url         string
	writeKey    string
	concurrency int
	plain       bool // no gzip
	retryFor    time.Duration
	json        bool
}

func newSendCommand(a *app) *cobra.Command {
	o := &sendOptions{file: "-"}
	cmd := &cobra.Command{
		Use:     "send [FILE]",
		GroupID: groupData,
		Short:   "Send events from a file or standard input to a collector",
		Long: `Send events to a collector.

Each line is one JSON object. A Tracking API call (it has a type) is sent as it is. An object without a type
but with an event and a userId or anonymousId is sent as a track call. Any other object becomes the properties
of a track call named Line; the output says how many. A line without a messageId gets one, so that retries can
be recognised. A call that has been received before, as in Segment's files or Sealift's own, keeps its timestamp.
Lines of a pipe that stays open, such as tail -f, are sent within a second.

Batches that the collector cannot take now are retried. Exit code 0: every line was accepted; 1: sending ended
early, or no line of a file that is not empty was an event; 3: some lines were refused or became dead letters (the first ones are named).
A line too large for the events topic (max.message.bytes) counts as accepted and becomes a dead letter
(too_large), visible only in "sealift sources status". If sending ends early, it says with which line to go on.`,
		Example: `  sealift send events.ndjson --write-key demo
  zcat *.gz | sealift send --url https://events.example.com --write-key wk_...`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				o.file = args[0]
			}
			return a.sendFile(cmd.Context(), o)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.url, "url", "http://localhost:8080", "the collector's URL")
	f.StringVar(&o.writeKey, "write-key", "", "write key of the source ("+writeKeyVariable+")")
	f.IntVar(&o.concurrency, "concurrency", 4, "batches sent at once")
	f.BoolVar(&o.plain, "no-gzip", false, "do not compress requests")
	f.DurationVar(&o.retryFor, "retry-for", 10*time.Minute, "how long a batch is retried before giving up; 0: until it is taken")
	f.BoolVar(&o.json, "json", false, "print the counts as JSON")
	return cmd
}

// fillIn fills in and checks the arguments.
func (o *sendOptions) fillIn(env []string) error {
	for _, v := range env {
		if key, ok := strings.CutPrefix(v, writeKeyVariable+"="); ok {
			o.writeKey = cmp.Or(o.writeKey, key)
		}
	}
	u, err := url.Parse(o.url)
	switch {
	case o.writeKey == "":
		return usageError("which source? Give its write key with --write-key or " + writeKeyVariable)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return usageError(fmt.Sprintf("--url %q: want a URL such as http://localhost:8080", o.url))
	case o.concurrency < 1 || o.concurrency > 256:
		return usageError("--concurrency: want 1 to 256")
	case o.retryFor < 0:
		return usageError("--retry-for: want more than 0, or 0 for no limit")
	}
	return nil
}

// sendCounts says what became of the lines.
type sendCounts struct {
	Sent        int64   `json:"sent"`         // acknowledged, and not dead letters
	DeadLetters int64   `json:"dead_letters"` // acknowledged, but in no file
	Refused     int64   `json:"refused"`      // lines that are not events, and events refused for good
	Wrapped     int64   `json:"wrapped"`      // lines that are not calls, sent as track calls named Line
	Resent      int64   `json:"resent"`       // sent again, and perhaps accepted twice
	Seconds     float64 `json:"seconds"`
	events      int64   // read from the input
	resumeHint  string  // if sending ended early
}

func (a *app) sendFile(ctx context.Context, o *sendOptions) error {
	if err := o.fillIn(a.env); err != nil {
		return err
	}
	in, err := a.openInput(o.file)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := a.probeCollector(ctx, o.url, o.writeKey); err != nil {
		return err
	}
	counted, bar := withBar(a.stderr, in)
	defer bar.Finish()
	start := time.Now()
	counts, err := a.sendLines(ctx, o, counted)
	counts.Seconds = time.Since(start).Seconds()
	bar.Finish()
	if err := a.printCounts(o, counts); err != nil {
		return err
	}
	switch {
	case err != nil:
		if counts.resumeHint != "" {
			fmt.Fprintln(a.stderr, "sealift:", counts.resumeHint)
		}
		return err
	case counts.Refused > 0 && counts.events == 0:
		name, file := o.file, o.file
		if file == "-" {
			name, file = "standard input", "FILE"
		}
		return noEventError(name, file)
	case counts.Refused > 0:
		return partialError(progress.Plural(counts.Refused, "line") + " not sent")
	case counts.DeadLetters > 0:
		return partialError("not every line became an event: " + progress.Plural(counts.DeadLetters, "dead letter"))
	}
	return nil
}

// sendLines sends the lines of in. The counts are right even if it returns an error.
func (a *app) sendLines(ctx context.Context, o *sendOptions, in io.Reader) (sendCounts, error) {
	var acked atomic.Int64
	tally := &sendTally{errOut: a.stderr}
	lines := &openLines{open: map[int64]struct{}{}}
	sender := send.New(ctx, send.Config{
		URL: o.url, Workers: o.concurrency, Gzip: !o.plain, RetryFor: o.retryFor, Log: a.log,
		OnAcked:   func(events []send.Event) { acked.Add(int64(len(events))); lines.remove(events...) },
		OnRefused: func(e send.Event, reason string) { tally.countRefused(e.Line, reason); lines.remove(e) },
		OnDead:    func(e send.Event, reason string) { tally.countDeadLetter(e.Line, reason); lines.remove(e) },
	})
	read := int64(0)
	err := func() error {
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		input := readLines(ctx, in)
		flush := time.NewTicker(sendFlushEvery)
		defer flush.Stop()
		for {
			var l sentLine
			var ok bool
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-flush.C:
				if err := sender.Flush(); err != nil {
					return err
				}
				continue
			case l, ok = <-input:
			}
			var bad *send.BadLine
			switch {
			case !ok:
				return nil
			case errors.As(l.err, &bad):
				tally.countRefused(bad.Line, bad.Reason)
				continue
			case l.err != nil:
				return fmt.Errorf("send %q: %w", o.file, l.err)
			}
			l.event.WriteKey = o.writeKey
			lines.add(l.event)
			if err := sender.Send(l.event); err != nil {
				return err
			}
			read++
			tally.countWrapped(l.event)
		}
	}()
	// Close still sends what was read, and returns the cause if Send failed.
	if closed := sender.Close(); closed != nil {
		err = closed
	}
	return sendCounts{
		Sent: acked.Load(), DeadLetters: tally.deadLetters, Refused: tally.refused, Wrapped: tally.wrapped, Resent: sender.Resent(), events: read,
		resumeHint: lines.resumeHint(o.file),
	}, err
}

// sentLine is a line of the input, or why it is no event.
type sentLine struct {
	event send.Event
	err   error
}

// readLines reads the lines of in until it ends or ctx does. A pipe may be silent for ever, and
// nothing else interrupts reading it.
func readLines(ctx context.Context, in io.Reader) <-chan sentLine {
	lines := make(chan sentLine, 64)
	go func() {
		defer close(lines)
		for e, err := range send.NDJSON(in, "send-"+uuid.NewString()) {
			select {
			case lines <- sentLine{e, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

func (a *app) printCounts(o *sendOptions, c sendCounts) error {
	if o.json {
		return a.printJSON(c)
	}
	text := fmt.Sprintf("sent %s in %.1fs", progress.Plural(c.Sent, "event"), c.Seconds)
	if c.DeadLetters > 0 {
		text += ", " + progress.Plural(c.DeadLetters, "dead letter")
	}
	if c.Refused > 0 {
		text += fmt.Sprintf(", %s refused", progress.Plural(c.Refused, "line"))
	}
	if c.Resent > 0 {
		text += fmt.Sprintf(", %s sent again", progress.Plural(c.Resent, "event"))
	}
	if c.Wrapped > 0 {
		text += "\n" + wrappedText(c.Wrapped)
	}
	if c.DeadLetters > 0 {
		text += "\n`sealift sources status` shows dead letters, `sealift sources redrive` sends them again after a fix"
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return err
}

// probeCollector detects a wrong URL or write key before anything is read. It ignores what may pass
// while sending, such as a 503.
func (a *app) probeCollector(ctx context.Context, collector, key string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	at := strings.TrimSuffix(collector, "/") + "/v1/projects/" + url.PathEscape(key) + "/settings"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return usageError(fmt.Sprintf("--url %q: %v", collector, err))
	}
	resp, err := (&http.Client{CheckRedirect: transport.NoRedirects}).Do(req)
	var failed *url.Error
	if errors.As(err, &failed) {
		err = failed.Err // without the URL, which holds the key
	}
	if err != nil {
		return fmt.Errorf("reach the collector at %s: %w; %s", collector, err, reachHint(err))
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	var answer struct {
		Code         string
		Integrations map[string]any
	}
	switch json := json.Unmarshal(text, &answer) == nil; {
	case resp.StatusCode >= 500, resp.StatusCode == http.StatusTooManyRequests, resp.StatusCode == http.StatusRequestTimeout, err != nil:
		return nil
	case resp.StatusCode == http.StatusOK && json && answer.Integrations != nil:
		return nil
	case resp.StatusCode == http.StatusNotFound && answer.Code == "unknown_write_key":
		return fmt.Errorf("the collector at %s knows no source with this write key; compare `printf %%s KEY | sha256sum` with write_key_hashes in `sealift catalog get`", collector)
	case resp.StatusCode == http.StatusNotFound && answer.Code == "path":
		return fmt.Errorf("--url %s: the collector there serves nothing below that path; leave the path out", collector)
	case resp.StatusCode == http.StatusBadRequest && strings.Contains(string(text), "HTTPS"): // Go's server and nginx, to plain http
		return fmt.Errorf("--url %s: TLS is spoken there; write https://…", collector)
	}
	if to, err := resp.Location(); err == nil && resp.StatusCode/100 == 3 {
		return fmt.Errorf("--url %s: that server redirects to %s, and events follow no redirect; write the URL of the collector itself", collector, strings.ReplaceAll(to.String(), key, "KEY"))
	}
	if resp.StatusCode == http.StatusOK || bytes.HasPrefix(text, []byte("<?xml")) { // a web site, or S3
		return fmt.Errorf("--url %s: that is no collector: it answered %d to GET /v1/projects/KEY/settings", collector, resp.StatusCode)
	}
	// A proxy in front of the collector may let only events through.
	a.log.WarnContext(ctx, "is --url a collector's? it does not say so", "url", collector, "answered", resp.StatusCode)
	return nil
}

// reachHint says what to check if no answer came.
func reachHint(err error) string {
	var untrusted x509.UnknownAuthorityError
	switch {
	case errors.As(err, &untrusted):
		return "if its certificate is of an authority of your own, name that one's file in the environment: SSL_CERT_FILE=ca.pem"
	case errors.Is(err, http.ErrSchemeMismatch):
		return "plain http is spoken there: write http://…"
	}
	return "is it running, and is --url right?"
}
