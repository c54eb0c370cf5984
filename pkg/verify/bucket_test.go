package verify

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
)

// Objects in a bucket that the destination had before are not looked at, and that is said.
func TestObjectsInFormerBucketsAreCounted(t *testing.T) {
	v := newVerifier(Config{}, Deps{Staging: objstore.NewMemory("staging")})
	v.buckets = &buckets{v: v, open: map[string]*bucket{"ws/one": {id: "ws/one", present: map[folder]int64{}, Bucket: Bucket{Store: objstore.NewMemory("now"), Name: "now"}}}}
	v.buckets.open["ws/one"].once.Do(func() {})
	f := sealed("a", 0, 4, 5)
	o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
	for _, name := range []string{"old", "older", "old"} {
		require.NoError(t, v.buckets.object(t.Context(), o, "ws/one", delivery.Receipt{Bucket: name, Key: "k"}))
	}
	d := v.report.dests["ws/one"]
	const why = "the destination had this bucket then, and has another now"
	require.Equal(t, []Former{{"old", 2, why}, {"older", 1, why}}, d.Former)
	require.EqualValues(t, 3, d.Unseen)
	require.True(t, v.report.OK())
}

// Of a bucket that fails for long not a million objects are asked for, each
// with all its tries; one that answers in between is asked on.
func TestABucketThatFailsForLongIsLeft(t *testing.T) {
	for hazard, c := range map[string]struct {
		answers func(nth int) bool
		asked   int
		state   string
	}{
		"never":         {func(int) bool { return false }, mostFailures, bucketUnread},
		"now_and_again": {func(nth int) bool { return nth%mostFailures == 0 }, 3 * mostFailures, bucketRead},
	} {
		t.Run(hazard, func(t *testing.T) {
			store, asked := objstore.NewMemory("b"), 0
			store.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name != "head" {
					return objstore.Fault{}
				}
				if asked++; c.answers(asked) {
					return objstore.Fault{Before: objstore.ErrNotFound}
				}
				return objstore.Fault{Before: objstore.ErrDenied}
			})
			v := newVerifier(Config{}, Deps{Staging: objstore.NewMemory("staging")})
			v.buckets = &buckets{v: v, open: map[string]*bucket{"ws/one": {id: "ws/one", present: map[folder]int64{}, Bucket: Bucket{Store: store, Name: "b"}}}}
			v.buckets.open["ws/one"].once.Do(func() {})
			v.report.destination("ws/one", func(d *Destination) { d.Bucket = bucketRead })
			f := sealed("a", 0, 4, 5)
			o := &file{walk: &walk{verifier: v, log: testLog}, e: &ledger.Entry{}, f: &f}
			for range 3 * mostFailures {
				require.NoError(t, v.buckets.object(t.Context(), o, "ws/one", delivery.Receipt{Bucket: "b", Key: "k"}))
			}
			require.Equal(t, c.asked, asked)
			require.Equal(t, c.state, v.report.dests["ws/one"].Bucket)
			require.NotEmpty(t, v.report.Unread)
		})
	}
}
