package main

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"iter"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/sample"
	"github.com/sealift/sealift/pkg/send"
	"github.com/sealift/sealift/pkg/shell"
)

// maxPrintedLines limits how many lines that were not sent, or became dead letters, are printed.
const maxPrintedLines = 20

// sendTally counts what was sent to the collector, and records what each bucket must contain as a
// result.
type sendTally struct {
	errOut io.Writer

	mu          sync.Mutex // guards all below
	acked       int64
	refused     int64 // lines that are not events, or are too large
	deadLetters int64 // lines that became dead letters; `sealift send` only
	wrapped     int64 // lines that are not Segment calls; sent as track calls named Line
	repeated    int64 // acked events whose messageId had been sent to the same source before
	resent      int64
	expected    map[string]*check.Expected // by destination id
	owed        map[string]int64           // acked events except repeated ones, by destination id
	known       map[uint64]struct{}        // hashes of source and messageId
	seed        maphash.Seed
}

// feed sends the file or the sample, and returns when everything has been answered.
func (d *demonstration) feed(ctx context.Context) (*sendTally, error) {
	s := &sendTally{errOut: d.errOut, expected: map[string]*check.Expected{}, owed: map[string]int64{}, known: map[uint64]struct{}{}, seed: maphash.MakeSeed()}
	events, bar := d.input(s)
	defer bar.Finish()
	snapshot := d.catalog.Snapshot()
	sender := send.New(ctx, send.Config{
		URL: "http://" + d.collector.Addr(), Log: d.log,
		OnAcked: func(acked []send.Event) {
			source := acked[0].WriteKey[len("wk_"):]
			s.countAcked(snapshot.Owed(source), source, acked)
			if d.file == "" {
				bar.Add(int64(len(acked)))
			}
		},
		OnRefused: func(e send.Event, reason string) { s.countRefused(e.Line, reason) },
	})
	n := 0
	for e, err := range events {
		var bad *send.BadLine
		switch {
		case errors.As(err, &bad):
			s.countRefused(bad.Line, bad.Reason)
			continue
		case err != nil:
			return nil, errors.Join(fmt.Errorf("send %q: %w", d.file, err), sender.Close())
		}
		if err := sender.Send(e); err != nil {
			return nil, errors.Join(err, sender.Close())
		}
		n++
		s.countWrapped(e)
	}
	if err := sender.Close(); err != nil {
		return nil, err
	}
	if n == 0 && d.file != "" {
		return nil, noEventError(d.file, d.file)
	}
	s.resent = sender.Resent()
	return s, nil
}

// input returns the events to send, and the progress bar.
func (d *demonstration) input(s *sendTally) (iter.Seq2[send.Event, error], *progress.Bar) {
	if d.file == "" {
		bar := progress.Start(d.errOut, "sending", int64(d.events), progress.Count)
		return sampleEvents(d.events), bar
	}
	in, bar := withBar(d.errOut, d.in)
	return s.fileEvents(in), bar
}

// noEventError is the error for a file without events. It says how to convert the file.
func noEventError(name, file string) error {
	file = shell.QuoteIfNeeded(file)
	return fmt.Errorf("%s has no event that can be sent; one JSON object a line is read (`jq -c . %s` makes that of one that is printed over lines; `jq -c '.[]' %s` of an array)", name, file, file)
}

func sampleEvents(n int) iter.Seq2[send.Event, error] {
	const step = 40 * time.Millisecond
	g := sample.New(sample.Config{Seed: 1, Sources: len(demoSources), Start: time.Now().Add(-time.Duration(n) * step), Step: step})
	return func(yield func(send.Event, error) bool) {
		for e := range g.Take(n) {
			if !yield(send.Event{WriteKey: "wk_" + demoSources[e.Source], MessageID: e.MessageID, Body: e.Body}, nil) {
				return
			}
		}
	}
}

// fileEvents assigns a file's events to the sources in turn, as many at a time as fill a batch.
func (s *sendTally) fileEvents(r io.Reader) iter.Seq2[send.Event, error] {
	const turn = 500
	return func(yield func(send.Event, error) bool) {
		n := 0
		for e, err := range send.NDJSON(r, "demo-"+uuid.NewString()[:8]) {
			if err == nil {
				e.WriteKey = "wk_" + demoSources[n/turn%len(demoSources)]
				n++
			}
			if !yield(e, err) {
				return
			}
		}
	}
}

func (s *sendTally) countAcked(destinations []string, source string, events []send.Event) {
	s.mu.Lock()
	s.acked += int64(len(events))
	first := int64(0)
	for i := range events {
		h := maphash.String(s.seed, source+"/"+events[i].MessageID)
		if _, again := s.known[h]; again {
			s.repeated++
			continue
		}
		s.known[h] = struct{}{}
		first++
	}
	var expected []*check.Expected
	for _, id := range destinations {
		if s.expected[id] == nil {
			s.expected[id] = &check.Expected{}
		}
		s.owed[id] += first
		expected = append(expected, s.expected[id])
	}
	s.mu.Unlock()
	for _, e := range expected {
		for i := range events {
			e.Acknowledge(source, events[i].MessageID)
		}
	}
}

// countWrapped counts the event if its line was not a Segment call.
func (s *sendTally) countWrapped(e send.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.Wrapped {
		s.wrapped++
	}
}

// wrappedText says what happened to lines that are not Segment calls, because somebody who
// merely forgot the type did not mean that.
func wrappedText(n int64) string {
	if n == 1 {
		return "1 line is not a Segment call; it was sent as a track call named Line"
	}
	return progress.Count(n) + " lines are not Segment calls; they were sent as track calls named Line"
}

func (s *sendTally) countRefused(line int64, reason string) {
	s.countAndPrint(&s.refused, "more lines are not sent; they are counted", fmt.Sprintf("line %d is not sent: %s", line, reason))
}

func (s *sendTally) countDeadLetter(line int64, reason string) {
	s.countAndPrint(&s.deadLetters, "more lines became dead letters; they are counted", fmt.Sprintf("line %d became a dead letter: %s", line, deadletter.Describe(reason)))
}

// countAndPrint counts a line. It prints text for the first lines, and more once for the rest.
func (s *sendTally) countAndPrint(count *int64, more, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch *count++; {
	case *count <= maxPrintedLines:
		fmt.Fprintln(s.errOut, text)
	case *count == maxPrintedLines+1:
		fmt.Fprintln(s.errOut, more)
	}
}

// printNotes prints the counts that a person may wonder about.
func (s *sendTally) printNotes(out io.Writer) {
	if s.refused > 0 {
		fmt.Fprintf(out, "%s not sent: not an event, or too large.\n", progress.Plural(s.refused, "line"))
	}
	if s.wrapped > 0 {
		fmt.Fprintln(out, wrappedText(s.wrapped)+".")
	}
	if s.repeated > 0 {
		fmt.Fprintf(out, "%s had a messageId that was already sent to the same source; each message is delivered once.\n", progress.Plural(s.repeated, "event"))
	}
	if s.resent > 0 {
		fmt.Fprintf(out, "%s sent again, because an answer was lost.\n", progress.Plural(s.resent, "event"))
	}
}

// withBar returns in with a progress bar of how far it was read.
func withBar(errOut io.Writer, in io.Reader) (io.Reader, *progress.Bar) {
	var size int64
	if f, ok := in.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode().IsRegular() {
			size = info.Size()
		}
	}
	bar := progress.Start(errOut, "sending", size, progress.Bytes)
	return &countingReader{in, bar}, bar
}

// countingReader tells a bar how far a file was read.
type countingReader struct {
	io.Reader
	bar *progress.Bar
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.bar.Add(int64(n))
	return n, err
}
