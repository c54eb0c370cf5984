package replay

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// errNotRebuildable says that the events topic no longer has a file's records, or not the same
// ones.
var errNotRebuildable = errors.New("file cannot be rebuilt from Kafka")

// Fetcher reads one partition; *stream.Fetcher is one.
type Fetcher interface {
	Fetch(ctx context.Context, offset int64, opts stream.FetchOptions) (stream.Fetched, error)
}

// Rebuilder rebuilds files of the ledger from the events topic: from the records of the file's
// stream between its first and last offset.
type Rebuilder struct {
	Bounds  func(ctx context.Context, topic string, partitions ...int) (map[int]stream.Bounds, error)
	Fetcher func(topic string, partition int) Fetcher
	Staging objstore.Store
	Dir     string // for files being built; "": the system's default
	Level   int    // of gzip; 0: the default
	Memory  int64  // bytes of lines held in memory; 0: 64 MiB
	// LookBack is how far before a file the first copy of a message may be whose later copy was
	// left out of the file, as appenders are configured now; 0: 25h, which is tried in any case.
	// The ledger does not say how they were configured when they made the file.
	LookBack time.Duration
}

// defaultLookBack is that of appenders with the default configuration.
const defaultLookBack = 25 * time.Hour

// groupBytes is the size of files built at once, which bounds the disk space needed.
const groupBytes = 512 << 20

// maxIDs bounds the memory for recognizing duplicates. A variable for tests.
var maxIDs = 5_000_000

// Rebuild rebuilds files of e, given by index, and stages them for the replay. The map has the
// files that could not be rebuilt, and why, with the same text for all files of one cause. The error is
// one of Kafka, the store or the disk, and says nothing about the files.
func (b *Rebuilder) Rebuild(ctx context.Context, id string, e *ledger.Entry, files []int) (failed map[int]error, err error) {
	for range rangeAttempts {
		failed, err = b.rebuild(ctx, id, e, files)
		if !errors.Is(err, stream.ErrOffsetOutOfRange) {
			break
		}
	}
	return failed, err
}

// rangeAttempts is how often files are built if Kafka deletes what is being read: reading takes
// long, and the retention of the oldest files passes meanwhile. What was built is kept.
const rangeAttempts = 3

func (b *Rebuilder) rebuild(ctx context.Context, id string, e *ledger.Entry, files []int) (map[int]error, error) {
	source, received, ok := ledger.ParseRouterRule(e.Router)
	if !ok {
		return nil, fmt.Errorf("rebuild files of entry %d of %s: its rule %q is none that this release knows", e.Seq, e.Log(), e.Router)
	}
	router, err := route.New(source, received) // as when the files were made
	if err != nil {
		return nil, err
	}
	bounds, err := stream.RetryTransient(ctx, func() (stream.Bounds, error) {
		all, err := b.Bounds(ctx, e.Topic, e.Partition)
		if bounds, ok := all[e.Partition]; ok {
			return bounds, nil
		}
		return stream.Bounds{}, err // a partition that no longer exists has nothing
	})
	if err != nil {
		return nil, err
	}
	w := &rebuildRun{Rebuilder: b, id: id, entry: e, router: router, bounds: bounds}
	failed := map[int]error{}
	var group []int
	var size int64
	for n, i := range slices.SortedFunc(slices.Values(files), func(x, y int) int { return cmp.Compare(e.Files[x].First, e.Files[y].First) }) {
		f := &e.Files[i]
		done, err := w.alreadyBuilt(ctx, delivery.Ref(e, i))
		switch {
		case err != nil:
			return failed, err
		case done: // by a former run; it no longer matters what Kafka has
		case f.First < w.bounds.First:
			failed[i] = fmt.Errorf("%w: its first record is gone, for partition %d of the topic begins at offset %d", errNotRebuildable, e.Partition, w.bounds.First)
		case f.Last >= w.bounds.End:
			failed[i] = fmt.Errorf("%w: partition %d of the topic ends before its last record, as if it had been re-created", errNotRebuildable, e.Partition)
		default:
			group, size = append(group, i), size+f.GzipBytes
		}
		if len(group) > 0 && (size >= groupBytes || n == len(files)-1) {
			if err := w.buildGroup(ctx, group, failed); err != nil {
				return failed, err
			}
			group, size = nil, 0
		}
	}
	return failed, nil
}

// rebuildRun is one call of Rebuild.
type rebuildRun struct {
	*Rebuilder
	id     string // of the replay
	entry  *ledger.Entry
	router *route.Router
	bounds stream.Bounds
}

func (w *rebuildRun) alreadyBuilt(ctx context.Context, ref delivery.FileRef) (bool, error) {
	return objstore.Exists(ctx, w.Staging, delivery.RebuiltKey(w.id, ref))
}

// buildGroup builds some files. The range of offsets includes records that the appender left out as
// duplicates, and the ledger does not say which. So the range is read as it is; then without
// duplicates within it; then also without duplicates of messages before it, as far back as
// appenders are configured to remember now, and by default. A file whose CRC is the ledger's is
// right.
func (w *rebuildRun) buildGroup(ctx context.Context, files []int, failed map[int]error) error {
	e := w.entry
	attempts := []func() (from int64, unique bool, err error){
		func() (int64, bool, error) { return e.Files[files[0]].First, false, nil },
		func() (int64, bool, error) { return e.Files[files[0]].First, true, nil },
	}
	windows := []time.Duration{cmp.Or(w.LookBack, defaultLookBack), defaultLookBack}
	slices.Sort(windows) // what is too much for the shorter window is too much for the longer
	for _, lookBack := range slices.Compact(windows) {
		attempts = append(attempts, func() (int64, bool, error) {
			from, err := w.offsetBefore(ctx, e.Files[files[0]].First, lookBack)
			return max(from, w.bounds.First), true, err
		})
	}
	for _, attempt := range attempts {
		from, unique, err := attempt()
		if err != nil {
			return err
		}
		summaries, readErr := w.readRange(ctx, files, from, unique)
		if readErr != nil && !errors.Is(readErr, errNotRebuildable) {
			return readErr
		}
		files = slices.DeleteFunc(slices.Clone(files), func(i int) bool {
			if summaries[i] == SummaryOf(&e.Files[i]) {
				delete(failed, i)
				return true
			}
			if readErr != nil { // reading ended before the file was complete
				failed[i] = readErr
				return true
			}
			failed[i] = differenceError(summaries[i], SummaryOf(&e.Files[i]))
			return summaries[i].Records <= e.Files[i].Records && !unique // too few records: not because of duplicates
		})
		if len(files) == 0 {
			return nil
		}
	}
	return nil
}

// differenceError says how what was read differs from the ledger. The text contains nothing
// specific to one file, because causes are grouped by their text.
func differenceError(got, want Summary) error {
	how := "other records, or in another order,"
	switch {
	case got.Records < want.Records:
		how = "fewer records"
	case got.Records > want.Records:
		how = "more records"
	}
	return fmt.Errorf("%w: at its offsets the topic holds %s than the ledger says", errNotRebuildable, how)
}

// offsetBefore returns an offset that was reached that long before e was written, or the offset
// from which on the appender remembered messages at all, if that is higher.
func (w *rebuildRun) offsetBefore(ctx context.Context, first int64, lookBack time.Duration) (int64, error) {
	e := w.entry
	chain := ledger.NewChain(w.Staging, e.Log())
	for seq := e.Seq - 1; seq >= 0; seq-- {
		older, err := chain.Entry(ctx, seq)
		if err != nil {
			return 0, err
		}
		first = min(first, older.LowWatermark)
		if first <= e.RouterFrom || time.UnixMilli(older.WrittenAt).Add(lookBack).Before(time.UnixMilli(e.WrittenAt)) {
			break
		}
	}
	return max(first, e.RouterFrom), nil
}

// maxEmptyFetches is how many empty answers in a row are tolerated, half a second each: the log did
// have the range when its bounds were read.
const maxEmptyFetches = 60

// readRange reads the range once, from an offset at or before the first file, and stages the files
// that match the ledger. It returns the summaries of all files or, with errNotRebuildable, of those
// that it read completely.
func (w *rebuildRun) readRange(ctx context.Context, files []int, from int64, unique bool) (map[int]Summary, error) {
	e := w.entry
	dir, err := os.MkdirTemp(w.Dir, "sealift-replay-*")
	if err != nil {
		return nil, fmt.Errorf("rebuild files from Kafka: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	spool, err := segment.New(segment.Config{Dir: dir, Level: w.Level, MaxBytes: 1 << 30, Budget: segment.NewBudget(cmp.Or(w.Memory, 64<<20))})
	if err != nil {
		return nil, err
	}
	defer spool.Discard()
	p := &pass{rebuildRun: w, spool: spool, streams: map[ledger.Stream][]int{}, sources: map[string]bool{}, ids: map[[16]byte]struct{}{}, summaries: map[int]Summary{}}
	last := int64(-1)
	for _, i := range files { // sorted by their first offsets
		p.streams[e.Files[i].Stream()] = append(p.streams[e.Files[i].Stream()], i)
		p.sources[e.Files[i].Source] = unique
		last = max(last, e.Files[i].Last)
	}
	fetcher := w.Fetcher(e.Topic, e.Partition)
	for empty := 0; from <= last; {
		got, err := stream.RetryTransient(ctx, func() (stream.Fetched, error) { return fetcher.Fetch(ctx, from, stream.FetchOptions{}) })
		if err != nil {
			return nil, fmt.Errorf("rebuild files from Kafka: %w", err)
		}
		for i := range got.Records {
			if r := &got.Records[i]; r.Offset <= last {
				if err := p.addRecord(ctx, r); err != nil {
					return p.summaries, err
				}
			}
		}
		if got.Next > from || got.HighWatermark > last {
			empty = 0
		} else if empty++; empty > maxEmptyFetches { // a new leader may not know the high watermark yet
			return nil, fmt.Errorf("rebuild files from Kafka: the log of %s ends at %d, before offset %d", e.Log(), got.HighWatermark, last)
		}
		from = got.Next
	}
	for s := range p.streams {
		for len(p.streams[s]) > 0 {
			if err := p.sealNext(ctx, s); err != nil {
				return nil, err
			}
		}
	}
	return p.summaries, nil
}
