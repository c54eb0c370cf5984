package rotator

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var testLog = ledger.Log{Topic: "events", Incarnation: "1", Partition: 3}

const hour = 1_699_999_200_000

// rig is a rotator on in-memory stores.
type rig struct {
	*Rotator
	staging   *objstore.Memory
	mu        sync.Mutex // guards all fields below
	bounds    stream.Bounds
	boundsErr error // the error for other partitions when bounds are read
	jobs      []delivery.Job
	jobsErr   func(n int) error // the error of the n-th Produce
	calls     int
	commits   []int64
	note      string // of the last commit
}

func newRig(t *testing.T) *rig {
	b := &rig{staging: objstore.NewMemory("staging"), bounds: stream.Bounds{First: 0, End: 1000}}
	b.Rotator = New(Config{Cluster: "c1"}, Deps{
		Staging: b.staging, Kafka: b, Jobs: b, Logger: slog.New(slog.DiscardHandler),
		Owed: func(source string) []string {
			if source == "unowned" {
				return nil
			}
			return []string{"ws/a", "ws/b"}
		},
	})
	return b
}

func (b *rig) Bounds(context.Context, string, ...int) (map[int]stream.Bounds, error) {
	return map[int]stream.Bounds{testLog.Partition: b.bounds}, b.boundsErr
}

func (b *rig) Produce(_ context.Context, records ...stream.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.jobsErr != nil {
		if err := b.jobsErr(b.calls); err != nil {
			return err
		}
	}
	for _, r := range records {
		j, err := delivery.DecodeJob(r.Value)
		if err != nil {
			return err
		}
		b.jobs = append(b.jobs, j)
	}
	return nil
}

func (b *rig) tenure(owner string, committed int64) ledger.Tenure {
	return ledger.Tenure{Owner: owner, Generation: 1, Committed: committed, Commit: func(_ context.Context, offset int64, note string) error {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.commits = append(b.commits, offset)
		b.note = note
		return nil
	}}
}

// batch seals one record for each "source@offset".
func batch(t *testing.T, low int64, records ...string) *segment.Batch {
	t.Helper()
	return batchIn(t, t.TempDir(), low, records...)
}

func batchIn(t *testing.T, dir string, low int64, records ...string) *segment.Batch {
	t.Helper()
	spool, err := segment.New(segment.Config{Dir: filepath.Join(dir, "spool")})
	require.NoError(t, err)
	t.Cleanup(spool.Discard)
	b := &segment.Batch{LowWatermark: low}
	for _, r := range records {
		source, at, _ := strings.Cut(r, "@")
		var offset int64
		_, err := fmt.Sscan(at, &offset)
		require.NoError(t, err)
		s := ledger.Stream{Source: source, Hour: hour}
		require.NoError(t, spool.Append(s, offset, hour+5, []byte(`{"a":1}`)))
		f, err := spool.Seal(s, segment.ReasonTime)
		require.NoError(t, err)
		b.Files = append(b.Files, f)
	}
	return b
}

func TestRotateStagesThenWritesThenEnqueues(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	require.Equal(t, ledger.KindInit, base.Kind)

	var order []string
	b.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "put" {
			order = append(order, strings.Split(op.Key, "/")[0])
		}
		return objstore.Fault{}
	})
	b.jobsErr = func(int) error { order = append(order, "jobs"); return nil }
	head, err := b.Rotate(ctx, base, batch(t, 42, "a@40", "unowned@41"), b.tenure("w1", -1))
	require.NoError(t, err)
	require.Equal(t, []string{"data", "ledger", "jobs"}, order, "order of writes; two small files are one object")
	require.EqualValues(t, 1, head.Seq)
	require.EqualValues(t, 42, head.LowWatermark)
	require.Empty(t, head.SealedThrough, "filter of streams below the watermark")
	require.Equal(t, []string{"ws/a", "ws/b"}, head.Files[0].Owed)
	require.Empty(t, head.Files[1].Owed)
	require.Len(t, b.jobs, 2)
	require.EqualValues(t, 42, b.commits[len(b.commits)-1])
	for _, f := range head.Files {
		info, err := b.staging.Head(ctx, f.StagedKey)
		require.NoError(t, err)
		require.Equal(t, "gzip", info.ContentEncoding)
		require.Equal(t, info.Size, f.StagedBytes())
		require.Equal(t, f.SHA256, stagedSum(t, b, f))
	}
}

// stagedSum returns the checksum of a file's staged bytes.
func stagedSum(t *testing.T, b *rig, f ledger.File) string {
	t.Helper()
	r, err := f.Open(t.Context(), b.staging)
	require.NoError(t, err)
	body, err := io.ReadAll(r)
	require.NoError(t, err)
	sum := sha256.Sum256(body)
	return hex.EncodeToString(sum[:])
}

// TestOwedIsDecidedAfterStaging: what a file is owed to is decided when it gets into
// the ledger, even if staging was unavailable for hours before.
func TestOwedIsDecidedAfterStaging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t)
		base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		var disabled, away atomic.Bool
		owed := b.deps.Owed
		b.deps.Owed = func(source string) []string {
			if disabled.Load() {
				return nil
			}
			return owed(source)
		}
		away.Store(true)
		b.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if away.Load() && strings.HasPrefix(op.Key, "data/") {
				return objstore.Fault{Before: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		})
		time.AfterFunc(3*time.Hour, func() { disabled.Store(true) })
		time.AfterFunc(4*time.Hour, func() { away.Store(false) })
		head, err := b.Rotate(t.Context(), base, batch(t, 42, "a@40", "b@41"), b.tenure("w1", -1))
		require.NoError(t, err)
		for _, f := range head.Files {
			require.Empty(t, f.Owed)
		}
		require.Empty(t, b.jobs)
	})
}

func TestFilterHoldsStreamsSealedPastTheWatermark(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	// b's file is open since offset 5, so the watermark stays there.
	head, err := b.Rotate(ctx, base, batch(t, 5, "a@9"), b.tenure("w1", -1))
	require.NoError(t, err)
	require.Equal(t, []ledger.SealedStream{{Source: "a", Hour: hour, Offset: 9}}, head.SealedThrough)
	head, err = b.Rotate(ctx, head, batch(t, 20, "b@5", "c@30"), b.tenure("w1", -1))
	require.NoError(t, err)
	require.Equal(t, []ledger.SealedStream{{Source: "c", Hour: hour, Offset: 30}}, head.SealedThrough)
}

// Refusals of bytes that are still on disk as they were written: by a bucket whose KMS key is
// disabled, and because the bytes were damaged on the way.
var (
	keyDisabled     = &objstore.Error{Op: "put", Kind: objstore.ErrInvalid, Status: 400, Code: "KMS.DisabledException", Message: "the key is disabled"}
	damagedOnTheWay = &objstore.Error{Op: "put", Kind: objstore.ErrInvalid, Status: 400, Code: "BadDigest", Message: "another checksum"}
)

// TestFaults holds those of the rows A4 to A9 of the fault matrix that concern the rotator:
// whatever fails, an entry is written once, its files are staged before it, and its jobs are
// enqueued in the end.
func TestFaults(t *testing.T) {
	broken := errors.New("connection reset")
	nth := func(name, prefix string, f objstore.Fault) func(objstore.Op) objstore.Fault {
		return func(op objstore.Op) objstore.Fault {
			if op.Name == name && strings.HasPrefix(op.Key, prefix) && op.N <= 2 {
				return f
			}
			return objstore.Fault{}
		}
	}
	for name, fault := range map[string]func(objstore.Op) objstore.Fault{
		"data_not_applied":         nth("put", "data/", objstore.Fault{Before: broken}),
		"data_reply_lost":          nth("put", "data/", objstore.Fault{After: broken}),
		"data_throttled":           nth("put", "data/", objstore.Fault{Before: objstore.ErrUnavailable}),
		"data_refused":             nth("put", "data/", objstore.Fault{Before: keyDisabled}),
		"data_damaged_on_the_way":  nth("put", "data/", objstore.Fault{Before: damagedOnTheWay}),
		"data_denied_for_a_time":   nth("put", "data/", objstore.Fault{Before: objstore.ErrDenied}),
		"ledger_not_applied":       nth("put", "ledger/", objstore.Fault{Before: broken}),
		"ledger_reply_lost":        nth("put", "ledger/", objstore.Fault{After: broken}),
		"ledger_conflict":          nth("put", "ledger/", objstore.Fault{Before: objstore.ErrConflict}),
		"ledger_denied_for_a_time": nth("put", "ledger/", objstore.Fault{Before: objstore.ErrDenied}),
		"read_back_fails":          nth("get", "ledger/", objstore.Fault{Before: broken}),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newRig(t)
				base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
				require.NoError(t, err)
				b.staging.SetFault(fault)
				b.jobsErr = func(n int) error {
					if n <= 2 {
						return broken
					}
					return nil
				}
				head, err := b.Rotate(t.Context(), base, batch(t, 42, "a@40", "b@41"), b.tenure("w1", -1))
				require.NoError(t, err)
				b.staging.SetFault(nil)
				stored, err := ledger.NewChain(b.staging, testLog).Head(t.Context())
				require.NoError(t, err)
				require.Equal(t, head, stored)
				require.Len(t, b.jobs, 4)
				requireOneContentPerKey(t, b)
			})
		})
	}
}

func TestZombieLoses(t *testing.T) {
	b := newRig(t)
	ctx := context.Background()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	claim, err := b.Acquire(ctx, testLog, b.tenure("w2", -1))
	require.NoError(t, err)
	require.Equal(t, ledger.KindClaim, claim.Kind)

	_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
	require.ErrorIs(t, err, ledger.ErrLost)
	require.Empty(t, b.jobs, "jobs for files in no entry")

	_, err = b.Rotate(ctx, claim, batch(t, 42, "a@40"), b.tenure("w2", -1))
	require.NoError(t, err)
	require.Len(t, b.jobs, 2)
}

// A next entry that nobody can read ends the rotation at once. The partition is then loaded again,
// which names the damage.
func TestUnreadableNextEntryEndsTheRotation(t *testing.T) {
	b := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
	require.NoError(t, err)
	_, err = b.staging.Put(ctx, ledger.EntryKey(testLog, base.Seq+1), strings.NewReader("{"), objstore.PutOptions{})
	require.NoError(t, err)
	_, err = b.Rotate(ctx, base, batch(t, 42, "a@40"), b.tenure("w1", -1))
	require.ErrorIs(t, err, ledger.ErrCorrupt)
	require.NoError(t, ctx.Err())
	require.Empty(t, b.jobs)
}

// Invariant: I3. A file whose bytes on disk are not what was written is refused, alone or in a
// pack.
func TestDamagedFilesAreRefused(t *testing.T) {
	for name, records := range map[string][]string{"alone": {"a@39"}, "first_of_a_pack": {"a@39", "b@40"}, "last_of_a_pack": {"b@38", "a@39"}} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			ctx := context.Background()
			base, err := b.Acquire(ctx, testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			rotten := batch(t, 42, records...)
			for _, f := range rotten.Files {
				if f.Stream.Source == "a" {
					f.SHA256[0]++
				}
			}
			_, err = b.Rotate(ctx, base, rotten, b.tenure("w1", -1))
			require.ErrorIs(t, err, segment.ErrDamaged)
			require.ErrorContains(t, err, "source a from offset 39")
			head, err := ledger.NewChain(b.staging, testLog).Head(ctx)
			require.NoError(t, err)
			require.Equal(t, base, head)
			staged, err := b.staging.List(ctx, "data/", "", 0)
			require.NoError(t, err)
			require.Empty(t, staged)
		})
	}
}

// TestUnreadableFilesAreRefused: if the disk cannot return a file any more, Rotate fails instead of
// retrying, so that the records are read again from the topic.
func TestUnreadableFilesAreRefused(t *testing.T) {
	for name, records := range map[string][]string{"alone": {"a@39"}, "in_a_pack": {"a@39", "b@40"}} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			dir := t.TempDir()
			lost := batchIn(t, dir, 42, records...)
			chunks, err := filepath.Glob(filepath.Join(dir, "spool", "*"))
			require.NoError(t, err)
			require.NotEmpty(t, chunks)
			for _, chunk := range chunks {
				require.NoError(t, os.Truncate(chunk, 0))
			}
			_, err = b.Rotate(t.Context(), base, lost, b.tenure("w1", -1))
			require.ErrorIs(t, err, segment.ErrDamaged)
			require.ErrorContains(t, err, "read sealed file")
			require.Empty(t, b.jobs)
		})
	}
}

// rotInPlace flips a bit in each chunk of the spool below dir, as a disk does, so that who has the
// chunk open reads it.
func rotInPlace(t *testing.T, dir string) {
	t.Helper()
	chunks, err := filepath.Glob(filepath.Join(dir, "spool", "*.spool"))
	require.NoError(t, err)
	require.NotEmpty(t, chunks)
	for _, chunk := range chunks {
		b, err := os.ReadFile(chunk)
		require.NoError(t, err)
		b[len(b)-1] ^= 1 // of the last block's lines
		require.NoError(t, os.WriteFile(chunk, b, 0o600))
	}
}

// TestRotIsNoticedWhateverTheStoreSays: stores and proxies refuse bytes with another checksum in
// many ways. A file that rots while it is being staged must not be retried forever, and an intact
// one must not be given up because of the same answers.
func TestRotIsNoticedWhateverTheStoreSays(t *testing.T) {
	for answer, c := range map[string]struct {
		err    error
		within time.Duration
	}{
		"bad_digest":        {damagedOnTheWay, time.Second},
		"signature":         {&objstore.Error{Op: "put", Kind: objstore.ErrDenied, Status: 403, Code: "SignatureDoesNotMatch"}, time.Second},
		"key_disabled":      {keyDisabled, time.Second},
		"bad_gateway":       {objstore.ErrUnavailable, 10 * time.Minute},
		"connection_closed": {io.ErrUnexpectedEOF, 10 * time.Minute},
		"conflict":          {objstore.ErrConflict, 10 * time.Minute},
	} {
		for hazard, records := range map[string][]string{"alone": {"a@39"}, "in_a_pack": {"a@39", "b@40"}} {
			for state, rots := range map[string]bool{"intact": false, "rotten": true} {
				t.Run(answer+"/"+hazard+"/"+state, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						b := newRig(t)
						base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
						require.NoError(t, err)
						dir, begun := t.TempDir(), time.Now()
						files := batchIn(t, dir, 42, records...)
						b.staging.SetFault(func(op objstore.Op) objstore.Fault {
							if op.Name != "put" || !strings.HasPrefix(op.Key, "data/") {
								return objstore.Fault{}
							}
							if rots && op.N == 1 {
								rotInPlace(t, dir)
							}
							if !rots && time.Since(begun) > c.within {
								return objstore.Fault{}
							}
							return objstore.Fault{Before: c.err}
						})
						ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
						defer cancel()
						_, err = b.Rotate(ctx, base, files, b.tenure("w1", -1))
						if !rots {
							require.NoError(t, err)
							return
						}
						require.ErrorIs(t, err, segment.ErrDamaged)
						require.ErrorContains(t, err, "when it was written")
						require.LessOrEqual(t, time.Since(begun), c.within)
						head, err := ledger.NewChain(b.staging, testLog).Head(t.Context())
						require.NoError(t, err)
						require.Equal(t, base, head)
					})
				})
			}
		}
	}
}

// TestCompleteThroughGoesBackFromTheFutureOnly: CompleteThrough decreases only if it was ahead of
// the clock.
func TestCompleteThroughGoesBackFromTheFutureOnly(t *testing.T) {
	now := time.Now().UnixMilli()
	day := 24 * time.Hour.Milliseconds()
	for name, c := range map[string]struct{ base, batch, want int64 }{
		"forward":         {now - day, now, now},
		"backward":        {now, now - day, now},
		"from_the_future": {now + day, now - day, now - day},
		"still_ahead":     {now + day, now + 2*day, now + 2*day},
		"to_unknown":      {now + day, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			base := &ledger.Entry{CompleteThrough: c.base}
			require.Equal(t, c.want, sealEntry(base, nil, &segment.Batch{CompleteThrough: c.batch}, ledger.Tenure{}).CompleteThrough)
		})
	}
}

// TestEntriesThatContradictTheirBaseAreRefused: if the appender's state is ever wrong, its entry is
// refused and the partition is read again.
func TestEntriesThatContradictTheirBaseAreRefused(t *testing.T) {
	for name, contradict := range map[string]func(*testing.T) *segment.Batch{
		"file_below_the_watermark":    func(t *testing.T) *segment.Batch { return batch(t, 30, "a@3") },
		"stream_sealed_that_far":      func(t *testing.T) *segment.Batch { return batch(t, 30, "a@9") },
		"twice_in_the_batch":          func(t *testing.T) *segment.Batch { return batch(t, 30, "c@20", "c@20") },
		"watermark_goes_back":         func(t *testing.T) *segment.Batch { return batch(t, 4, "a@10") },
		"not_in_the_order_of_offsets": func(t *testing.T) *segment.Batch { return batch(t, 30, "c@21", "c@20") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newRig(t)
			base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
			require.NoError(t, err)
			head, err := b.Rotate(t.Context(), base, batch(t, 5, "a@9"), b.tenure("w1", -1))
			require.NoError(t, err)
			_, err = b.Rotate(t.Context(), head, contradict(t), b.tenure("w1", -1))
			require.ErrorIs(t, err, errIncoherent)
			stored, err := ledger.NewChain(b.staging, testLog).Head(t.Context())
			require.NoError(t, err)
			require.Equal(t, head, stored)
		})
	}
}

func TestHungPutIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newRig(t)
		base, err := b.Acquire(t.Context(), testLog, b.tenure("w1", -1))
		require.NoError(t, err)
		left := 2
		b.deps.Staging = objstoretest.Before{Store: b.staging, Do: func(ctx context.Context, op, key string) error {
			if op != "put" || !strings.HasPrefix(key, "data/") {
				return nil
			}
			if left--; left < 0 {
				return nil
			}
			<-ctx.Done() // the PUT never makes progress
			return objstore.ErrUnavailable
		}}
		_, err = b.Rotate(t.Context(), base, batch(t, 42, "a@40"), b.tenure("w1", -1))
		require.NoError(t, err)
	})
}

// TestEntryMakesOneRequest: Entry does not retry, because its caller may have something more urgent
// to do.
func TestEntryMakesOneRequest(t *testing.T) {
	b := newRig(t)
	requests := 0
	b.staging.SetFault(func(objstore.Op) objstore.Fault {
		requests++
		return objstore.Fault{Before: objstore.ErrUnavailable}
	})
	_, err := b.Entry(t.Context(), testLog, 0)
	require.ErrorIs(t, err, objstore.ErrUnavailable)
	require.Equal(t, 1, requests)
}
