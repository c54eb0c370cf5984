package replay

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// formerRuns lists the copies that former runs made or gave up, of which there may be millions.
// Their keys come in the order of the walk, along with which they are read. It may miss what is
// made or given up meanwhile; that is tried again, which is harmless.
type formerRuns struct{ delivered, failed *listing }

// listing lists receipts or failure notes.
type listing struct {
	prefix string
	next   func() (objstore.Info, error, bool)
	stop   func()
	tail   string // rest of the next key; "": there is none
	job    delivery.Job
}

func newFormerRuns(ctx context.Context, staging objstore.Store, id string) (*formerRuns, error) {
	list := func(prefix string) *listing {
		next, stop := iter.Pull2(objstore.All(ctx, staging, prefix))
		return &listing{prefix: prefix, next: next, stop: stop}
	}
	f := &formerRuns{list(delivery.ReplayReceiptsPrefix(id)), list(delivery.ReplayFailuresPrefix(id))}
	for _, l := range []*listing{f.delivered, f.failed} {
		if err := l.advance(); err != nil {
			f.close()
			return nil, err
		}
	}
	return f, nil
}

func (f *formerRuns) close() {
	f.delivered.stop()
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
		if l.job, _, ok = delivery.ParseReplayCopyKey(info.Key); ok { // other keys are not those of copies
			l.tail = strings.TrimPrefix(info.Key, l.prefix)
			return nil
		}
	}
}

// advanceTo advances to an entry and returns what became of its copies, and the number of copies
// between the previous entry and this one; or of all remaining ones if e is nil.
func (f *formerRuns) advanceTo(e *coveredEntry) (p pastCopies, between int64, err error) {
	p = pastCopies{delivered: map[pair]bool{}, failed: map[pair]bool{}}
	var prefix, end string
	if e != nil {
		prefix = strings.TrimPrefix(delivery.ReceiptPrefix(e.Log(), e.Seq), "receipts/")
		end = strings.TrimSuffix(prefix, "/") + "0" // "0" follows "/"
	}
	for {
		first := f.delivered
		if first.tail == "" || f.failed.tail != "" && f.failed.tail < first.tail {
			first = f.failed
		}
		tail := first.tail
		if tail == "" || e != nil && tail >= end {
			return p, between, nil
		}
		at, inEntry := pair{first.job.File.Index, first.job.Destination}, e != nil && strings.HasPrefix(tail, prefix)
		if !inEntry {
			between++
		}
		for l, set := range map[*listing]map[pair]bool{f.delivered: p.delivered, f.failed: p.failed} {
			if l.tail != tail {
				continue
			}
			if inEntry {
				set[at] = true
			}
			if err := l.advance(); err != nil {
				return p, between, err
			}
		}
	}
}
