package e2e

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/verify"
)

// TestUnreadObjectsAreReported: what could not be checked is reported as unread, except for buckets
// that we are not allowed to read.
func TestUnreadObjectsAreReported(t *testing.T) {
	good := newWorld(t)
	broken := objstore.ErrInvalid // an error that is not retried
	for hazard, c := range map[string]struct {
		opens  error // error when opening the lake's bucket
		fault  func(w *world) func(objstore.Op) error
		state  string
		wrong  verify.Kind // reported once, however many files the bucket is said to have
		unread string      // "": nothing
	}{
		"refused":              {opens: objstore.ErrDenied, state: "not readable"},
		"no_bucket":            {opens: objstore.ErrNoBucket, state: "not readable", wrong: verify.BucketMissing},
		"no_destination":       {opens: verify.ErrNoDestination, state: "not looked at"},
		"cannot_be_opened":     {opens: errors.New("the catalog cannot be read"), state: "not readable", unread: lake + ": its bucket: the catalog cannot be read"},
		"no_list":              {fault: failing("list", "", objstore.ErrDenied, 0), state: "not readable"},
		"list_fails":           {fault: failing("list", "", broken, 0), state: "not readable", unread: lake + ": its bucket: "},
		"later_list_fails":     {fault: failing("list", "", broken, 1), state: "read", unread: "acme/raw/segment-logs/"},
		"later_list_is_denied": {fault: failing("list", "", objstore.ErrDenied, 1), state: "read", unread: "acme/raw/segment-logs/"},
		"one_head_denied":      {fault: failing("head", "second", objstore.ErrDenied, 0), state: "read", unread: "s3://lake/acme/raw/segment-logs/"},
		"get_denied":           {fault: failing("get", "", objstore.ErrDenied, 0), state: "read", unread: "s3://lake/acme/raw/segment-logs/"},
		"every_head_denied":    {fault: failing("head", "", objstore.ErrDenied, 0), state: "not readable", unread: "s3://lake/acme/raw/segment-logs/"},
		"one_head_fails":       {fault: failing("head", "second", broken, 0), state: "read", unread: "s3://lake/acme/raw/segment-logs/"},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := good.clone(t)
			gone := w.objectKey(lake, w.sealedEntries()[0], 0) // what can be seen is checked, whatever else cannot
			w.remove(w.buckets[lake], gone)
			seen := c.state == "read" && hazard != "every_head_denied"
			for _, b := range w.buckets {
				w.refuseWrites(b, nil)
			}
			w.refuseWrites(w.staging, nil)
			if c.fault != nil {
				w.refuseWrites(w.buckets[lake], c.fault(w))
			}
			r, err := w.verifyAs(nil, func(ctx context.Context, dest string) (verify.Bucket, error) {
				if dest == lake && c.opens != nil {
					return verify.Bucket{Name: "lake"}, c.opens
				}
				return w.open(ctx, dest)
			})
			require.NoError(t, err)
			var want []verify.Kind
			switch {
			case seen:
				want = []verify.Kind{verify.ObjectMissing}
			case c.wrong != "":
				want = []verify.Kind{c.wrong}
			}
			require.Equal(t, want, kindsOf(r), "%v", r.Examples)
			require.EqualValues(t, len(want), r.Problems)
			for _, d := range r.Destinations {
				if d.ID == lake {
					require.Equal(t, c.state, d.Bucket)
				} else {
					require.Equal(t, "read", d.Bucket)
				}
			}
			if c.unread == "" {
				require.Empty(t, r.Unread)
				return
			}
			require.NotEmpty(t, r.Unread)
			for _, what := range r.Unread {
				require.Contains(t, what, c.unread)
			}
		})
	}
}

// failing makes requests with that name fail, except for the first ones: requests for all keys, or
// for the second file's object.
func failing(name, which string, err error, but int) func(*world) func(objstore.Op) error {
	return func(w *world) func(objstore.Op) error {
		second := w.objectKey(lake, w.second(), 0)
		n := 0
		return func(op objstore.Op) error {
			if op.Name != name || which == "second" && op.Key != second {
				return nil
			}
			if n++; n <= but {
				return nil
			}
			return err
		}
	}
}
