package copier

import (
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

// errDamaged says that the staged bytes are not those that the ledger fixed.
var errDamaged = errors.New("staged object is not what the ledger says")

// spooled is a staged file's bytes on the local disk, verified.
type spooled struct {
	*os.File
	sum  [32]byte
	size int64
}

// remove closes the file; it has no name any more.
func (s *spooled) remove() { _ = s.Close() }

// spool fetches the staged bytes of f into a nameless file in dir and verifies
// their length and sha256 before anything of them can reach a customer.
func spool(ctx context.Context, staging objstore.Store, dir string, f *ledger.File) (*spooled, error) {
	s, err := receive(ctx, staging, dir, f.StagedKey, f.GzipBytes)
	if err != nil {
		return nil, err
	}
	if s.size != f.GzipBytes || hex.EncodeToString(s.sum[:]) != f.SHA256 {
		s.remove()
		return nil, fmt.Errorf("spool %q: %w: %d bytes with sha256 %x, want %d with %s", f.StagedKey, errDamaged, s.size, s.sum, f.GzipBytes, f.SHA256)
	}
	return s, nil
}

// receive fetches an object into a nameless file in dir: at most one byte more
// than most, for it is then another than was asked for.
func receive(ctx context.Context, staging objstore.Store, dir, key string, most int64) (*spooled, error) {
	r, _, err := staging.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	local, err := os.CreateTemp(dir, "sealift-copy-*.gz")
	if err != nil {
		return nil, fmt.Errorf("spool %q: %w", key, err)
	}
	s := &spooled{File: local}
	// Removed right away: a killed copier leaves nothing behind.
	err = os.Remove(local.Name())
	if err == nil {
		err = s.fill(r, most)
	}
	if err != nil {
		s.remove()
		return nil, fmt.Errorf("spool %q: %w", key, err)
	}
	return s, nil
}

func (s *spooled) fill(r io.Reader, most int64) (err error) {
	h := sha256.New()
	if s.size, err = io.Copy(io.MultiWriter(s, h), io.LimitReader(r, most+1)); err != nil {
		return err
	}
	h.Sum(s.sum[:0])
	_, err = s.Seek(0, io.SeekStart)
	return err
}
