package copier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// errDamaged says that the staged bytes differ from what the ledger says.
var errDamaged = errors.New("staged object is not what the ledger says")

// maxInMemory is the size up to which a file is spooled in memory. At the default concurrency at
// most 48 copies run at once, so this takes 6 MiB. A file on disk costs as much CPU time as half a
// request to S3, and most files are small.
const maxInMemory = 128 << 10 // 128 KiB

// spooledFile holds a file's verified bytes, in memory or on the local disk.
type spooledFile struct {
	content
	sum  [32]byte
	size int64
}

// content can be read repeatedly, from any position.
type content interface {
	io.ReadSeeker
	io.ReaderAt
	io.Closer
}

// memoryContent is content in memory.
type memoryContent struct{ *bytes.Reader }

// Close implements io.Closer.
func (memoryContent) Close() error { return nil }

// remove closes and forgets the content. A file on disk has no name, so closing it also deletes it.
func (s *spooledFile) remove() {
	_ = s.Close()
	s.content = memoryContent{} // many copies may wait for their receipts
}

// spoolStaged fetches the staged bytes of f, as receive does, and verifies their length and SHA-256
// before any of them can reach a customer.
func spoolStaged(ctx context.Context, staging objstore.Store, dir string, f *ledger.File) (*spooledFile, error) {
	// Read it as a range, which the store's client does not verify: verifying once is enough. One
	// more byte shows whether the object is longer than it should be.
	limit := f.GzipBytes
	if f.PackBytes == 0 {
		limit++
	}
	r, err := objstore.GetRangeSteadily(ctx, staging, f.StagedKey, f.StagedAt, limit)
	if err != nil {
		return nil, err
	}
	s, err := receive(r, dir, f.StagedKey, f.GzipBytes)
	if err != nil {
		return nil, err
	}
	if s.size != f.GzipBytes || hex.EncodeToString(s.sum[:]) != f.SHA256 {
		s.remove()
		return nil, fmt.Errorf("spool %q: %w: %d bytes with sha256 %x, want %d with %s", f.StagedKey, errDamaged, s.size, s.sum, f.GzipBytes, f.SHA256)
	}
	return s, nil
}

// receive reads r and closes it. It keeps the bytes in memory if maxBytes is small, otherwise in a
// nameless file in dir. It reads at most one byte more than maxBytes; an object of that length is not
// the one that was wanted.
func receive(r io.ReadCloser, dir, key string, maxBytes int64) (*spooledFile, error) {
	defer r.Close()
	if maxBytes <= maxInMemory {
		b := bytes.NewBuffer(make([]byte, 0, maxBytes+1+bytes.MinRead)) // room for ReadFrom to reach EOF without growing
		if _, err := b.ReadFrom(io.LimitReader(r, maxBytes+1)); err != nil {
			return nil, fmt.Errorf("spool %q: %w", key, err)
		}
		return &spooledFile{content: memoryContent{bytes.NewReader(b.Bytes())}, sum: sha256.Sum256(b.Bytes()), size: int64(b.Len())}, nil
	}
	local, err := os.CreateTemp(dir, "sealift-copy-*.gz")
	if err != nil {
		return nil, fmt.Errorf("spool %q: %w", key, err)
	}
	s := &spooledFile{content: local}
	// Removed at once, so that a killed copier leaves nothing behind.
	err = os.Remove(local.Name())
	if err == nil {
		err = s.fill(local, r, maxBytes)
	}
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("spool %q: %w", key, err)
	}
	return s, nil
}

func (s *spooledFile) fill(local *os.File, r io.Reader, maxBytes int64) (err error) {
	h := sha256.New()
	if s.size, err = io.Copy(io.MultiWriter(local, h), io.LimitReader(r, maxBytes+1)); err != nil {
		return err
	}
	h.Sum(s.sum[:0])
	_, err = local.Seek(0, io.SeekStart)
	return err
}
