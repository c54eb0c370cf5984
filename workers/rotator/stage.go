package rotator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/sealift/sealift/pkg/ablation"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/segment"
)

// stage stores the batch's files, which the entry after base will name: large files as objects of
// their own, small ones in packs. It returns what that entry will say about them, except for what
// they are owed to.
func (r *Rotator) stage(ctx context.Context, lg *slog.Logger, base *ledger.Entry, batch *segment.Batch, tenure ledger.Tenure) ([]ledger.File, error) {
	files := make([]ledger.File, len(batch.Files))
	for i, sealed := range batch.Files {
		files[i] = sealed.File()
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(r.cfg.Uploads) // objects that wait for their next try count, or a bucket that refuses everything would be asked all the time
	for _, members := range groupPacks(files) {
		group.Go(func() error {
			slot := &slot{uploads: r.uploads}
			err := slot.acquire(gctx)
			if err != nil {
				return err
			}
			defer slot.release()
			if len(members) == 1 {
				i := members[0]
				err = r.stageFile(gctx, lg, slot, base, batch.Files[i], &files[i])
			} else {
				err = r.stagePack(gctx, lg, slot, base, batch.Files, files, members)
			}
			if err == nil && tenure.OnStaged != nil {
				tenure.OnStaged()
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return files, ctx.Err()
}

// slot is a place among the objects that are staged at once. An object that waits for its next try
// gives its slot up: the store may refuse large objects only, and all other partitions would wait
// behind them.
type slot struct {
	uploads *semaphore.Weighted
	held    bool
}

// acquire waits for a slot unless it is held already.
func (s *slot) acquire(ctx context.Context) error {
	if s.held {
		return nil
	}
	err := s.uploads.Acquire(ctx, 1)
	s.held = err == nil
	return err
}

func (s *slot) release() {
	if s.held {
		s.held = false
		s.uploads.Release(1)
	}
}

// groupPacks decides which files, given by their index, share an object.
func groupPacks(files []ledger.File) (objects [][]int) {
	var pack []int
	var size int64
	for i := range files {
		n := files[i].GzipBytes
		if n >= delivery.PackedBelow {
			objects = append(objects, []int{i})
			continue
		}
		if len(pack) > 0 && size+n > delivery.PackBytes {
			objects, pack, size = append(objects, pack), nil, 0
		}
		pack, size = append(pack, i), size+n
	}
	if len(pack) > 0 {
		objects = append(objects, pack)
	}
	return objects
}

// stageFile stores a file as an object of its own.
//
// Invariant: I3, I4. The store verifies the checksum that was computed while the file was written,
// so bytes that rotted on disk are refused.
func (r *Rotator) stageFile(ctx context.Context, lg *slog.Logger, slot *slot, base *ledger.Entry, sealed *segment.Sealed, f *ledger.File) error {
	f.StagedKey = delivery.StagedKey(base.Log(), f)
	if ablation.On(ablation.StagedByFirst) {
		f.StagedKey = fmt.Sprintf("%s%d/%s/%d.gz", delivery.StagedPrefix(base.Log()), f.Hour, f.Source, f.First)
	}
	return r.stageObject(ctx, lg, slot, f.StagedKey, sealed.SHA256, sealed)
}

// stagePack stores several files in one object.
//
// Invariant: I3, I4. The pack's checksum is computed from what the disk holds now, and the same
// read compares each file with the checksum from when it was written. The store verifies the
// pack's.
func (r *Rotator) stagePack(ctx context.Context, lg *slog.Logger, slot *slot, base *ledger.Entry, all []*segment.Sealed, files []ledger.File, members []int) error {
	sealed := make([]*segment.Sealed, len(members))
	for i, member := range members {
		sealed[i] = all[member]
	}
	sum, size, err := sumFiles(sealed)
	if err != nil {
		return fmt.Errorf("stage a pack of %d files: %w", len(members), err)
	}
	first, last := files[members[0]].First, files[members[0]].Last
	for _, i := range members {
		first, last = min(first, files[i].First), max(last, files[i].Last)
	}
	key := delivery.PackKey(base.Log(), base.Seq+1, first, last, hex.EncodeToString(sum[:]))
	if ablation.On(ablation.StagedByFirst) {
		key = fmt.Sprintf("%spacks/%d.gz", delivery.StagedPrefix(base.Log()), first)
	}
	at := int64(0)
	for _, i := range members {
		files[i].StagedKey, files[i].StagedAt, files[i].PackBytes = key, at, size
		at += files[i].GzipBytes
	}
	return r.stageObject(ctx, lg, slot, key, sum, sealed...)
}

// sumFiles returns the checksum and the size of the files put together. The error is
// segment.ErrDamaged if the disk does not return one of them as it was written.
func sumFiles(files []*segment.Sealed) (sum [32]byte, size int64, err error) {
	whole, one, buf := sha256.New(), sha256.New(), make([]byte, 64<<10)
	in := segment.Concat(files...)
	for _, f := range files {
		one.Reset()
		if _, err := io.CopyBuffer(io.MultiWriter(whole, one), io.LimitReader(in, f.GzipBytes), buf); err != nil {
			return sum, 0, fmt.Errorf("%w: file of source %s from offset %d: %w", segment.ErrDamaged, f.Stream.Source, f.First, err)
		}
		if got := [32]byte(one.Sum(nil)); got != f.SHA256 {
			return sum, 0, fmt.Errorf("%w: the file of source %s from offset %d has sha256 %x on disk, and had %x when it was written",
				segment.ErrDamaged, f.Stream.Source, f.First, got, f.SHA256)
		}
		size += f.GzipBytes
	}
	return [32]byte(whole.Sum(nil)), size, nil
}

// stageObject stores files as one object, under a key that names its content. The error is
// segment.ErrDamaged if the disk does not return them as they were written.
func (r *Rotator) stageObject(ctx context.Context, lg *slog.Logger, slot *slot, key string, sum [32]byte, files ...*segment.Sealed) error {
	opts := objstore.PutOptions{IfAbsent: true, SHA256: sum, ContentType: "text/plain", ContentEncoding: "gzip"}
	var failures int
	var damage error
	err := r.retry(ctx, lg, "stage file", func() error {
		if err := slot.acquire(ctx); err != nil {
			return err
		}
		_, err := objstore.PutSteadily(ctx, r.deps.Staging, stageStall, key, segment.Concat(files...), opts)
		if errors.Is(err, objstore.ErrExists) {
			return nil // stored by an earlier try: the key names the content
		}
		return err
	}, func(err error) bool {
		// An error is final only if the disk does not hold the bytes any more. Then the partition's
		// files are discarded and its records are read again, if the topic still has them. Any
		// other refusal, for example because of a disabled KMS key, can be fixed by somebody.
		failures++
		if away := ctx.Err() != nil || errors.Is(err, objstore.ErrUnavailable) || errors.Is(err, objstore.ErrConflict); !away || failures%checkEvery == 0 {
			_, _, damage = sumFiles(files)
		}
		slot.release()
		return damage != nil
	})
	if damage != nil {
		return fmt.Errorf("stage %q: %w (the bucket: %w)", key, damage, err)
	}
	return err
}

// checkEvery is after how many failures, some five minutes, the disk is read again even if the
// store seems to be away: a proxy may answer other bytes than were announced with a 502, or by
// closing the connection.
const checkEvery = 30

// stageStall is the time without progress after which a PUT is sent again. A connection that is up
// but accepts nothing is not noticed otherwise.
const stageStall = time.Minute
