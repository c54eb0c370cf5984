package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var silent = slog.New(slog.DiscardHandler)

// eventTrace records what happened, in order.
type eventTrace struct {
	mu     sync.Mutex
	events []string
}

func (t *eventTrace) add(s string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.events = append(t.events, s)
}

// draining returns a role that takes a second to end.
func (t *eventTrace) draining(name string) role {
	return role{name: name, run: func(ctx context.Context) error {
		t.add("start " + name)
		<-ctx.Done()
		t.add("drain " + name)
		time.Sleep(time.Second)
		t.add("end " + name)
		return nil
	}}
}

func TestRolesStopOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var tr eventTrace
		time.AfterFunc(time.Minute, cancel)
		require.NoError(t, runRoles(ctx, silent, time.Minute, tr.draining("collector"), tr.draining("appender"), tr.draining("copier")))
		slices.Sort(tr.events[:3])
		require.Equal(t, []string{
			"start appender", "start collector", "start copier",
			"drain collector", "end collector", "drain appender", "end appender", "drain copier", "end copier",
		}, tr.events)
	})
}

func TestRoleThatFailsStopsAll(t *testing.T) {
	for name, tc := range map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"error":            {func(context.Context) error { return errors.New("disk on fire") }, "run appender: disk on fire"},
		"ended_by_itself":  {func(context.Context) error { return nil }, "run appender: it ended by itself"},
		"error_in_a_drain": {func(ctx context.Context) error { <-ctx.Done(); return errors.New("torn") }, "run appender: torn"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(time.Minute, cancel)
				var tr eventTrace
				err := runRoles(ctx, silent, time.Minute, tr.draining("collector"), role{name: "appender", run: tc.run}, tr.draining("copier"))
				require.EqualError(t, err, tc.want)
				require.Contains(t, tr.events, "end collector")
				require.Contains(t, tr.events, "end copier")
			})
		})
	}
}

func TestRoleThatHangsDelaysStopByTheTimeoutOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		release := make(chan struct{})
		var tr eventTrace
		err := runRoles(ctx, silent, time.Minute, role{name: "collector", run: func(context.Context) error { <-release; return nil }}, tr.draining("appender"))
		require.EqualError(t, err, "stop collector: it did not end in 1m0s")
		require.Contains(t, tr.events, "end appender")

		err = runRoles(t.Context(), silent, time.Minute,
			role{name: "collector", run: func(context.Context) error { <-release; return nil }}, role{name: "appender", run: func(context.Context) error { return errors.New("the disk is full") }})
		require.EqualError(t, err, "run appender: the disk is full\nstop collector: it did not end in 1m0s")
		close(release)
	})
}

func TestAwait(t *testing.T) {
	away, forever := errors.New("connection refused"), errors.New("it ignores If-None-Match")
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		d := dependency{name: "kafka", address: "b:9092", key: "kafka.brokers", probe: func(context.Context) error {
			if tries++; tries < 8 {
				return away
			}
			return nil
		}}
		var phases []string
		phase := func(text string) { phases = append(phases, text) }
		require.NoError(t, await(t.Context(), silent, d, phase))
		require.Equal(t, 8, tries)
		require.Equal(t, "waiting for kafka at b:9092 (kafka.brokers): connection refused", phases[1])

		d.probe, d.permanent = func(context.Context) error { return forever }, func(err error) bool { return errors.Is(err, forever) }
		require.EqualError(t, await(t.Context(), silent, d, phase), "use kafka at b:9092 (kafka.brokers): it ignores If-None-Match")

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		d = dependency{name: "staging", address: "s3://b", key: "staging.bucket", probe: func(ctx context.Context) error { // hangs
			require.Contains(t, phases[len(phases)-1], "waiting for staging at s3://b (staging.bucket)", "the phase still names a service that answers")
			<-ctx.Done()
			return ctx.Err()
		}}
		require.ErrorIs(t, await(ctx, silent, d, phase), context.DeadlineExceeded)
	})
}
