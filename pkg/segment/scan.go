package segment

import (
	"context"
	"fmt"
	"io"
)

// scan calls fn for the frames in the first size bytes of a file, one after
// the other, with where their payloads lie; a frame's bytes are valid until fn
// returns. It returns where the first frame that is not whole begins, or
// where fn or ctx ended it, with the error: nil if all bytes are whole frames.
func scan(ctx context.Context, file io.ReaderAt, size int64, fn func(f frame, payloadAt int64) error) (int64, error) {
	var (
		window []byte
		buf    []byte // part of window: the file from at on
		at     int64
	)
	// need makes at least n bytes of buf, if the file has them.
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
		if err := need(frameFixed); err != nil {
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
