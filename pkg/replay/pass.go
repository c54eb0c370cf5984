package replay

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// pass is one read of a range of the log for files of one entry.
type pass struct {
	*rebuildRun
	spool     *segment.Spool
	streams   map[ledger.Stream][]int // files that are not sealed yet, by their offsets
	sources   map[string]bool         // sources whose duplicates are left out
	ids       map[[16]byte]struct{}   // of messages of these sources that were read
	summaries map[int]Summary
}

// addRecord adds a record to the file that it belongs to, if any.
func (p *pass) addRecord(ctx context.Context, r *stream.Record) error {
	to, reason := p.router.Route(r)
	if reason != "" || !p.spool.Fits(to.Line) { // the appender did not accept it either
		return nil
	}
	if p.sources[to.Source] && len(to.Message) > 0 {
		sum := sha256.Sum256(append([]byte(to.Source+"\x00"), to.Message...))
		key := [16]byte(sum[:16])
		if _, copied := p.ids[key]; copied {
			return nil
		}
		if len(p.ids) == maxIDs {
			return fmt.Errorf("%w: it has more than %d messages, too many to recognise copies among them", errNotRebuildable, maxIDs)
		}
		p.ids[key] = struct{}{}
	}
	s := ledger.StreamOf(to.Source, to.Received)
	for len(p.streams[s]) > 0 {
		f := &p.entry.Files[p.streams[s][0]]
		if r.Offset < f.First {
			return nil
		}
		if r.Offset > f.Last {
			if err := p.sealNext(ctx, s); err != nil {
				return err
			}
			continue
		}
		return p.spool.Append(s, r.Offset, to.Received, to.Line)
	}
	return nil
}

// sealNext ends the stream's first file, and stages it if it matches the ledger.
func (p *pass) sealNext(ctx context.Context, s ledger.Stream) error {
	index := p.streams[s][0]
	p.streams[s] = p.streams[s][1:]
	sealed, err := p.spool.Seal(s, segment.ReasonRequest)
	if err != nil || sealed == nil {
		return err
	}
	defer sealed.Release()
	f := sealed.File()
	p.summaries[index] = SummaryOf(&f)
	if p.summaries[index] != SummaryOf(&p.entry.Files[index]) {
		return nil
	}
	_, err = p.Staging.Put(ctx, delivery.RebuiltKey(p.id, delivery.Ref(p.entry, index)), sealed.Reader(), objstore.PutOptions{
		IfAbsent: true, SHA256: sealed.SHA256, ContentType: "text/plain", ContentEncoding: "gzip",
	})
	if errors.Is(err, objstore.ErrExists) {
		return nil
	}
	return err
}
