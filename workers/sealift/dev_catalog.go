package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/sleep"
)

// devCatalog applies the catalog file whenever it changes, and creates the buckets and roles of
// every catalog.
type devCatalog struct {
	stack    *stack
	services *services
	file     string
	log      *slog.Logger
	watchers sync.WaitGroup
	example  example // set by start
}

// start applies the file, or the default workspace if there is no file and the catalog is empty. It
// then watches both the file and the catalog until ctx ends.
func (c *devCatalog) start(ctx context.Context, services *services) error {
	c.services = services
	var workspaces []catalog.Workspace
	var err error
	read := fileStamp(c.file) // before the file is read, so that no change in between is missed
	if c.file != "" {
		workspaces, err = loadCatalog(services.cfg, c.file)
	} else if len(services.catalog.Snapshot().Workspaces()) == 0 {
		workspaces, err = catalog.Parse([]byte(demoWorkspace))
	}
	if err != nil {
		return err
	}
	if c.example = (example{key: "demo", bucket: "demo-logs", region: embeddedRegion}); c.file != "" {
		c.example = exampleOf(workspaces)
	}
	if err := applyCatalog(ctx, services, workspaces); err != nil {
		return err
	}
	changed := services.catalog.Changed()
	c.provision()
	c.watchers.Go(func() { c.provisionOnChange(ctx, changed) })
	if c.file != "" {
		c.watchers.Go(func() { c.followFile(ctx, read) })
	}
	return nil
}

func (c *devCatalog) provisionOnChange(ctx context.Context, changed <-chan struct{}) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
		changed = c.services.catalog.Changed()
		c.provision()
	}
}

// provision creates the catalog's buckets and roles. It logs what cannot be created, so that
// everything else goes on.
func (c *devCatalog) provision() {
	if err := c.stack.provision(c.services.catalog.Snapshot()); err != nil {
		c.log.Error("make the catalog's buckets and roles", "err", err)
	}
}

// followFile applies the file whenever its stamp changes; last is the stamp of what was read
// before.
func (c *devCatalog) followFile(ctx context.Context, last string) {
	var retryAt time.Time // when to retry a catalog that could not be applied
	for sleep.For(ctx, time.Second) == nil {
		now := fileStamp(c.file)
		if now == last && (retryAt.IsZero() || time.Now().Before(retryAt)) {
			continue
		}
		last, retryAt = now, time.Time{}
		workspaces, err := loadCatalog(c.services.cfg, c.file)
		if err == nil {
			if err = applyCatalog(ctx, c.services, workspaces); err != nil {
				retryAt = time.Now().Add(10 * time.Second)
			}
		}
		if err != nil && ctx.Err() == nil {
			c.log.Error("catalog file not applied; the former catalog stays", "file", c.file, "err", err)
		}
	}
}

// fileStamp changes when the file does.
func fileStamp(file string) string {
	info, err := os.Stat(file)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprint(info.Size(), info.ModTime().UnixNano())
}

// loadCatalog reads and checks a catalog file.
func loadCatalog(cfg config.Config, file string) ([]catalog.Workspace, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read catalog: %w", err)
	}
	workspaces, err := operator(cfg).Parse(b)
	if err != nil {
		return nil, fmt.Errorf("read catalog %q: %w", file, err)
	}
	return workspaces, nil
}

// applyCatalog writes the workspaces that differ from the live catalog to its topic, and waits
// until the live catalog has them. It is an error if that takes longer than catalogTimeout. Other
// workspaces stay.
func applyCatalog(ctx context.Context, s *services, workspaces []catalog.Workspace) error {
	whole := map[string]catalog.Workspace{}
	for _, w := range s.catalog.Snapshot().Workspaces() {
		whole[w.ID] = w
	}
	values := map[string][]byte{}
	for _, w := range workspaces {
		now, known := whole[w.ID]
		if value := catalog.Encode(w); !known || string(catalog.Encode(now)) != string(value) {
			values[w.ID] = value
		}
		whole[w.ID] = w
	}
	if len(values) == 0 {
		return nil
	}
	if err := operator(s.cfg).Validate(slices.Collect(maps.Values(whole))); err != nil {
		return fmt.Errorf("apply catalog: %w", err)
	}
	if err := s.writeCatalog(ctx, values); err != nil {
		return fmt.Errorf("apply catalog: %w", err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, catalogTimeout, errors.New("apply catalog: it was written, but another was written since"))
	defer cancel()
	for {
		changed := s.catalog.Changed()
		if len(notStored(s.catalog.Snapshot(), values)) == 0 {
			s.log.Info("catalog applied", "workspaces", len(values))
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
