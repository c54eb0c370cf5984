package dedup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"os"
	"sync/atomic"
)

// writeRun writes a run with the entries that next yields, sorted by key, each key once. f says
// what is known beforehand: its count is an upper bound for the number of entries, and its base is
// lower than every offset. bits is the filter's size per key. Setting stopped, which may be nil,
// stops the writing. The run does not keep stopped: that would keep the merge it is a field of, and
// so the merge's inputs, in memory.
//
// The file gets its final name when it is whole. It is not synced: what a power cut leaves of it
// fails its checksums, and is read from the log again.
func writeRun(dir string, seq uint64, f footer, bits int, stopped *atomic.Bool, next func() (entry, bool)) (_ *run, err error) {
	path := dir + string(os.PathSeparator) + runName(seq)
	file, err := os.OpenFile(path+tmpSuffix, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	r := &run{footer: f, seq: seq, path: path, file: file}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(path + tmpSuffix)
		}
	}()
	w := bufio.NewWriterSize(file, 64<<10)
	r.buckets = max(1, r.count/bucketEntries)
	if err := r.writeEntries(w, stopped, next); err != nil {
		return nil, err
	}
	r.blocks = filterBlocks(r.count, bits)
	if err := r.writeTail(w, stopped); err != nil {
		return nil, err
	}
	if err := os.Rename(path+tmpSuffix, path); err != nil {
		return nil, err
	}
	return r, nil
}

func (r *run) writeEntries(w *bufio.Writer, stopped *atomic.Bool, next func() (entry, bool)) error {
	le := binary.LittleEndian
	r.count, r.max = 0, r.base
	r.dir = make([]bucket, 0, r.buckets)
	var buf []byte // of the current bucket
	for more := true; more; {
		var e entry
		to := r.buckets
		if e, more = next(); more {
			to = e.key.part(r.buckets)
		}
		for len(r.dir) < to {
			if stopped != nil && stopped.Load() {
				return errStopped
			}
			r.dir = append(r.dir, bucket{end: uint32(r.count), sum: crc32.Checksum(buf, castagnoli)})
			if _, err := w.Write(buf); err != nil {
				return err
			}
			buf = buf[:0]
		}
		if more {
			rel := e.offset - r.base
			if rel < 1 || rel > math.MaxUint32 {
				return fmt.Errorf("offset %d is %d after the run's base", e.offset, rel)
			}
			buf = le.AppendUint64(buf, e.key.hi)
			buf = le.AppendUint32(buf, e.key.lo)
			buf = le.AppendUint32(buf, uint32(rel))
			r.count++
			r.max = max(r.max, e.offset)
		}
	}
	return w.Flush()
}

// writeTail writes what follows the entries, and keeps it in memory. Its size depends on the number
// of entries, so the entries are read back for it, from the page cache.
func (r *run) writeTail(w *bufio.Writer, stopped *atomic.Bool) error {
	le := binary.LittleEndian
	sum := crc32.New(castagnoli)
	tail := io.MultiWriter(w, sum)
	var buf [blockBytes]byte
	for _, d := range r.dir {
		le.PutUint32(buf[:], d.end)
		le.PutUint32(buf[4:], d.sum)
		if _, err := tail.Write(buf[:dirBytes]); err != nil {
			return err
		}
	}
	r.filter = make(filter, 0, r.blocks*blockWords)
	var b block
	var readErr error
	next := r.each(&readErr)
	for more := true; more; {
		var e entry
		to := r.blocks
		if e, more = next(); more {
			to = e.key.part(r.blocks)
		}
		for len(r.filter)/blockWords < to {
			if stopped != nil && stopped.Load() {
				return errStopped
			}
			for i, word := range b {
				le.PutUint64(buf[i*8:], word)
			}
			if _, err := tail.Write(buf[:]); err != nil {
				return err
			}
			r.filter = append(r.filter, b[:]...)
			b = block{}
		}
		if more {
			b.add(e.key)
		}
	}
	if readErr != nil {
		return readErr
	}
	if _, err := w.Write(r.append(nil, sum.Sum32())); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	r.size = int64(r.count)*entryBytes + r.memory() + footerBytes
	if at, err := r.file.Seek(0, io.SeekCurrent); err != nil || at != r.size {
		return errors.Join(fmt.Errorf("run is %d bytes, not %d", at, r.size), err)
	}
	return nil
}
