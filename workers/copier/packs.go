package copier

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sync/singleflight"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

const (
	// spanBytes is the length of the stretch of a pack whose files are read with one request: all
	// files that begin in it. With a larger one, a copier that shares an entry's jobs with many
	// others would mostly read other copiers' files; DESIGN.md has the figures.
	spanBytes = 256 << 10 // 256 KiB
	// maxSpans bounds what is kept: usually 16 MiB, never twice as much.
	maxSpans = 64
)

// packs reads small files that are next to each other in a pack with one request, and keeps the
// last stretches read, because the jobs of an entry come together. Bytes in a pack never change
// (I4). It is safe for concurrent use.
type packs struct {
	staging objstore.Store
	flight  singleflight.Group

	mu    sync.Mutex        // guards all below
	spans map[string][]byte // by pack, start and end; never written to
	order []string          // of spans, oldest first
}

func newPacks(staging objstore.Store) *packs {
	return &packs{staging: staging, spans: map[string][]byte{}}
}

// readWithNeighbours returns file i of the entry, read together with its neighbours and verified.
// If it returns nil, the file has to be read alone, which also finds out what is wrong with it, if
// anything is.
func (p *packs) readWithNeighbours(ctx context.Context, e *ledger.Entry, i int) *spooledFile {
	f := &e.Files[i]
	from, to := span(e.Files, i)
	if to-from == f.GzipBytes || to-from > 2*spanBytes { // it has no neighbours, or is not small
		return nil
	}
	key := fmt.Sprintf("%s %d %d", f.StagedKey, from, to)
	b := p.cached(key)
	if b == nil {
		read, err, _ := p.flight.Do(key, func() (any, error) { return p.read(ctx, key, f.StagedKey, from, to-from) })
		if err != nil {
			return nil
		}
		b = read.([]byte) //nolint:forcetypeassert // p.read returns a []byte
	}
	b = b[f.StagedAt-from:][:f.GzipBytes]
	s := &spooledFile{content: memoryContent{bytes.NewReader(b)}, sum: sha256.Sum256(b), size: f.GzipBytes}
	if hex.EncodeToString(s.sum[:]) != f.SHA256 {
		return nil
	}
	return s
}

// span returns the start and the end of the stretch of the pack that is read for file i. It is the
// same for all files in that stretch.
func span(files []ledger.File, i int) (from, to int64) {
	f := &files[i]
	in := func(o *ledger.File) bool {
		return o.StagedKey == f.StagedKey && o.PackBytes > 0 && o.StagedAt/spanBytes == f.StagedAt/spanBytes
	}
	first, last := i, i
	for first > 0 && in(&files[first-1]) && files[first-1].StagedAt+files[first-1].GzipBytes == files[first].StagedAt {
		first--
	}
	for last+1 < len(files) && in(&files[last+1]) && files[last].StagedAt+files[last].GzipBytes == files[last+1].StagedAt {
		last++
	}
	return files[first].StagedAt, files[last].StagedAt + files[last].GzipBytes
}

func (p *packs) cached(key string) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.spans[key]
}

func (p *packs) read(ctx context.Context, key, pack string, from, length int64) ([]byte, error) {
	if b := p.cached(key); b != nil { // another call has just read it
		return b, nil
	}
	r, err := objstore.GetRangeSteadily(ctx, p.staging, pack, from, length)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b := make([]byte, length)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, fmt.Errorf("read a part of pack %q: %w", pack, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spans[key], p.order = b, append(p.order, key)
	if len(p.order) > maxSpans {
		delete(p.spans, p.order[0])
		p.order = p.order[1:]
	}
	return b, nil
}
