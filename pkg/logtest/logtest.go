// Package logtest keeps what is logged, or printed, for tests that read it
// meanwhile. It is for tests alone.
//
// It promises that what was written before a look is seen by it, whole. It does
// not wait for what is still to come.
package logtest

import (
	"bytes"
	"sync"
)

// Buffer is a bytes.Buffer that many may write while others read what it
// holds. The zero value is empty.
type Buffer struct {
	mu sync.Mutex
	b  bytes.Buffer // guarded by mu
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
