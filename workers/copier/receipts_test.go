package copier

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/receipt"
)

// countReceiptRequests starts counting the requests for receipts.
func (r *rig) countReceiptRequests() func() (heads, lists int) {
	var mu sync.Mutex
	counts := map[string]int{}
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		mu.Lock()
		defer mu.Unlock()
		counts[op.Name]++
		return objstore.Fault{}
	})
	return func() (int, int) {
		mu.Lock()
		defer mu.Unlock()
		return counts["head"], counts["list"]
	}
}

// sealMany seals an entry with n debts and returns their jobs.
func (r *rig) sealMany(n int) (jobs []delivery.Job) {
	var contents []string
	for i := range n {
		contents = append(contents, fmt.Sprint("content ", i))
	}
	for _, ref := range r.seal([]string{acmeOne}, contents...) {
		jobs = append(jobs, delivery.Job{Version: 1, File: ref, Destination: acmeOne})
	}
	return jobs
}

func TestReceiptsOfAnEntryAreListedOnce(t *testing.T) {
	for hazard, c := range map[string]struct {
		debts, heads, lists int
		job                 func(*delivery.Job)
	}{
		"few":           {debts: minDebtsForBatch - 1, heads: minDebtsForBatch - 1},
		"many":          {debts: minDebtsForBatch, lists: 1},
		"failed_before": {debts: minDebtsForBatch, lists: 1, job: func(j *delivery.Job) { j.Attempt = 1 }},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			jobs := r.sealMany(c.debts)
			counts := r.countReceiptRequests()
			for _, job := range jobs {
				if c.job != nil {
					c.job(&job)
				}
				require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			}
			heads, lists := counts()
			require.Equal(t, []int{c.heads, c.lists}, []int{heads, lists})
			require.Len(t, r.buckets["one-logs"].opts, c.debts)
		})
	}
}

// Without Redis there is neither a lease nor a marker, so each job needs a listing that is not
// older.
func TestReceiptsAreListedForEachJobWithoutRedis(t *testing.T) {
	r := newRig(t)
	jobs := r.sealMany(minDebtsForBatch)
	withoutRedis := r.newCopier("copier-2", func(c *Config) { c.WithoutRedis = true })
	r.redis.Close()
	counts := r.countReceiptRequests()
	for _, job := range jobs {
		require.Equal(t, outcomeDone, withoutRedis.runJob(t.Context(), job).kind)
	}
	heads, lists := counts()
	require.Equal(t, []int{0, minDebtsForBatch}, []int{heads, lists})
}

// A delivered file is not sent again when its job is read again, whatever Redis has forgotten and
// whatever the customer did with the object.
func TestMovedObjectIsNotSentAgain(t *testing.T) {
	for hazard, c := range map[string]struct {
		another bool // it reads the jobs again, and its listing is older than the receipts
		renew   bool // the partitions are assigned again
	}{
		"the_same_copier":   {},
		"after_a_rebalance": {renew: true},
		"another_copier":    {another: true, renew: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			jobs, second := r.sealMany(minDebtsForBatch), r.Copier
			if c.another {
				second = r.newCopier("copier-2", nil)
				second.listReceipts(t, jobs[0])
			}
			for _, job := range jobs {
				require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			}
			moved := r.objects("one-logs")
			require.Len(t, moved, minDebtsForBatch)
			for key := range moved {
				require.NoError(t, r.buckets["one-logs"].Delete(t.Context(), key))
			}
			r.redis.FlushAll()
			if c.renew {
				second.receipts.invalidate()
			}
			for _, job := range jobs {
				require.Equal(t, outcomeMoot, second.runJob(t.Context(), job).kind)
			}
			require.Empty(t, r.objects("one-logs"))
		})
	}
}

// A receipt that is newer than our listing is noticed, whether another copier or a replay wrote it:
// it left a marker, of which whoever takes the lease is told.
func TestReceiptNewerThanTheListingIsFound(t *testing.T) {
	for whose, deliver := range map[string]func(*rig, delivery.Job) outcome{
		"a_copier's": func(r *rig, job delivery.Job) outcome { return r.runJob(t.Context(), job) },
		"a_replay's": func(r *rig, job delivery.Job) outcome {
			return r.replayLane().runJob(t.Context(), replayJob(r.order("r", unchanged), job))
		},
	} {
		t.Run(whose, func(t *testing.T) {
			r := newRig(t)
			jobs, second := r.sealMany(minDebtsForBatch), r.newCopier("copier-2", nil)
			second.listReceipts(t, jobs[0])
			require.Equal(t, outcomeDone, deliver(r, jobs[0]).kind)
			for key := range r.objects("one-logs") {
				require.NoError(t, r.buckets["one-logs"].Delete(t.Context(), key))
			}
			require.Equal(t, outcomeMoot, second.runJob(t.Context(), jobs[0]).kind)
			require.Empty(t, r.objects("one-logs"))
		})
	}
}

// listReceipts makes the copier list the receipts of the job's entry.
func (c *Copier) listReceipts(t *testing.T, job delivery.Job) {
	e, err := c.owedEntry(t.Context(), job)
	require.NoError(t, err)
	require.NoError(t, c.receipts.refresh(t.Context(), e))
}

// While the receipts of an entry cannot be listed, nothing is known about its debts, and nothing is
// sent.
func TestNothingIsSentWhileTheListingFails(t *testing.T) {
	r := newRig(t)
	jobs := r.sealMany(minDebtsForBatch)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" && op.N <= 2 {
			require.Empty(t, r.buckets["one-logs"].opts)
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	for _, job := range jobs {
		require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
	}
	r.gate.probes.Wait()
}

func TestReceiptListingsAreCached(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		requests := map[string]int{}
		staging.SetFault(func(op objstore.Op) objstore.Fault {
			requests[op.Name]++
			return objstore.Fault{}
		})
		e := entryOwing(minDebtsForBatch)
		ledgertest.Batch(t, staging, e, delivery.Receipt{File: delivery.FileRef{Index: 2}, Destination: acmeOne}, delivery.Receipt{File: delivery.FileRef{Index: 5}, Destination: acmeOne})
		clear(requests)
		r := newReceipts(staging)
		closed := func(e *ledger.Entry, i int) bool {
			closed, err := r.lookUp(t.Context(), t.Context(), delivery.Job{File: delivery.Ref(e, i), Destination: acmeOne}, e, true)
			require.NoError(t, err)
			return closed
		}
		for i := range minDebtsForBatch {
			require.Equal(t, i == 2 || i == 5, closed(e, i))
		}
		require.Equal(t, map[string]int{"list": 1, "get": 1}, requests)
		time.Sleep(time.Nanosecond)
		r.invalidate()
		require.True(t, closed(e, 2))
		require.Equal(t, map[string]int{"list": 2, "get": 1}, requests, "after an assignment: list again, read no batch again")
		time.Sleep(listedFor + 1)
		ledgertest.Batch(t, staging, e, delivery.Receipt{File: delivery.FileRef{Index: 7}, Destination: acmeOne}, delivery.Receipt{File: delivery.FileRef{Index: 2}, Destination: acmeOne})
		clear(requests)
		require.True(t, closed(e, 7))
		require.True(t, closed(e, 5))
		require.Equal(t, map[string]int{"list": 1, "get": 1}, requests, "expired listing: list again, read only the new batch")
		time.Sleep(20 * listedFor)
		other := entryOwing(minDebtsForBatch)
		other.Seq++
		require.False(t, closed(other, 2))
		require.Len(t, r.lists, 1, "expired listings are still kept")
	})
}

// slowLists is a staging bucket whose listings take a second, and have what was there when they began.
type slowLists struct {
	objstore.Store
	lists atomic.Int32
}

func (s *slowLists) List(ctx context.Context, prefix, after string, limit int) ([]objstore.Info, error) {
	s.lists.Add(1)
	infos, err := s.Store.List(ctx, prefix, after, limit)
	time.Sleep(time.Second)
	return infos, err
}

// An entry may have so many batches that it takes minutes to read them.
func TestListingMayTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging, e := objstore.NewMemory("staging"), entryOwing(1000)
		in := func(i int) delivery.Receipt {
			return delivery.Receipt{File: delivery.FileRef{Index: i}, Destination: acmeOne}
		}
		for i := 2; i < len(e.Files); i += 2 {
			ledgertest.Batch(t, staging, e, in(i), in(i+1))
		}
		r := newReceipts(objstoretest.Slow(&slowLists{Store: staging}, time.Second, "get"))
		for _, recent := range []bool{true, false} {
			for _, i := range []int{1, 2, 999} {
				closed, err := r.lookUp(t.Context(), t.Context(), delivery.Job{File: delivery.Ref(e, i), Destination: acmeOne}, e, recent)
				require.NoError(t, err)
				require.Equal(t, i > 1, closed)
			}
		}
	})
}

// Jobs that need a new listing, because Redis was not asked, share one that began after they needed
// it.
func TestListingsWithoutRedisAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging, e := objstore.NewMemory("staging"), entryOwing(minDebtsForBatch)
		slow := &slowLists{Store: staging}
		r := newReceipts(slow)
		var group errgroup.Group
		ask := func(want bool) {
			for range 20 {
				group.Go(func() error {
					closed, err := r.lookUp(t.Context(), t.Context(), delivery.Job{File: delivery.Ref(e, 2), Destination: acmeOne}, e, false)
					if err == nil && closed != want {
						err = fmt.Errorf("closed: %v", closed)
					}
					return err
				})
			}
			synctest.Wait()
		}
		ask(false)
		time.Sleep(time.Second / 2)
		ledgertest.Receipt(t, staging, e, 2, acmeOne, delivery.Receipt{}) // another copier's
		ask(true)
		require.NoError(t, group.Wait())
		require.EqualValues(t, 2, slow.lists.Load())
	})
}

// entryOwing returns an entry that owes n files to acmeOne.
func entryOwing(n int) *ledger.Entry {
	e := &ledger.Entry{Topic: testLog.Topic, Incarnation: testLog.Incarnation, Partition: testLog.Partition, Seq: 7}
	for range n {
		e.Files = append(e.Files, ledger.File{Owed: []string{acmeOne}})
	}
	return e
}

func (r *receipts) deliver(ctx context.Context, e *ledger.Entry, i int) error {
	return r.write(ctx, delivery.Receipt{File: delivery.Ref(e, i), Destination: acmeOne, Outcome: delivery.Delivered}, e)
}

// The receipts of an entry that come within gatherFor are written with one request; other entries
// have nothing to do with it.
func TestReceiptsWithinGatherTimeShareARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		r, e, other := newReceipts(objstoretest.Slow(staging, time.Second, "put")), entryOwing(600), entryOwing(minDebtsForBatch)
		other.Seq++
		r.lists[delivery.ReceiptPrefix(e.Log(), e.Seq)] = &listing{at: time.Now(), closed: map[receipt.Pair]bool{}}
		begun := time.Now()
		took := make([]time.Duration, len(e.Files))
		var group errgroup.Group
		deliver := func(i int) {
			group.Go(func() error {
				err := r.deliver(t.Context(), e, i)
				took[i] = time.Since(begun)
				return err
			})
			synctest.Wait()
		}
		group.Go(func() error { return r.deliver(t.Context(), other, 0) })
		for i := range delivery.MaxBatch {
			deliver(i)
		}
		for i := delivery.MaxBatch; i < 400; i++ {
			deliver(i)
		}
		time.Sleep(gatherFor + 1)
		deliver(400)
		require.NoError(t, group.Wait())
		require.Len(t, staging.Puts(""), 4, "want a full batch, the rest, the late receipt, and one of another entry")
		require.Equal(t, time.Second, took[0], "a full batch waited")
		require.Equal(t, time.Second, took[delivery.MaxBatch-1])
		require.Equal(t, gatherFor+time.Second, took[delivery.MaxBatch])
		require.Equal(t, gatherFor+time.Second, took[399])
		require.Equal(t, 2*gatherFor+time.Second+1, took[400])
		require.Empty(t, r.gathering)

		found, err := receipt.List(t.Context(), staging, e.Log(), e.Seq)
		require.NoError(t, err)
		require.Len(t, found, 401)
		listed, ok := r.lookUpListed(delivery.ReceiptPrefix(e.Log(), e.Seq), receipt.PairOf(delivery.Ref(e, 400), acmeOne), time.Now().Add(-listedFor))
		require.True(t, ok)
		require.True(t, listed, "our own receipt is missing from the listing")
	})
}

// An entry that owes few deliveries has no batches, so that one HEAD finds a receipt of it.
func TestSmallEntryHasNoBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		r, e := newReceipts(objstoretest.Slow(staging, time.Second, "put")), entryOwing(minDebtsForBatch-1)
		begun := time.Now()
		var group errgroup.Group
		for i := range e.Files {
			group.Go(func() error { return r.deliver(t.Context(), e, i) })
		}
		require.NoError(t, group.Wait())
		require.Len(t, staging.Puts(""), minDebtsForBatch-1)
		require.Equal(t, time.Second, time.Since(begun), "receipts without batches waited")
		for i := range e.Files {
			require.Len(t, staging.Puts(delivery.ReceiptKey(delivery.Ref(e, i), acmeOne)), 1)
		}
	})
}

// However many copies wait for their receipts, a staging bucket that is slow, or back, does not get
// all of them at once.
func TestRequestsThatWriteReceiptsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var puts, now, peak atomic.Int32
		staging := objstoretest.Before{Store: objstore.NewMemory("staging"), Do: func(context.Context, string, string) error {
			puts.Add(1)
			peak.Store(max(peak.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return nil
		}}
		r := newReceipts(staging)
		ctx, cancel := context.WithCancel(t.Context())
		var group errgroup.Group
		for seq := range 3 * maxPuts {
			e := entryOwing(1)
			e.Seq = int64(seq)
			group.Go(func() error { return r.deliver(ctx, e, 0) })
			synctest.Wait()
		}
		require.EqualValues(t, maxPuts, peak.Load())
		time.Sleep(time.Second + 1)
		cancel()
		require.ErrorIs(t, group.Wait(), context.Canceled, "those that wait for their turn give up")
		require.EqualValues(t, maxPuts, peak.Load())
		require.EqualValues(t, 2*maxPuts, puts.Load())
		require.NoError(t, r.deliver(t.Context(), entryOwing(1), 0))
	})
}

// A request that fails, fails for everyone whose receipt was in it, and for nobody else.
func TestFailedBatchFailsOnlyItsOwnReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var puts atomic.Int32
		staging := objstoretest.Before{Store: objstore.NewMemory("staging"), Do: func(context.Context, string, string) error {
			put := puts.Add(1)
			time.Sleep(time.Second)
			if put == 1 {
				return objstore.ErrUnavailable
			}
			return nil
		}}
		r, e := newReceipts(staging), entryOwing(minDebtsForBatch)
		errs := make([]error, 3)
		var group errgroup.Group
		for i := range errs {
			if i == 2 {
				time.Sleep(gatherFor + 1) // the first request is under way
			}
			group.Go(func() error { errs[i] = r.deliver(t.Context(), e, i); return nil })
			synctest.Wait()
		}
		require.NoError(t, group.Wait())
		require.ErrorIs(t, errs[0], objstore.ErrUnavailable)
		require.ErrorIs(t, errs[1], objstore.ErrUnavailable)
		require.NoError(t, errs[2])
		require.NoError(t, r.deliver(t.Context(), e, 1))
		require.Empty(t, r.gathering)
	})
}

// If the caller whose request writes a batch gives up, the others' receipts are written all the
// same. A caller that gives up does not wait.
func TestBatchIsWrittenThoughCallersGiveUp(t *testing.T) {
	for when, after := range map[string]time.Duration{"while_gathering": gatherFor / 2, "while_writing": gatherFor + time.Second/2} {
		t.Run(when, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				staging := objstoretest.Slow(objstore.NewMemory("staging"), time.Second, "put")
				r, e := newReceipts(staging), entryOwing(minDebtsForBatch)
				ctx, cancel := context.WithCancel(t.Context())
				errs := make([]error, 3)
				var group errgroup.Group
				for i, ctx := range []context.Context{ctx, t.Context(), ctx} {
					group.Go(func() error { errs[i] = r.deliver(ctx, e, i); return nil })
					synctest.Wait()
				}
				time.Sleep(after)
				cancel()
				synctest.Wait()
				require.ErrorIs(t, errs[0], context.Canceled)
				require.ErrorIs(t, errs[2], context.Canceled)
				require.NoError(t, group.Wait())
				require.NoError(t, errs[1])
				found, err := receipt.List(t.Context(), staging, e.Log(), e.Seq)
				require.NoError(t, err)
				require.Contains(t, found, receipt.PairOf(delivery.Ref(e, 1), acmeOne))
				require.Empty(t, r.gathering)
			})
		})
	}
}

// Deliveries of an entry share a request for their receipts, and everyone who looks finds them.
func TestDeliveriesShareAReceiptRequest(t *testing.T) {
	r := newRig(t)
	r.receipts.gatherFor = time.Hour // until the batch is full
	jobs := r.sealMany(delivery.MaxBatch)
	var group errgroup.Group
	for _, job := range jobs {
		group.Go(func() error {
			if o := r.runJob(t.Context(), job); o.kind != outcomeDone {
				return fmt.Errorf("outcome %v", o.kind)
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	puts := r.staging.Puts(delivery.ReceiptPrefix(jobs[0].File.Log(), jobs[0].File.Seq))
	require.Len(t, puts, 1)
	for _, job := range jobs {
		require.Equal(t, delivery.Delivered, r.receipt(job).Outcome)
	}
	r.redis.FlushAll()
	again := r.newCopier("copier-2", nil)
	for _, job := range jobs {
		require.Equal(t, outcomeMoot, again.runJob(t.Context(), job).kind)
	}
	require.Len(t, r.buckets["one-logs"].opts, len(jobs))
}
