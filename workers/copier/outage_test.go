package copier

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/destination"
	"github.com/sealift/sealift/pkg/objstore"
)

func TestRedisDown(t *testing.T) {
	t.Run("copying_waits", func(t *testing.T) {
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		r.redis.SetError("LOADING")
		result := make(chan outcome)
		go func() { result <- r.runJob(t.Context(), job) }()
		require.Eventually(t, func() bool { return r.gate.err() != nil }, 10*time.Second, time.Millisecond)
		require.ErrorContains(t, r.gate.err(), "copying waits for redis")
		require.Empty(t, r.buckets["one-logs"].opts)
		r.redis.SetError("")
		require.Equal(t, outcomeDone, (<-result).kind)
		require.NoError(t, r.gate.err())
		r.gate.probes.Wait()
	})
	t.Run("continue_without", func(t *testing.T) {
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		c := r.newCopier("copier-2", func(c *Config) { c.WithoutRedis = true })
		r.redis.SetError("LOADING")
		require.Equal(t, outcomeDone, c.runJob(t.Context(), job).kind)
		require.Zero(t, r.receipt(job).Fence)
	})
	t.Run("back_before_the_end", func(t *testing.T) { // the marker is left although there is no lease
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		c := r.newCopier("copier-2", func(c *Config) { c.WithoutRedis = true })
		r.redis.SetError("LOADING")
		r.buckets["one-logs"].SetFault(func(objstore.Op) objstore.Fault {
			r.redis.SetError("")
			return objstore.Fault{}
		})
		require.Equal(t, outcomeDone, c.runJob(t.Context(), job).kind)
		require.Zero(t, r.receipt(job).Fence)
		marked, err := r.deps.Leases.Marked(t.Context(), delivery.DoneMarker(job.File, acmeOne))
		require.NoError(t, err)
		require.True(t, marked)
	})
	t.Run("stopping_ends_the_wait", func(t *testing.T) {
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		r.redis.SetError("LOADING")
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan outcome)
		go func() { result <- r.runJob(ctx, job) }()
		require.Eventually(t, func() bool { return r.gate.err() != nil }, 10*time.Second, time.Millisecond)
		cancel()
		require.Equal(t, outcomeDropped, (<-result).kind)
		r.gate.probes.Wait()
	})
}

func TestStagingDown(t *testing.T) {
	for hazard, prefix := range map[string]string{"ledger": "ledger/", "receipt_read": "receipts/", "staged_file": "data/"} {
		t.Run(hazard, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			r.staging.SetFault(func(op objstore.Op) objstore.Fault {
				if strings.HasPrefix(op.Key, prefix) && op.N <= 2 && op.Key != "ledger/" {
					return objstore.Fault{Before: objstore.ErrUnavailable}
				}
				return objstore.Fault{}
			})
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			require.Len(t, r.buckets["one-logs"].opts, 1)
			r.gate.probes.Wait()
		})
	}
	t.Run("receipt_write", func(t *testing.T) {
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "put" && op.N <= 2 {
				return objstore.Fault{After: objstore.ErrUnavailable}
			}
			return objstore.Fault{}
		})
		require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
		require.Len(t, r.buckets["one-logs"].opts, 1, "sent again because the receipt was missing")
		r.gate.probes.Wait()
	})
	for code, status := range map[string]int{"ExpiredToken": 400, "TokenRefreshRequired": 400, "RequestTimeTooSkewed": 403} {
		t.Run("receipt_write_"+code, func(t *testing.T) {
			r := newRig(t)
			job := r.job(acmeOne, "hello")
			r.staging.SetFault(func(op objstore.Op) objstore.Fault {
				if op.Name == "put" && op.N <= 2 {
					return objstore.Fault{Before: answer(objstore.ErrDenied, status, code, "")}
				}
				return objstore.Fault{}
			})
			require.Equal(t, outcomeDone, r.runJob(t.Context(), job).kind)
			require.Len(t, r.buckets["one-logs"].opts, 1, "sent again because the receipt was missing")
			r.gate.probes.Wait()
		})
	}
	t.Run("denied", func(t *testing.T) {
		r := newRig(t)
		job := r.job(acmeOne, "hello")
		r.staging.SetFault(func(op objstore.Op) objstore.Fault {
			if strings.HasPrefix(op.Key, "data/") {
				return objstore.Fault{Before: objstore.ErrDenied}
			}
			return objstore.Fault{}
		})
		o := r.runJob(t.Context(), job)
		require.Equal(t, "staging", o.verdict.Reason)
		require.Equal(t, destination.ScopeFile, o.verdict.Scope)
	})
	t.Run("everything_denied", func(t *testing.T) {
		r := newRig(t)
		require.NoError(t, r.Copier.staging.ping(t.Context()))
		r.staging.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrDenied} })
		require.ErrorIs(t, r.Copier.staging.ping(t.Context()), objstore.ErrDenied, "ready although staging refuses everything")
	})
}
