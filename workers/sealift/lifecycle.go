package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
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

// background is a function that runs until it ends or is stopped.
type background struct {
	cancel context.CancelFunc
	done   chan struct{} // closed once it has ended
	err    error         // what it returned; set before done is closed
}

func inBackground(ctx context.Context, run func(context.Context) error) *background {
	ctx, cancel := context.WithCancel(ctx)
	b := &background{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.err = run(ctx)
	}()
	return b
}

// stop ends it, and waits until it has ended.
func (b *background) stop() {
	b.cancel()
	<-b.done
}
