package main

import (
	"fmt"
	"sync"

	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/send"
	"github.com/sealift/sealift/pkg/shell"
)

// openLines are the lines that were read and have not been answered. Answers come in any order, but
// never more than a few batches are open.
type openLines struct {
	mu   sync.Mutex // guards all below
	open map[int64]struct{}
	last int64 // that was read
}

func (l *openLines) add(e send.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[e.Line] = struct{}{}
	l.last = e.Line
}

func (l *openLines) remove(events ...send.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		delete(l.open, e.Line)
	}
}

// resumeHint says how to go on with the file after sending ended early, or nothing if there was
// nothing to send.
func (l *openLines) resumeHint(file string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.last + 1
	for line := range l.open {
		first = min(first, line)
	}
	var hint string
	switch {
	case l.last == 0:
		return ""
	case first == 1:
		hint = "line 1 was not answered: begin again"
	case file == "-":
		hint = fmt.Sprintf("every line before line %d is done: go on with that one", first)
	default:
		hint = fmt.Sprintf("every line before line %d is done: go on with `tail -n +%[1]d %s | sealift send` and the same flags", first, shell.QuoteIfNeeded(file))
	}
	if first <= l.last {
		hint += fmt.Sprintf("; of the %s from there, some may have arrived: those with a messageId of their own are delivered once all the same (appender.dedup_window), others twice",
			progress.Plural(l.last-first+1, "line"))
	}
	return hint
}
