package segment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// LaterFile returns the path of a file in dir that a later release has written in a format that
// this one cannot read; "" if there is none. Call it before New or Recover: the former deletes such
// files, the latter does not return what they hold. Files that are damaged or unreadable are none.
func LaterFile(dir string) string {
	files, _ := os.ReadDir(dir) // an error shows again when the directory is used
	for _, f := range files {
		if path := filepath.Join(dir, f.Name()); isLater(path) {
			return path
		}
	}
	return ""
}

// isLater reports whether a file begins with a frame of a later release. All frames of a file are of
// one release.
func isLater(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	header := make([]byte, frameHeaderBytes)
	if _, err := f.ReadAt(header, 0); err != nil || header[15] <= frameFormat {
		return false
	}
	b, err := io.ReadAll(io.NewSectionReader(f, 0, frameBytes(header)))
	if err != nil {
		return false
	}
	_, _, err = readFrame(b)
	return errors.Is(err, errLater)
}

// scan calls fn for each frame in the first size bytes of a file, in order, with the offset of the
// frame's payload. A frame's bytes are valid until fn returns. scan returns a nil error if all
// bytes are whole frames. Otherwise it returns the error with the offset of the first frame that is
// not whole, or at which fn or ctx stopped it.
func scan(ctx context.Context, file io.ReaderAt, size int64, fn func(f frame, payloadAt int64) error) (int64, error) {
	var (
		window []byte
		buf    []byte // the part of window that begins at file offset at
		at     int64
	)
	// need extends buf to at least n bytes.
	need := func(n int64) error {
		if n <= int64(len(buf)) {
			return nil
		}
		if n > size-at {
			return fmt.Errorf("%w: cut short", errTorn)
		}
		have := len(buf)
		if n > int64(len(window)) {
			window = make([]byte, max(n, 1<<20))
		}
		copy(window, buf)
		buf = window[:min(int64(len(window)), size-at)]
		if _, err := file.ReadAt(buf[have:], at+int64(have)); err != nil {
			return fmt.Errorf("read spool: %w", err)
		}
		return nil
	}
	for at < size {
		if err := ctx.Err(); err != nil {
			return at, err
		}
		if err := need(frameHeaderBytes); err != nil {
			return at, err
		}
		if err := need(frameBytes(buf)); err != nil {
			return at, err
		}
		f, n, err := readFrame(buf)
		if err != nil {
			return at, err
		}
		if err := fn(f, at+n-int64(len(f.payload))); err != nil {
			return at, err
		}
		at += n
		buf = buf[n:]
	}
	return at, nil
}
