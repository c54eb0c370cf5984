package segment

import (
	"fmt"
	"os"
	"path/filepath"
)

// Kinds of a spool's files, by what their names end in.
const (
	chunkExt   = ".spool"   // blocks
	journalExt = ".journal" // lines that are in no block yet, and checkpoints
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
	n      int // numbers are not used twice within a spool
	file   *os.File
	path   string
	size   int64
	refs   int  // extents that are still needed; the spool's owner counts
	listed bool // in the last checkpoint
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

// remove closes and deletes the chunk's file. A file that cannot be deleted
// is swept when the directory is next emptied or recovered.
func (c *chunk) remove() {
	_ = c.file.Close()
	_ = os.Remove(c.path)
}
