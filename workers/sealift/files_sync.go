package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/mirror"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/pkg/shell"
)

func newFilesSyncCommand(a *app, o *filesOptions) *cobra.Command {
	var (
		s      mirror.SyncOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "sync [s3://BUCKET/…] [DIR]",
		Short: "Download files, in parallel and verified; run it again to continue",
		Long: `Download files below DIR (default: the current directory), to where "aws s3 sync" of the same place would put
them: s3://BUCKET/segment-logs/SOURCE/ gives DIR/DAY/FILE, s3://BUCKET gives DIR/segment-logs/SOURCE/DAY/FILE.
--source, --day, --since and --until select files, and do not change their place.

A file gets its final name after its bytes are verified. An existing file is skipped if size and time match
the object's, as after "aws s3 sync"; if only the size matches, its bytes are compared. A different file of
that name is kept and reported (exit code 3). After an interruption run it again: it continues, even within a
file.`,
		Example: `  sealift files sync s3://acme-logs/segment-logs/web/1795305600000 .
  sealift files sync --bucket acme-logs --source web --since 168h ./logs
  sealift files sync s3://acme-logs --day 2026-11-22 --decompress ./logs`,
		Args:        cobra.MaximumNArgs(2),
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, args []string) error {
			if s.Parallel < 1 {
				return usageError("--parallel: want 1 or more")
			}
			r, rest, err := o.open(cmd.Context(), args)
			switch s.Dir = "."; {
			case err != nil:
				return err
			case len(rest) == 1 && !strings.HasPrefix(rest[0], "s3://"):
				s.Dir = rest[0]
			case len(rest) > 0:
				return usageError("write the place before the directory, and one of each: files are only downloaded")
			}
			bar := progress.Start(a.stderr, "download", 0, progress.Bytes)
			s.OnFound, s.OnRead = func(f mirror.File) { bar.Grow(f.Size) }, bar.Add
			s.OnWaiting = func(part string) {
				fmt.Fprint(a.stderr, bar.Above(fmt.Sprintf("sealift: waiting for another download that is writing %s; if that one is stopped, find it with `fuser %s`", part, shell.QuoteIfNeeded(part))))
			}
			result, err := mirror.Sync(cmd.Context(), r.reader, r.place, r.list(cmd.Context(), a), s)
			bar.Finish()
			return r.reportSync(a, result, err, asJSON)
		},
	}
	cmd.Flags().BoolVar(&s.Decompress, "decompress", false, "store decompressed .ndjson files instead of .gz")
	cmd.Flags().IntVar(&s.Parallel, "parallel", mirror.DefaultParallel, "downloads at once")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

// reportSync prints what a sync did, even if it ended early.
func (r *selectedFiles) reportSync(a *app, result mirror.SyncResult, err error, asJSON bool) error {
	var fixes []string
	for _, problem := range result.Problems {
		fmt.Fprintln(a.stderr, "sealift:", problem)
		if fix := mirror.Fix(problem, r.place); fix != "" && !slices.Contains(fixes, fix) {
			fixes = append(fixes, fix)
		}
	}
	bad := result.Failed + result.Differing
	if more := bad - int64(len(result.Problems)); more > 0 {
		fmt.Fprintf(a.stderr, "sealift: … and %s more\n", progress.Plural(more, "file"))
	}
	for _, fix := range fixes {
		fmt.Fprintln(a.stderr, "  fix:", fix)
	}
	if printed := printSync(a.stdout, result, asJSON); err == nil {
		err = printed
	}
	switch {
	case err != nil:
		return r.withFix(err)
	case bad > 0:
		return partialError(progress.Plural(bad, "file") + " of the bucket could not be downloaded")
	}
	return nil
}

func printSync(out io.Writer, r mirror.SyncResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(out).Encode(r)
	}
	text := fmt.Sprintf("%s downloaded (%s), %s there already", progress.Plural(r.Downloaded, "file"), progress.Bytes(r.Bytes), progress.Count(r.Skipped))
	if r.Differing > 0 {
		text += fmt.Sprintf(", %s kept that differ", progress.Count(r.Differing))
	}
	if r.Failed > 0 {
		text += fmt.Sprintf(", %s failed", progress.Count(r.Failed))
	}
	_, err := fmt.Fprintln(out, text)
	return err
}
