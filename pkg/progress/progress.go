// Package progress draws a progress bar for long work on a terminal and is silent everywhere else,
// so that pipes and logs contain only the result.
//
// It is for commands. It never fails and does not slow the work down: it draws at most ten times a
// second, in a goroutine of its own.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Unit formats an amount.
type Unit func(n int64) string

// Bar is a running progress bar. It is safe for concurrent use; a nil Bar
// does nothing.
type Bar struct {
	out   io.Writer
	label string
	unit  Unit
	begin time.Time
	total atomic.Int64
	done  atomic.Int64

	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
	width   int // of the last line; used only by the drawing goroutine, and by Finish after it
}

// Start draws a bar on out until Finish. A total of 0 means that it is not known (yet). If out is
// not a terminal it returns nil, which draws nothing.
func Start(out io.Writer, label string, total int64, unit Unit) *Bar {
	if !CanDraw(out) {
		return nil
	}
	b := newBar(out, label, total, unit)
	b.stopped.Go(func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			b.draw()
			select {
			case <-b.stop:
				return
			case <-tick.C:
			}
		}
	})
	return b
}

func newBar(out io.Writer, label string, total int64, unit Unit) *Bar {
	b := &Bar{out: out, label: label, unit: unit, begin: time.Now(), stop: make(chan struct{})}
	b.total.Store(total)
	return b
}

// CanDraw reports whether w is a terminal on which a line can be overwritten.
func CanDraw(w io.Writer) bool { return IsTerminal(w) && os.Getenv("TERM") != "dumb" }

// IsTerminal reports whether f is a terminal, where a person reads or writes.
func IsTerminal(f any) bool {
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	// The standard streams have names of their own, whatever they are.
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// Add counts n more as done.
func (b *Bar) Add(n int64) {
	if b != nil {
		b.done.Add(n)
	}
}

// Grow raises the total by n.
func (b *Bar) Grow(n int64) {
	if b != nil {
		b.total.Add(n)
	}
}

// Above returns line in a form that may be written while the bar is drawn; the bar continues below
// it.
func (b *Bar) Above(line string) string {
	if b == nil {
		return line + "\n"
	}
	return fmt.Sprintf("\r%-80s\n", line)
}

// Finish removes the bar; further output starts where it was. It may be called more than once.
func (b *Bar) Finish() {
	if b == nil {
		return
	}
	b.once.Do(func() {
		close(b.stop)
		b.stopped.Wait()
		fmt.Fprintf(b.out, "\r%s\r", strings.Repeat(" ", b.width))
	})
}

// draw overwrites the previous line.
func (b *Bar) draw() {
	line := b.line(time.Since(b.begin))
	fmt.Fprintf(b.out, "\r%s%s", line, strings.Repeat(" ", max(0, b.width-len(line))))
	b.width = len(line)
}

// line returns the bar, which fits into 80 columns for labels of up to 10 ASCII characters.
func (b *Bar) line(took time.Duration) string {
	const width = 20
	done, total := b.done.Load(), b.total.Load()
	rate := float64(done) / max(took.Seconds(), 0.001)
	speed := b.unit(int64(rate)) + "/s"
	if total <= 0 {
		return fmt.Sprintf("%s  %s  %s", b.label, b.unit(done), speed)
	}
	part := min(float64(done)/float64(total), 1)
	full := int(part * width)
	eta := ""
	if rate > 0 && done < total {
		eta = "  " + (time.Duration(float64(total-done) / rate * float64(time.Second))).Round(time.Second).String() + " left"
	}
	return fmt.Sprintf("%s [%s%s] %3.0f%%  %s of %s  %s%s", b.label, strings.Repeat("#", full), strings.Repeat(".", width-full),
		part*100, b.unit(done), b.unit(total), speed, eta)
}
