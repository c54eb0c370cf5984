package job_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/stream"
)

const destination = "ws_aaaaaaaaaaaaaaaa/one"

func note(i int, cause string) delivery.Parked {
	ref := delivery.FileRef{Topic: "events", Incarnation: "1", Seq: 1, Index: i}
	return delivery.Parked{Version: 1, Job: delivery.Job{Version: 1, File: ref, Destination: destination, Attempt: 3, LastError: cause}, Cause: cause, Fix: "y"}
}

func park(t *testing.T, staging objstore.Store, p delivery.Parked) {
	t.Helper()
	_, err := staging.Put(t.Context(), delivery.ParkedKey(p.Job.File, destination), strings.NewReader(string(p.Encode())), objstore.PutOptions{})
	require.NoError(t, err)
}

// topic is a Producer made of a function.
type topic func(ctx context.Context, records []stream.Record) error

func (f topic) Produce(ctx context.Context, records ...stream.Record) error { return f(ctx, records) }

// Every job is enqueued or still parked; or both, which delivers it once.
func TestRedriveLosesNoNote(t *testing.T) {
	away := errors.New("no broker")
	var queued []string
	take := func(_ context.Context, records []stream.Record) error {
		for _, r := range records {
			j, err := delivery.DecodeJob(r.Value)
			require.NoError(t, err)
			require.Zero(t, j.Attempt, "the attempt count was kept")
			require.Equal(t, j.RecordKey(), r.Key)
			queued = append(queued, fmt.Sprint(j.File.Index))
		}
		return nil
	}
	for hazard, c := range map[string]struct {
		produce func(*testing.T, objstore.Store, context.CancelFunc) topic
		kept    int               // the note that cannot be deleted; 0: none
		queued  string            // indexes of the files
		parked  map[string]string // what is parked afterwards, and the causes
		err     error
	}{
		"success": {
			produce: func(*testing.T, objstore.Store, context.CancelFunc) topic { return take },
			queued:  "0 1 2", parked: map[string]string{},
		},
		"one_cannot_be_deleted": {
			produce: func(*testing.T, objstore.Store, context.CancelFunc) topic { return take }, kept: 1,
			queued: "0 2", parked: map[string]string{"1": "x"}, err: objstore.ErrDenied,
		},
		"kafka_away": {
			produce: func(*testing.T, objstore.Store, context.CancelFunc) topic {
				return func(context.Context, []stream.Record) error { return away }
			},
			parked: map[string]string{"0": "x", "1": "x", "2": "x"}, err: away,
		},
		"stopped": {
			produce: func(_ *testing.T, _ objstore.Store, stop context.CancelFunc) topic {
				return func(ctx context.Context, _ []stream.Record) error { stop(); return ctx.Err() }
			},
			parked: map[string]string{"0": "x", "1": "x", "2": "x"}, err: context.Canceled,
		},
		"parked_again_at_once": { // Kafka accepted the job, and its answer was lost
			produce: func(t *testing.T, staging objstore.Store, _ context.CancelFunc) topic {
				return func(context.Context, []stream.Record) error { park(t, staging, note(0, "fresh")); return away }
			},
			parked: map[string]string{"0": "fresh", "1": "x", "2": "x"}, err: away,
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			staging := objstore.NewMemory("staging")
			var parked []delivery.Parked
			for i := range 3 {
				parked = append(parked, note(i, "x"))
				park(t, staging, parked[i])
			}
			staging.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "delete" && c.kept > 0 && op.Key == delivery.ParkedKey(parked[c.kept].Job.File, destination) {
					return objstore.Fault{Before: objstore.ErrDenied}
				}
				return objstore.Fault{}
			})
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			queued = nil
			gone, err := job.Redrive(ctx, staging, c.produce(t, staging, stop), parked)
			require.ErrorIs(t, err, c.err)
			require.Equal(t, c.queued, strings.Join(queued, " "))
			require.Len(t, gone, len(queued))
			left := map[string]string{}
			for info, err := range objstore.All(t.Context(), staging, delivery.ParkedPrefix("")) {
				require.NoError(t, err)
				p, err := job.ReadNote(t.Context(), staging, info.Key, time.Time{})
				require.NoError(t, err)
				require.Equal(t, note(p.Job.File.Index, p.Cause), p, "the note changed")
				left[fmt.Sprint(p.Job.File.Index)] = p.Cause
			}
			require.Equal(t, c.parked, left)
		})
	}
}
