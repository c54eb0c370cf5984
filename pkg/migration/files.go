package migration

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/receipt"
)

// FileFinder finds a destination's files in the newest entries of the ledger.
type FileFinder struct {
	Staging            objstore.Store
	Topic, Incarnation string
	Destination        string
}

// maxEntriesRead is how many of a partition's newest entries are read. What was delivered since a
// switch is among them, or the next call finds it.
const maxEntriesRead = 100

// maxFilesCompared is how many files are looked at to choose a small one.
const maxFilesCompared = 20

var errEnough = errors.New("enough")

// File is a file of the ledger that is in staging.
type File struct {
	Log  ledger.Log
	File ledger.File
}

// FindSmallFile returns the smallest of some of the newest files that are owed to the destination
// and still in staging; ok is false if there is none.
func (ff FileFinder) FindSmallFile(ctx context.Context) (best File, ok bool, err error) {
	seen := 0
	err = ff.eachFile(ctx, 0, func(e *ledger.Entry, i int) error {
		f := e.Files[i]
		if seen++; ok && seen > maxFilesCompared {
			return errEnough
		}
		if ok && f.GzipBytes >= best.File.GzipBytes {
			return nil
		}
		_, err := ff.Staging.Head(ctx, f.StagedKey)
		if errors.Is(err, objstore.ErrNotFound) {
			return nil
		}
		if err == nil {
			best, ok = File{e.Log(), f}, true
		}
		return err
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return best, ok, err
}

// Arrivals are the deliveries since some moment, among the newest files.
type Arrivals struct {
	New     int64            // files delivered to the new place
	First   delivery.Receipt // the first of them
	Old     int64            // files delivered otherwise
	LastOld delivery.Receipt // the last of them
}

// ReadArrivals looks for files that were delivered since a moment, in unix ms, to the new place or
// otherwise.
func (ff FileFinder) ReadArrivals(ctx context.Context, to Place, since int64) (Arrivals, error) {
	var a Arrivals
	bucket, prefix := catalog.SplitBucket(to.Bucket)
	var current *ledger.Entry
	var receipts receipt.Set // of that entry
	err := ff.eachFile(ctx, since, func(e *ledger.Entry, i int) (err error) {
		if e != current {
			if receipts, err = receipt.List(ctx, ff.Staging, e.Log(), e.Seq); err != nil {
				return err
			}
			current = e
		}
		found, ok := receipts[receipt.Pair{Index: i, Destination: ff.Destination}]
		if !ok {
			return nil
		}
		r, err := found.Read(ctx, ff.Staging)
		if err != nil {
			return err
		}
		if r.Outcome != delivery.Delivered || r.Replay != "" || r.At < since {
			return nil
		}
		if r.Bucket == bucket && r.Key == delivery.ObjectKey(prefix, e.Log(), &e.Files[i]) && r.Role == to.RoleARN {
			if a.New++; a.New == 1 || r.At < a.First.At {
				a.First = r
			}
		} else if a.Old++; a.Old == 1 || r.At > a.LastOld.At {
			a.LastOld = r
		}
		return nil
	})
	return a, err
}

// eachFile calls fn for the destination's files in the newest entries of every partition, newest
// first. It includes the entries of the hour before since, whose files may have been delivered
// after it.
func (ff FileFinder) eachFile(ctx context.Context, since int64, fn func(e *ledger.Entry, i int) error) error {
	logs, err := ledger.Logs(ctx, ff.Staging, ff.Topic, ff.Incarnation)
	if err != nil {
		return err
	}
	for _, l := range logs {
		chain := ledger.NewChain(ff.Staging, l)
		head, err := chain.HeadSeq(ctx)
		if err != nil {
			return err
		}
		for seq := head; seq >= 0 && seq > head-maxEntriesRead; seq-- {
			e, err := chain.Entry(ctx, seq)
			if err != nil {
				return err
			}
			if e.WrittenAt < since-time.Hour.Milliseconds() {
				break
			}
			for i := range e.Files {
				if slices.Contains(e.Files[i].Owed, ff.Destination) {
					if err := fn(e, i); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
