package copier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
)

// When a destination gets another bucket in the middle of a delivery, a repeated job puts the file
// once where the catalog now says. The former bucket keeps what it got, and a delivery that has its
// receipt stays closed.
func TestBucketChangedDuringADelivery(t *testing.T) {
	moved := func(ws []catalog.Workspace) { ws[0].Destinations[0].Bucket = "their-logs/moved" }
	for step, c := range map[string]struct {
		undo  func(r *rig, job delivery.Job)
		again int // objects in the new bucket
	}{
		"after_the_put": {func(r *rig, job delivery.Job) {
			require.NoError(r.t, r.staging.Delete(r.t.Context(), delivery.ReceiptKey(job.File, job.Destination)))
			r.redis.FlushAll()
		}, 1},
		"after_the_receipt": {func(r *rig, _ delivery.Job) { r.redis.FlushAll() }, 0},
		"after_the_marker":  {func(*rig, delivery.Job) {}, 0},
	} {
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			c.undo(r, job)
			r.setCatalog(func(ws []catalog.Workspace) {
				moved(ws)
				ws[1].Destinations = nil // because a bucket has one owner
			})
			for range 2 {
				require.Contains(t, []outcomeKind{outcomeDone, outcomeMoot}, r.newCopier("copier-2", nil).runJob(t.Context(), job).kind)
			}
			require.Len(t, r.objects("one-logs"), 1)
			require.Len(t, r.objects("their-logs"), c.again)
			require.NotNil(t, r.receipt(job))
		})
	}
}
