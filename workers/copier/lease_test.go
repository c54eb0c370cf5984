package copier

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/lease"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
	"github.com/sealift/sealift/pkg/sleep"
)

// A lease is released even if the copier stops while it delivers.
func TestLeaseIsReleasedWhileStopping(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault {
		stop()
		return objstore.Fault{Before: objstore.ErrUnavailable}
	})
	require.Equal(t, outcomeDropped, r.runJob(ctx, job).kind)
	held, err := r.deps.Leases.Held(t.Context(), delivery.LeaseName(job.File, acmeOne))
	require.NoError(t, err)
	require.False(t, held)
}

func TestLeaseLostBeforePut(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	r.cfg.LockTTL = 100 * time.Millisecond
	r.staging.SetFault(func(op objstore.Op) objstore.Fault {
		if op.Name == "get" && strings.HasPrefix(op.Key, "data/") {
			// A pause longer than the lease, and another copier took it.
			r.redis.Set("sealift:lease:"+delivery.LeaseName(job.File, job.Destination), "another")
			<-time.After(100 * time.Millisecond)
		}
		return objstore.Fault{}
	})
	require.Equal(t, outcomeBusy, r.runJob(t.Context(), job).kind)
	require.Empty(t, r.buckets["one-logs"].opts)
	v, err := r.redis.Get("sealift:lease:" + delivery.LeaseName(job.File, job.Destination))
	require.NoError(t, err)
	require.Equal(t, "another", v, "another holder's lease was released")
}

// A PUT ends when the lease is lost. The new holder may deliver the file and close the debt, and
// the customer may then take the object away; our PUT would bring it back.
func TestLeaseLostDuringThePut(t *testing.T) {
	for hazard, lose := range map[string]func(*rig, delivery.Job){
		"another_took_it": func(r *rig, job delivery.Job) {
			r.redis.Set("sealift:lease:"+delivery.LeaseName(job.File, job.Destination), "another")
		},
		"redis_is_away_for_us": func(r *rig, _ delivery.Job) { r.redis.SetError("LOADING") },
	} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			r.cfg.LockTTL = 3 * time.Second
			sends := 0
			r.customers = destination.NewPutter(destination.Config{Roles: r.roles, Pause: time.Microsecond,
				Open: func(t catalog.Target, creds func(context.Context) (objstore.Credentials, error)) objstore.Store {
					return objstoretest.Before{Store: r.open(t, creds), Do: func(ctx context.Context, _, key string) error {
						sends++
						lose(r, job)
						if err := sleep.For(ctx, 30*time.Second); err != nil {
							return &objstore.Error{Op: "put", Key: key, Kind: objstore.ErrUnavailable, Err: err}
						}
						return nil
					}}
				}})
			require.Equal(t, outcomeBusy, r.runJob(t.Context(), job).kind)
			require.Equal(t, 1, sends)
			require.Empty(t, r.objects("one-logs"))
			require.Nil(t, r.receipt(job))
		})
	}
}

func TestLeaseIsReleasedAfterFailure(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
	require.Equal(t, outcomeFailed, r.runJob(t.Context(), job).kind)
	_, err := r.deps.Leases.Acquire(t.Context(), delivery.LeaseName(job.File, job.Destination), time.Millisecond)
	require.NotErrorIs(t, err, lease.ErrHeld)
}
