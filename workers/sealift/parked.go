package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/job"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/progress"
	"github.com/sealift/sealift/workers/auditor"
	"github.com/sealift/sealift/workers/copier"
)

// newParkedCommand returns the command that shows what redrive would retry, under the name that
// people look for.
func newParkedCommand(a *app) *cobra.Command {
	var (
		destination   string
		files, asJSON bool
	)
	c := &cobra.Command{
		Use:     "parked",
		GroupID: groupOperate,
		Short:   "Show what is parked: why, since when, and what to do",
		Long: `Show the files whose delivery needs a person, by destination and cause: how many, how large, since when, and
what to do. They stay owed; "sealift redrive" tries them again. Where causes differ from file to file, for
instance in the object's key, "…" stands for that; --files shows each file by itself.`,
		Example: "  sealift parked\n  sealift parked --destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod --files --json",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return withServices(a, false, func(s *services) error {
				destination, err := expandStoredName(c.Context(), s, destination)
				if err != nil {
					return err
				}
				rows, err := listParked(c.Context(), s, destination, files)
				if err != nil && len(rows) == 0 {
					return err // instead of saying that nothing is parked
				}
				if err == nil && len(rows) == 0 {
					if err := checkDestinationKnown(c.Context(), s, destination); err != nil {
						return err
					}
				}
				err = asPartial(err)
				if asJSON {
					return errors.Join(a.printJSON(rows), err)
				}
				return errors.Join(printParked(a.stdout, rows), err)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&destination, "destination", "", "only this one, WORKSPACE/NAME or NAME, or all of a WORKSPACE")
	f.BoolVar(&files, "files", false, "show each file by itself")
	f.BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// sizedRow is a row with the size of its files, according to the ledger.
type sizedRow struct {
	*parkedRow
	File    string `json:"file,omitempty"` // as in logs, if the row is of one file
	Records int64  `json:"records"`
	Bytes   int64  `json:"bytes"` // compressed
}

// parkedFile is a parked file and the row in which it is counted.
type parkedFile struct {
	row   *sizedRow
	seq   int64
	index int
}

// listParked sums up what is parked, or with each lists each file. With an error it returns what
// could be read.
func listParked(ctx context.Context, s *services, destination string, each bool) ([]*sizedRow, error) {
	var (
		causes = parkedTable{}
		rows   = map[*parkedRow]*sizedRow{}
		files  = map[ledger.Log][]parkedFile{}
		out    = []*sizedRow{} // [], not null
	)
	r := copier.Redrive{Staging: s.staging, Destination: destination, DryRun: true, OnParked: func(p delivery.Parked) {
		file := ""
		if each {
			file, causes = p.Job.File.String(), parkedTable{}
		}
		row := causes.add(p)
		if rows[row] == nil {
			rows[row] = &sizedRow{parkedRow: row, File: file}
			out = append(out, rows[row])
		}
		l := p.Job.File.Log()
		files[l] = append(files[l], parkedFile{rows[row], p.Job.File.Seq, p.Job.File.Index})
	}}
	_, err := r.Run(ctx)
	failed := addSizes(ctx, s.staging, files)
	return out, errors.Join(err, failed)
}

// addSizes adds the sizes of the files to their rows. The last audit noted nearly all of them.
// Only for the others it reads ledger entries, each once: an entry names hundreds of files, and a
// hundred thousand entries may have one that is parked.
func addSizes(ctx context.Context, staging objstore.Store, files map[ledger.Log][]parkedFile) error {
	var mu sync.Mutex // guards the rows and unknown
	unknown := map[ledger.EntryRef][]parkedFile{}
	logs := slices.Collect(maps.Keys(files))
	job.InParallel(len(logs), job.MaxParallel, func(i int) error {
		l := logs[i]
		debts, _ := auditor.ReadDebts(ctx, staging, l) // without debts, the entries are read
		mu.Lock()
		defer mu.Unlock()
		for _, f := range files[l] {
			if size, ok := debts.Size(f.ref(l), f.row.Destination); ok {
				f.row.add(size.Records, size.Bytes)
			} else {
				at := ledger.EntryRef{Log: l, Seq: f.seq}
				unknown[at] = append(unknown[at], f)
			}
		}
		return nil
	})
	entries := slices.Collect(maps.Keys(unknown))
	errs := job.InParallel(len(entries), job.MaxParallel, func(i int) error {
		at := entries[i]
		entry, err := ledger.NewChain(staging, at.Log).Entry(ctx, at.Seq)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, f := range unknown[at] {
			if f.index >= len(entry.Files) {
				err = fmt.Errorf("parked job of file %s: the ledger has no such file; `sealift verify` says more", f.ref(at.Log))
				continue
			}
			f.row.add(entry.Files[f.index].Records, entry.Files[f.index].GzipBytes)
		}
		return err
	})
	for _, err := range errs {
		if err != nil {
			return err // one is enough: if staging is down, all fail
		}
	}
	return nil
}

func (f parkedFile) ref(l ledger.Log) delivery.FileRef {
	return delivery.FileRef{Topic: l.Topic, Incarnation: l.Incarnation, Partition: l.Partition, Seq: f.seq, Index: f.index}
}

func (p *sizedRow) add(records, bytes int64) {
	p.Records, p.Bytes = p.Records+records, p.Bytes+bytes
}

// nothingParkedText also says what happens to files that failed but are not parked: whoever has
// fixed a destination looks for them here.
const nothingParkedText = "nothing is parked; what failed is retried automatically (copier.retry_tiers), or sooner with: sealift audit --force"

func printParked(out io.Writer, rows []*sizedRow) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintln(out, nothingParkedText)
		return err
	}
	for _, row := range rows {
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\t%s, %s, %s, since %s (%s ago)\n", row.Destination, cmp.Or(row.File, progress.Plural(row.Files, "file")), progress.Plural(row.Records, "record"),
			progress.Bytes(row.Bytes), row.Since.Format(time.RFC3339), formatAge(time.Since(row.Since).Seconds()))
		fmt.Fprintf(w, "  cause\t%s\n  fix\t%s\n", row.Cause, row.Fix)
		if err := w.Flush(); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(out, "after the fix: sealift redrive")
	return err
}
