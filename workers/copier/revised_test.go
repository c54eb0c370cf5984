package copier

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
)

// When a destination gets another bucket in the middle of a delivery, a repeated job puts the file
// once where the catalog now says. The former bucket keeps what it got, and a delivery that has its
// receipt stays closed.
func TestBucketChangedDuringADelivery(t *testing.T) {
	moved := func(ws []catalog.Workspace) { ws[0].Destinations[0].Bucket = "their-logs/moved" }
	for step, again := range map[string]int{"after_the_put": 1, "after_the_receipt": 0, "after_the_marker": 0} { // objects in the new bucket
		t.Run(step, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			r.crash(step, job)
			r.setCatalog(func(ws []catalog.Workspace) {
				moved(ws)
				ws[1].Destinations = nil // because a bucket has one owner
			})
			for range 2 {
				require.Contains(t, []outcomeKind{outcomeDone, outcomeMoot}, r.newCopier("copier-2", nil).runJob(t.Context(), job).kind)
			}
			require.Len(t, r.objects("one-logs"), 1)
			require.Len(t, r.objects("their-logs"), again)
			require.NotNil(t, r.receipt(job))
		})
	}
}
