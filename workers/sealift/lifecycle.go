package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealift/sealift/pkg/jitter"
	"github.com/sealift/sealift/pkg/sleep"
)

// drainTimeout is how long one role may take to end. Roles limit themselves to less; the process
// does not wait longer for one that exceeds it.
const drainTimeout = 45 * time.Second

// role is a long-running part of the process.
type role struct {
	name  string
	run   func(ctx context.Context) error // until ctx ends; then it drains and returns nil
	ready func(ctx context.Context) error
}

// runRoles runs the roles until ctx ends or one of them fails. Then it stops them one after another
// in the given order, so that those that a role hands its work to still run while it drains. It
// returns the error of the role that failed, and names those that did not end within timeout.
func runRoles(ctx context.Context, log *slog.Logger, timeout time.Duration, roles ...role) error {
	type running struct {
		role
		cancel context.CancelFunc
		done   chan struct{}
	}
	var (
		all           []running
		group, failed = errgroup.WithContext(ctx) // failed is done when ctx ends or a role fails
	)
	for _, r := range roles {
		rctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		done := make(chan struct{})
		all = append(all, running{r, cancel, done})
		group.Go(func() error {
			defer close(done)
			err := r.run(rctx)
			if err == nil && rctx.Err() == nil {
				err = errors.New("it ended by itself")
			}
			if err != nil {
				return fmt.Errorf("run %s: %w", r.name, err)
			}
			return nil
		})
	}
	<-failed.Done()
	if ctx.Err() != nil {
		log.Info("stopping")
	} else {
		log.Error("stopping, because a role failed", "err", context.Cause(failed))
	}
	var hungErr error
	for _, r := range all {
		begin := time.Now()
		r.cancel()
		select {
		case <-r.done:
			log.Info("stopped", "role", r.name, "took", time.Since(begin).Round(time.Millisecond))
		case <-time.After(timeout):
			hungErr = errors.Join(hungErr, fmt.Errorf("stop %s: it did not end in %v", r.name, timeout))
		}
	}
	if hungErr != nil { // Wait would wait for the role that hangs
		if ctx.Err() == nil {
			hungErr = errors.Join(context.Cause(failed), hungErr)
		}
		return hungErr
	}
	return group.Wait()
}

// await probes d until it answers. Before the first try and after every failure it tells phase what
// it waits for and which configuration key leads there. It returns ctx's error when ctx ends, and
// the probe's error if that is permanent.
func await(ctx context.Context, log *slog.Logger, d dependency, phase func(string)) error {
	waiting := fmt.Sprintf("waiting for %s at %s (%s)", d.name, d.address, d.key)
	phase(waiting)
	begin, backoff := time.Now(), jitter.Backoff{Min: 250 * time.Millisecond, Max: 10 * time.Second}
	for {
		pctx, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := d.probe(pctx)
		cancel()
		switch {
		case err == nil:
			if waited := time.Since(begin); waited > time.Second {
				log.Info("service answers", "service", d.name, "address", d.address, "after", waited.Round(time.Millisecond))
			}
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case d.permanent != nil && d.permanent(err):
			return fmt.Errorf("use %s at %s (%s): %w", d.name, d.address, d.key, err)
		}
		phase(waiting + ": " + err.Error())
		wait := backoff.Next().Round(time.Millisecond)
		log.Warn("waiting for a service", "service", d.name, "address", d.address, "key", d.key, "err", err, "again_in", wait)
		if err := sleep.For(ctx, wait); err != nil {
			return err
		}
	}
}

// dependency is a service that must answer before roles start.
type dependency struct {
	name    string // "kafka"
	address string // without secrets
	key     string // the configuration key that leads there
	probe   func(context.Context) error
	// alive is the probe for /readyz; nil means probe itself.
	alive func(context.Context) error
	// permanent reports whether an error is one that waiting cannot fix; nil means that none is.
	permanent func(error) bool
}

// check is a check for /readyz.
func (d dependency) check(ctx context.Context) error {
	probe := d.probe
	if d.alive != nil {
		probe = d.alive
	}
	if err := probe(ctx); err != nil {
		return fmt.Errorf("%s (%s): %w", d.address, d.key, err)
	}
	return nil
}
