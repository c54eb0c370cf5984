package segment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"slices"
	"strings"
)

// lastCheckpoint returns the last whole checkpoint, and the lines before it.
func (r *Recovery) lastCheckpoint(ctx context.Context) (*checkpoint, []journalFrame, error) {
	numbers, err := r.listNumbers(journalExt)
	if err != nil {
		return nil, nil, err
	}
	for _, n := range slices.Backward(numbers) {
		c, lines, err := r.readJournal(ctx, n)
		if err != nil || c != nil { // nil: the process was killed before this journal's first checkpoint
			return c, lines, err
		}
	}
	return nil, nil, ErrNoCheckpoint
}

// listNumbers returns the sorted numbers of the directory's files with that extension.
func (r *Recovery) listNumbers(ext string) ([]int, error) {
	names, err := os.ReadDir(r.cfg.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var ns []int
	for _, name := range names {
		var n int
		if _, err := fmt.Sscanf(name.Name(), "%08d.", &n); err != nil {
			continue
		}
		r.next = max(r.next, n+1)
		if strings.HasSuffix(name.Name(), ext) {
			ns = append(ns, n)
		}
	}
	slices.Sort(ns)
	return ns, nil
}

// savedLines is the place of a frame's lines in a journal. They are read a second time long after
// the frame was checked, so they have a checksum of their own.
type savedLines struct {
	extent
	crc uint32 // CRC-32C of the lines
}

// journalFrame is a frame of lines with the place of its payload.
type journalFrame struct {
	frame
	savedLines
}

// readJournal returns the last checkpoint of a journal whose chunks are all there, with the lines
// before it; nil if there is none.
func (r *Recovery) readJournal(ctx context.Context, n int) (*checkpoint, []journalFrame, error) {
	j, err := openChunk(r.cfg.Dir, n, journalExt)
	if err != nil {
		return nil, nil, err
	}
	var all, lines []journalFrame
	var last *checkpoint
	_, err = scan(ctx, j.file, j.size, func(f frame, at int64) error {
		switch f.kind {
		case kindLines:
			saved := savedLines{extent: extent{chunk: j, off: at, len: int64(len(f.payload))}, crc: crc32.Checksum(f.payload, castagnoli)}
			f.payload = nil
			all = append(all, journalFrame{frame: f, savedLines: saved})
		case kindCheckpoint:
			c := new(checkpoint)
			if err := json.Unmarshal(f.payload, c); err != nil {
				return fmt.Errorf("%w: checkpoint: %w", errTorn, err)
			}
			there, err := r.chunksComplete(c)
			if err != nil {
				return err
			}
			if there {
				last, lines = c, all[:len(all):len(all)]
			}
		}
		return nil
	})
	// A torn frame is the end of what was written whole: a checkpoint after it would depend on what
	// is lost.
	if errors.Is(err, errTorn) {
		err = nil
	}
	if err != nil || last == nil {
		_ = j.file.Close()
		return nil, nil, err
	}
	r.journal = j
	return last, lines, nil
}

// chunksComplete reports whether the chunks of a checkpoint are at least as long as it says. An
// error means that this is unknown. It must not be taken for "no whole checkpoint", because the
// caller then deletes the chunks.
func (r *Recovery) chunksComplete(c *checkpoint) (bool, error) {
	for _, l := range c.Chunks {
		st, err := os.Stat(chunkPath(r.cfg.Dir, l.N, chunkExt))
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if st.Size() < l.Size {
			return false, nil
		}
	}
	return true, nil
}
