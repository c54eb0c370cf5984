package destination

import (
	"context"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/objstore"
)

// answeringStore is a bucket with prepared answers to PUTs.
type answeringStore struct {
	objstore.Store
	region string
	put    func(region string, ifAbsent bool) error
}

func (a answeringStore) Put(_ context.Context, _ string, _ io.ReadSeeker, opts objstore.PutOptions) (objstore.Info, error) {
	return objstore.Info{}, a.put(a.region, opts.IfAbsent)
}

func newAnsweringPutter(put func(region string, ifAbsent bool) error) *Putter {
	return NewPutter(Config{Open: func(t catalog.Target, _ func(context.Context) (objstore.Credentials, error)) objstore.Store {
		return answeringStore{region: t.Region, put: put}
	}})
}

var (
	notImplemented = &objstore.Error{Op: "put", Kind: objstore.ErrInvalid, Status: 501, Code: "NotImplemented", Message: "A header you provided implies functionality that is not implemented"}
	elsewhere      = &objstore.Error{Op: "put", Kind: objstore.ErrWrongRegion, Status: 301, Code: "PermanentRedirect", Region: "eu-west-1"}
	learner        = catalog.Target{BucketName: "one-logs"}
)

func (p *Putter) mustPut(t *testing.T) Result {
	t.Helper()
	r, err := p.Put(t.Context(), learner, Object{Key: "segment-logs/web/1.gz", Body: strings.NewReader("x")})
	require.NoError(t, err)
	return r
}

// Invariant: I9. A store that answers 412 to a PUT without a condition has stored nothing, and says nothing about what is
// there.
func TestAnswerToAConditionThatWasNotSentIsNoDelivery(t *testing.T) {
	exists := &objstore.Error{Op: "put", Kind: objstore.ErrExists, Status: 412, Code: "PreconditionFailed"}
	for hazard, overwrite := range map[string]bool{"overwrite": true, "unknown_condition": false} {
		t.Run(hazard, func(t *testing.T) {
			p := newAnsweringPutter(func(_ string, ifAbsent bool) error {
				if ifAbsent {
					return notImplemented
				}
				return exists
			})
			r, err := p.Put(t.Context(), learner, Object{Key: "segment-logs/web/1.gz", Body: strings.NewReader("x"), Overwrite: overwrite})
			require.ErrorIs(t, err, objstore.ErrExists)
			require.False(t, r.Existed)
			require.Equal(t, "unavailable", Judge(err, learner).Reason)
		})
	}
}

// TestConditionalPutIsRetriedLater: one answer that refuses If-None-Match does not count for the
// life of the process. It may have come from a proxy that is gone, or from a store that has been
// upgraded.
func TestConditionalPutIsRetriedLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		knows := false
		var conditions []bool
		p := newAnsweringPutter(func(_ string, ifAbsent bool) error {
			conditions = append(conditions, ifAbsent)
			if ifAbsent && !knows {
				return notImplemented
			}
			return nil
		})
		put := func() (bool, []bool) {
			conditions = nil
			return p.mustPut(t).Unconditional, conditions
		}
		unconditional, sent := put()
		require.True(t, unconditional)
		require.Equal(t, []bool{true, false}, sent)
		time.Sleep(59 * time.Minute)
		unconditional, sent = put()
		require.True(t, unconditional)
		require.Equal(t, []bool{false}, sent, "the condition was tried again too soon")
		time.Sleep(2 * time.Minute)
		_, sent = put()
		require.Equal(t, []bool{true, false}, sent)
		knows = true
		time.Sleep(61 * time.Minute)
		unconditional, sent = put()
		require.False(t, unconditional)
		require.Equal(t, []bool{true}, sent)
	})
}

// TestConcurrentPutsKeepWhatOthersLearned: PUTs run concurrently, and what one learns must not
// overwrite what another has learned.
func TestConcurrentPutsKeepWhatOthersLearned(t *testing.T) {
	var p *Putter
	first := true
	p = newAnsweringPutter(func(region string, ifAbsent bool) error {
		switch {
		case first: // meanwhile another PUT learns where the bucket is
			first = false
			require.Equal(t, "eu-west-1", p.mustPut(t).Region)
			return notImplemented
		case ifAbsent && region == "us-east-1":
			return elsewhere
		}
		return nil
	})
	require.True(t, p.mustPut(t).Unconditional)
	require.Equal(t, "eu-west-1", p.Region(learner))
	require.True(t, p.mustPut(t).Unconditional)
}
