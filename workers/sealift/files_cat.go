package main

import (
	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/mirror"
)

func newFilesCatCommand(a *app, o *filesOptions) *cobra.Command {
	var c mirror.CatOptions
	cmd := &cobra.Command{
		Use:   "cat [s3://BUCKET/…]",
		Short: "Write the events of the files, one JSON object per line",
		Long: `Write the events of the files, one JSON object per line: source by source, ordered by day and by the time
of receipt of each file's first event. Files are verified as they are read; the command ends at the first that
fails.`,
		Example: `  sealift files cat s3://acme-logs --source web --day 2026-11-22 | jq .event
  sealift files cat s3://acme-logs/segment-logs/web/ --since 2026-11-22T14 --until 2026-11-22T16 | head -1`,
		Args:        cobra.MaximumNArgs(1),
		Annotations: withoutConfig,
		RunE: func(cmd *cobra.Command, args []string) error {
			if c.Parallel < 1 {
				return usageError("--parallel: want 1 or more")
			}
			r, err := o.openAlone(cmd.Context(), args)
			if err != nil {
				return err
			}
			return a.withPipe(func() error {
				return r.withFix(mirror.Cat(cmd.Context(), r.reader, r.list(cmd.Context(), a), a.stdout, c))
			})
		},
	}
	cmd.Flags().BoolVar(&c.Raw, "raw", false, "write the gzip bytes as they are stored")
	cmd.Flags().IntVar(&c.Parallel, "parallel", 4, "files read at once, ahead of the output")
	return cmd
}
