package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/copier"
)

// newParkedCommand is the read side of redrive, under the name that one looks
// for.
func newParkedCommand(a *app) *cobra.Command {
	var (
		destination string
		asJSON      bool
	)
	c := &cobra.Command{
		Use:     "parked",
		GroupID: groupOperate,
		Short:   "Show what is parked: why, since when, and what to do",
		Long: `Show the files whose delivery needs a person, by destination and cause: how many, how large,
since when, and what to do. They stay owed; sealift redrive tries them again.`,
		Example: "  sealift parked\n  sealift parked --destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withServices(a, false, func(s *services) error {
				rows, err := listParked(c.Context(), s, destination)
				if err != nil && len(rows) == 0 {
					return err // and not that nothing is parked
				}
				if err == nil && len(rows) == 0 {
					if err := knownDestination(c.Context(), s, destination); err != nil {
						return err
					}
				}
				if asJSON {
					return errors.Join(a.printJSON(rows), err)
				}
				return errors.Join(printParked(a.stdout, rows), err)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&destination, "destination", "", "only this one, WORKSPACE/NAME, or all of a WORKSPACE")
	f.BoolVar(&asJSON, "json", false, "print the causes as JSON")
	return c
}

// parkedSize is a cause with what its files hold, as the ledger says.
type parkedSize struct {
	parkedRow
	Records int64 `json:"records"`
	Bytes   int64 `json:"bytes"` // compressed
}

// listParked sums up what is parked. With an error it is what could be read.
func listParked(ctx context.Context, s *services, destination string) ([]parkedSize, error) {
	var (
		causes = parkedTable{}
		sizes  = map[[2]string]parkedSize{}
		chains = ledger.NewCache(s.staging, 0, nil) // the last entry alone: they come in order
		failed error
	)
	r := copier.Redrive{Staging: s.staging, Destination: destination, DryRun: true, Each: func(p delivery.Parked) {
		causes.add(p)
		ref := p.Job.File
		entry, err := chains.Entry(ctx, ref.Log(), ref.Seq)
		if err != nil {
			failed = err
			return
		}
		if ref.Index >= len(entry.Files) {
			failed = fmt.Errorf("parked job of file %s: the ledger has no such file; `sealift verify` says more", ref)
			return
		}
		key := [2]string{p.Job.Destination, p.Cause}
		sum := sizes[key]
		sum.Records, sum.Bytes = sum.Records+entry.Files[ref.Index].Records, sum.Bytes+entry.Files[ref.Index].GzipBytes
		sizes[key] = sum
	}}
	_, err := r.Run(ctx)
	out := []parkedSize{} // [], not null
	for _, row := range causes.rows() {
		sum := sizes[[2]string{row.Destination, row.Cause}]
		sum.parkedRow = row
		out = append(out, sum)
	}
	return out, errors.Join(err, failed)
}

// nothingParked is not all: who mended a destination looks here for what failed.
const nothingParked = "nothing is parked; what failed is tried again by itself (copier.retry_tiers), or at once by: sealift audit --force"

func printParked(out io.Writer, rows []parkedSize) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, nothingParked)
		return err
	}
	for _, row := range rows {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\t%s, %s, %s, since %s (%s ago)\n", row.Destination, progress.Things(row.Files, "file"), progress.Things(row.Records, "record"),
			progress.Bytes(row.Bytes), row.Since.Format(time.RFC3339), ago(time.Since(row.Since).Seconds()))
		fmt.Fprintf(w, "  cause\t%s\n  fix\t%s\n", row.Cause, row.Fix)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "when it is mended: sealift redrive")
	return err
}
