package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/progress"
)

func newCatalogCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "catalog",
		GroupID: groupCatalog,
		Short:   "Describe customers: their sources, and the buckets that their files go to",
		Long: `Describe customers declaratively: one YAML document for each workspace, with its sources, their write keys, and
the buckets that their files go to. Every running role follows what is applied, without a restart.`,
		Example: `  sealift catalog new --bucket acme-logs > acme.yaml
  sealift catalog validate -f acme.yaml
  sealift catalog diff -f acme.yaml
  sealift catalog apply -f acme.yaml`,
	}
	c.AddCommand(
		newCatalogNewCommand(a), newCatalogValidateCommand(a), newCatalogDiffCommand(a),
		newCatalogApplyCommand(a), newCatalogGetCommand(a), newCatalogDeleteCommand(a),
	)
	return c
}

// catalogFiles are the names of the document files that a command reads.
type catalogFiles struct{ names []string }

func (f *catalogFiles) addFlag(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.names, "file", "f", nil, "file of YAML documents, - for stdin; repeatable, and further arguments are files too")
}

// read parses all files and validates them together.
func (f *catalogFiles) read(ctx context.Context, a *app, args []string) ([]catalog.Workspace, error) {
	names := append(f.names, args...)
	if len(names) == 0 {
		return nil, usageError("name a file with -f")
	}
	var all []catalog.Workspace
	var errs []error
	fileOf := map[string]string{} // workspace id -> name
	for _, name := range names {
		ws, err := readCatalog(ctx, a, name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
		all = append(all, ws...)
		for _, w := range ws {
			fileOf[w.ID] = name
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if len(all) == 0 {
		return nil, errors.New("the files hold no workspace; make one with: sealift catalog new")
	}
	err := operator(a.cfg).Validate(all)
	if invalid := (*catalog.Error)(nil); errors.As(err, &invalid) && len(names) > 1 {
		for i, p := range invalid.Problems {
			invalid.Problems[i].File = fileOf[p.Workspace]
		}
	}
	return all, err
}

func readCatalog(ctx context.Context, a *app, name string) ([]catalog.Workspace, error) {
	in, err := a.openInput(name)
	if err != nil {
		return nil, withoutPath(err)
	}
	type read struct {
		b   []byte
		err error
	}
	all := make(chan read, 1)
	go func() { // so that a signal can end the wait for a terminal's input
		b, err := io.ReadAll(in)
		all <- read{b, errors.Join(err, in.Close())}
	}()
	select {
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case r := <-all:
		if errors.Is(r.err, syscall.EISDIR) {
			return nil, fmt.Errorf("it is a directory; name its files: %s", filepath.Join(name, "*.yaml"))
		}
		if r.err != nil {
			return nil, withoutPath(r.err)
		}
		return operator(a.cfg).Parse(r.b)
	}
}

// withoutPath removes the name of a file from an error, for a caller that adds it.
func withoutPath(err error) error {
	if at := (*fs.PathError)(nil); errors.As(err, &at) {
		return at.Err
	}
	return err
}

func newCatalogValidateCommand(a *app) *cobra.Command {
	var files catalogFiles
	c := &cobra.Command{
		Use:   "validate -f FILE…",
		Short: "Check documents and report every problem",
		Long: `Check documents, each by itself and all together, and report every problem with its line and fix. Nothing is
contacted; to compare with the applied catalog, use: sealift catalog diff. If a Sealift configuration is found,
endpoints that destinations.allowed_endpoints does not permit are reported too. It warns of a region that AWS
does not have, and of a prefix that ends in segment-logs, which is added anyway.`,
		Example:     "  sealift catalog validate -f acme.yaml -f globex.yaml\n  sealift catalog validate *.yaml",
		Annotations: loadsConfig, // if there is one
		RunE: func(c *cobra.Command, args []string) error {
			configured := a.loadOptional()
			ws, err := files.read(c.Context(), a, args)
			if err != nil {
				return err
			}
			var sources, destinations int64
			for _, w := range ws {
				sources += int64(len(w.Sources))
				destinations += int64(len(w.Destinations))
			}
			if configured {
				if err := warnOfEndpoints(a, ws); err != nil {
					return err
				}
			}
			warnOfRegions(a, ws)
			warnOfFolders(a, ws)
			_, err = fmt.Fprintf(a.stdout, "valid: %s, %s, %s\n",
				progress.Plural(int64(len(ws)), "workspace"), progress.Plural(sources, "source"), progress.Plural(destinations, "destination"))
			return err
		},
	}
	files.addFlag(c.Flags())
	return c
}
