package segment

import (
	"fmt"
	"os"
	"path/filepath"
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
	file *os.File
	path string
	size int64
	refs int // extents that are still needed; the spool's owner counts
}

func createChunk(dir string, n int) (*chunk, error) {
	path := filepath.Join(dir, fmt.Sprintf("%08d.spool", n))
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create spool chunk: %w", err)
	}
	return &chunk{file: f, path: path}, nil
}

// remove closes and deletes the chunk's file. A file that cannot be deleted
// is swept when the directory is next emptied.
func (c *chunk) remove() {
	_ = c.file.Close()
	_ = os.Remove(c.path)
}
