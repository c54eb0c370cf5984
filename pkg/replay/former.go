package replay

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// former lists the copies that former runs made or gave up, which may be millions.
// Their keys come in the order of the walk, which it keeps step with. It may miss
// what is made or given up meanwhile: that is tried again, which is harmless.
type former struct{ made, failed *listing }

// listing is one of receipts or of notes.
type listing struct {
	prefix string
	next   func() (objstore.Info, error, bool)
	stop   func()
	tail   string // of the key that comes; "": none does
	job    delivery.Job
}

func newFormer(ctx context.Context, staging objstore.Store, id string) (*former, error) {
	list := func(prefix string) *listing {
		next, stop := iter.Pull2(objstore.All(ctx, staging, prefix))
		return &listing{prefix: prefix, next: next, stop: stop}
	}
	f := &former{list(delivery.ReplayReceiptsPrefix(id)), list(delivery.ReplayFailuresPrefix(id))}
	for _, l := range []*listing{f.made, f.failed} {
		if err := l.advance(); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

func (f *former) close() {
	f.made.stop()
	f.failed.stop()
}

func (l *listing) advance() error {
	for {
		info, err, more := l.next()
		if err != nil {
			return fmt.Errorf("look for what a replay did: %w", err)
		}
		if l.tail = ""; !more {
			return nil
		}
		var ok bool
		if l.job, _, ok = delivery.ParseReplayCopyKey(info.Key); ok { // others stand for no copy
			l.tail = strings.TrimPrefix(info.Key, l.prefix)
			return nil
		}
	}
}

// entry passes on to an entry and returns what became of its copies, and of how
// many between the entry before and this one; all that come, if it is nil.
func (f *former) entry(e *found) (p past, between int64, err error) {
	p = past{delivered: map[pair]bool{}, failed: map[pair]bool{}}
	var prefix, end string
	if e != nil {
		prefix = strings.TrimPrefix(delivery.ReceiptPrefix(e.Log(), e.Seq), "receipts/")
		end = strings.TrimSuffix(prefix, "/") + "0" // which follows "/"
	}
	for {
		first := f.made
		if first.tail == "" || f.failed.tail != "" && f.failed.tail < first.tail {
			first = f.failed
		}
		tail := first.tail
		if tail == "" || e != nil && tail >= end {
			return p, between, nil
		}
		at, here := pair{first.job.File.Index, first.job.Destination}, e != nil && strings.HasPrefix(tail, prefix)
		if !here {
			between++
		}
		for l, of := range map[*listing]map[pair]bool{f.made: p.delivered, f.failed: p.failed} {
			if l.tail != tail {
				continue
			}
			if here {
				of[at] = true
			}
			if err := l.advance(); err != nil {
				return p, between, err
			}
		}
	}
}
