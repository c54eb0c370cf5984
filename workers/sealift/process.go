package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/sealift/sealift/pkg/admin"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/sleep"
)

// processOptions say what a process runs.
type processOptions struct {
	roles []string // in the order in which they stop
	// credentials returns the operator's own, for S3 and STS; nil means the SDK's default chain.
	credentials func(context.Context) (objstore.Credentials, error)
	// onLoaded, if set, is called after the catalog has been read and before roles start.
	onLoaded func(context.Context, *services) error
	// onReady, if set, is called once, as soon as every check passes.
	onReady func(*process)
}

// process is a running process: its services, its roles and its admin listener.
type process struct {
	*services
	*assembly
	admin *admin.Server
}

// runProcess runs roles until ctx ends or one fails; then it stops them in order. It waits for
// services that are down, and returns an error for what waiting cannot fix.
func runProcess(ctx context.Context, cfg config.Config, o processOptions, log *slog.Logger) (err error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newBuildInfo())
	tuneGC(o.roles, os.LookupEnv)
	if err := checkBucketNamed(cfg, o.roles); err != nil {
		return err
	}
	if slices.Contains(o.roles, collectorRole) { // before waiting for services
		if err := checkCollectorCertificate(cfg, log); err != nil {
			return err
		}
	}
	withRedis := slices.Contains(o.roles, copierRole) || slices.Contains(o.roles, auditorRole)
	s, err := openServices(cfg, o.credentials, withRedis, log, registry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()

	adm, err := admin.Start(admin.Config{Listen: cfg.Admin.Listen, Pprof: cfg.Admin.Pprof, Version: buildVersion()}, admin.Deps{Metrics: registry, Log: log})
	if err != nil {
		return err
	}
	defer func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = errors.Join(err, adm.Close(bounded))
	}()
	defer context.AfterFunc(ctx, adm.Drain)()
	log.Info("admin listener", "addr", adm.Addr())

	p := &process{services: s, admin: adm}
	return p.run(ctx, o)
}

func (p *process) run(ctx context.Context, o processOptions) error {
	// Why the roles do not run yet, for /readyz; nil once they do.
	var starting atomic.Pointer[string]
	phase := func(text string) { starting.Store(&text) }
	phase("starting")
	p.admin.Check("startup", func(context.Context) error {
		if text := starting.Load(); text != nil {
			return errors.New(*text)
		}
		if p.collector != nil && p.collector.Addr() == "" { // whoever asked would send requests there at once
			return errors.New("the collector does not listen yet")
		}
		return nil
	})
	needed := p.dependencies(o.roles)
	for _, d := range needed {
		if d.name != topicsName && !p.toleratesOutage(d, o.roles) {
			p.admin.Check(d.name, d.check)
		}
	}
	for _, d := range needed {
		if err := await(ctx, p.log, d, phase); err != nil {
			return nilIfStopped(ctx, err)
		}
	}

	phase("reading the catalog")
	following := inBackground(context.WithoutCancel(ctx), p.followCatalog) // until the last role has ended
	defer following.stop()
	select {
	case <-p.catalogLoaded:
	case <-following.done:
		return fmt.Errorf("follow the catalog: %w", following.err)
	case <-ctx.Done():
		return nil
	}
	if err := p.checkCatalogRead(o.roles); err != nil {
		return err
	}
	if o.onLoaded != nil { // it may fill an empty catalog
		if err := o.onLoaded(ctx, p.services); err != nil {
			return nilIfStopped(ctx, err)
		}
	} else if err := p.checkCatalogNotEmptied(ctx, o.roles); err != nil {
		return nilIfStopped(ctx, err)
	}
	var err error
	if p.assembly, err = assemble(ctx, p.services, o.roles); err != nil {
		return nilIfStopped(ctx, err)
	}
	for _, r := range p.assembly.roles {
		p.admin.Check(r.name, r.ready)
	}
	starting.Store(nil)
	if o.onReady != nil {
		defer inBackground(ctx, func(ctx context.Context) error { return p.callWhenReady(ctx, o.onReady) }).stop()
	}
	return runRoles(ctx, p.log, drainTimeout, append(p.assembly.roles, role{name: "catalog", run: func(ctx context.Context) error {
		select {
		case <-following.done:
			return following.err
		case <-ctx.Done():
			following.stop()
			return nil
		}
	}})...)
}

// nilIfStopped returns err, or nil if ctx has ended: being stopped during the start is not an
// error.
func nilIfStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// callWhenReady calls fn when every check passes.
func (p *process) callWhenReady(ctx context.Context, fn func(*process)) error {
	for !p.admin.Ready(ctx).Ready {
		if err := sleep.For(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	fn(p)
	return nil
}
