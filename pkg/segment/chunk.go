package segment

import (
	"fmt"
	"os"
	"path/filepath"
)

// File name extensions of a spool's two kinds of files.
const (
	chunkExt   = ".spool"   // blocks
	journalExt = ".journal" // lines that are not in a block yet, and checkpoints
)

// extent is where a block's payload lies.
type extent struct {
	chunk *chunk
	off   int64
	len   int64
}

// chunk is one file of a spool. Its frames are appended by the spool's owner;
// payloads may be read by others as long as they hold a reference.
type chunk struct {
	n            int // a number is used only once within a spool
	file         *os.File
	path         string
	size         int64
	refs         int  // extents that are still needed, counted by the spool's owner
	inCheckpoint bool // in the last checkpoint
}

func chunkPath(dir string, n int, ext string) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", n, ext))
}

func createChunk(dir string, n int, ext string) (*chunk, error) {
	path := chunkPath(dir, n, ext)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create spool chunk: %w", err)
	}
	return &chunk{n: n, file: f, path: path}, nil
}

// append writes whole frames.
func (c *chunk) append(frames []byte) error {
	n, err := c.file.Write(frames)
	c.size += int64(n)
	if err != nil {
		return fmt.Errorf("write spool chunk: %w", err)
	}
	return nil
}

// remove closes and deletes the chunk's file. If the file cannot be deleted, the next emptying or
// recovery of the directory deletes it.
func (c *chunk) remove() {
	_ = c.file.Close()
	_ = os.Remove(c.path)
}
