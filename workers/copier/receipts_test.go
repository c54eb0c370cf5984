package copier

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/objstore"
)

// asked starts counting the requests for receipts.
func (r *rig) asked() func() (heads, lists int) {
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

// many seals an entry with n debts and returns their jobs.
func (r *rig) many(n int) (jobs []delivery.Job) {
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
		change              func(*Config)
		job                 func(*delivery.Job)
	}{
		"few":           {debts: listFrom - 1, heads: listFrom - 1},
		"many":          {debts: listFrom, lists: 1},
		"failed_before": {debts: listFrom, heads: listFrom, job: func(j *delivery.Job) { j.Attempt = 1 }},
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			jobs := r.many(c.debts)
			asked := r.asked()
			for _, job := range jobs {
				if c.job != nil {
					c.job(&job)
				}
				require.Equal(t, outcomeDone, r.once(t.Context(), job).kind)
			}
			heads, lists := asked()
			require.Equal(t, []int{c.heads, c.lists}, []int{heads, lists})
			require.Len(t, r.buckets["one-logs"].opts, c.debts)
		})
	}
}

func TestReceiptsAreAskedForOneByOneWithoutRedis(t *testing.T) {
	r := newRig(t)
	jobs := r.many(listFrom)
	lone := r.another("copier-2", func(c *Config) { c.WithoutRedis = true })
	r.redis.Close()
	asked := r.asked()
	for _, job := range jobs {
		require.Equal(t, outcomeDone, lone.once(t.Context(), job).kind)
	}
	heads, lists := asked()
	require.Equal(t, []int{listFrom, 0}, []int{heads, lists})
}

// A delivered file is not sent again when its job is read again, whatever Redis has forgotten and
// whatever the customer did with the object.
func TestWhatWasMovedStaysAway(t *testing.T) {
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
			jobs, second := r.many(listFrom), r.Copier
			if c.another {
				second = r.another("copier-2", nil)
				_, ok := second.receipts.listed(t.Context(), jobs[0].File, "")
				require.True(t, ok)
			}
			for _, job := range jobs {
				require.Equal(t, outcomeDone, r.once(t.Context(), job).kind)
			}
			moved := r.objects("one-logs")
			require.Len(t, moved, listFrom)
			for key := range moved {
				require.NoError(t, r.buckets["one-logs"].Delete(t.Context(), key))
			}
			r.redis.FlushAll()
			if c.renew {
				second.receipts.renew()
			}
			for _, job := range jobs {
				require.Equal(t, outcomeMoot, second.once(t.Context(), job).kind)
			}
			require.Empty(t, r.objects("one-logs"))
		})
	}
}

// A receipt that is newer than our listing is noticed, whether another copier or a replay wrote it:
// it left a marker, which is looked for under the lease.
func TestAReceiptYoungerThanTheListing(t *testing.T) {
	for whose, deliver := range map[string]func(*rig, delivery.Job) outcome{
		"a_copier's": func(r *rig, job delivery.Job) outcome { return r.once(t.Context(), job) },
		"a_replay's": func(r *rig, job delivery.Job) outcome {
			return r.replayLane().once(t.Context(), as(r.order("r", all), job))
		},
	} {
		t.Run(whose, func(t *testing.T) {
			r := newRig(t)
			jobs, second := r.many(listFrom), r.another("copier-2", nil)
			_, ok := second.receipts.listed(t.Context(), jobs[0].File, "")
			require.True(t, ok)
			require.Equal(t, outcomeDone, deliver(r, jobs[0]).kind)
			for key := range r.objects("one-logs") {
				require.NoError(t, r.buckets["one-logs"].Delete(t.Context(), key))
			}
			require.Equal(t, outcomeMoot, second.once(t.Context(), jobs[0]).kind)
			require.Empty(t, r.objects("one-logs"))
		})
	}
}

// A listing that fails does not hold up any delivery.
func TestAListingThatFails(t *testing.T) {
	r := newRig(t)
	jobs := r.many(listFrom)
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "list" {
			return objstore.Fault{Before: objstore.ErrUnavailable}
		}
		return objstore.Fault{}
	})
	for _, job := range jobs {
		require.Equal(t, outcomeDone, r.once(t.Context(), job).kind)
	}
}

func TestListingsOfReceipts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		staging := objstore.NewMemory("staging")
		lists := 0
		staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "list" {
				lists++
			}
			return objstore.Fault{}
		})
		r := newReceipts(staging)
		f := delivery.FileRef{Topic: "events", Incarnation: "1", Seq: 7}
		ask := func() bool {
			_, ok := r.listed(t.Context(), f, delivery.ReceiptKey(f, acmeOne))
			return ok
		}
		for range listFrom - 1 {
			require.True(t, ask())
		}
		time.Sleep(listedFor + 1)
		require.False(t, ask(), "it did not pay: the rest is looked for one by one")
		require.Equal(t, 1, lists)
		r.renew()
		for range listFrom {
			require.True(t, ask())
		}
		require.Equal(t, 2, lists, "partitions were assigned")
		time.Sleep(listedFor + 1)
		require.True(t, ask())
		require.Equal(t, 3, lists, "it paid, and is made anew when it is old")
		time.Sleep(20 * listedFor)
		f.Seq++
		require.True(t, ask())
		require.Len(t, r.lists, 1, "old ones are forgotten")
	})
}
