package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/sealift/sealift/pkg/progress"
)

// copyRun is a line of output of scripts/bench-copy.sh.
type copyRun struct {
	What, Label, Round string
	Files              int
	FileBytes          int64 `json:"file_bytes"`
	Bytes              int64
	Packed             bool
	DelayMs            int64   `json:"delay_ms"`
	WallSeconds        float64 `json:"wall_seconds"`
	CPUSeconds         float64 `json:"cpu_seconds"`
	ServerCPUSeconds   float64 `json:"server_cpu_seconds"`
}

// copyCase is a case in which the copier and the loops are compared.
type copyCase struct {
	files              int
	fileBytes, delayMs int64
	packed             bool
}

// copies prints the medians of each case, and the ratios of the copier's rate to those of the loops
// that took turns with it.
func copies(out io.Writer, file string) error {
	all, err := read[copyRun](file)
	if err != nil {
		return err
	}
	groups, rounds := map[copyCase]map[string][]copyRun{}, map[string]map[string]copyRun{}
	var order []copyCase
	for _, r := range all {
		c := copyCase{r.Files, r.FileBytes, r.DelayMs, r.Packed}
		if groups[c] == nil {
			groups[c] = map[string][]copyRun{}
			order = append(order, c)
		}
		if rounds[r.Round] == nil {
			rounds[r.Round] = map[string]copyRun{}
		}
		name := r.What
		if r.What == "copier" {
			name = "copier " + cmp.Or(r.Label, "here")
		}
		groups[c][name], rounds[r.Round][r.What] = append(groups[c][name], r), r
	}
	fmt.Fprintln(out, "| files | delay | | files/s | MB/s | CPU ms a file | CPU-s a GB | MinIO's CPU ms a file | files/s over put | over object | over requests | runs |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, c := range order {
		for _, name := range slices.Sorted(maps.Keys(groups[c])) {
			runs := groups[c][name]
			of := func(f func(copyRun) float64) float64 { return middle(runs, f) }
			over := func(what string) string {
				ratio := of(func(r copyRun) float64 {
					if o := rounds[r.Round][what]; o.WallSeconds > 0 {
						return o.WallSeconds / r.WallSeconds
					}
					return 0
				})
				if ratio == 0 || runs[0].What != "copier" {
					return ""
				}
				return fmt.Sprintf("%.2f", ratio)
			}
			kind := "alone"
			if c.packed {
				kind = "packed"
			}
			_, err := fmt.Fprintf(out, "| %s of %s, %s | %d ms | %s | %.0f | %.1f | %.2f | %.2f | %.2f | %s | %s | %s | %d |\n",
				progress.Count(int64(c.files)), progress.Bytes(c.fileBytes), kind, c.delayMs, name,
				of(func(r copyRun) float64 { return float64(r.Files) / r.WallSeconds }),
				of(func(r copyRun) float64 { return float64(r.Bytes) / 1e6 / r.WallSeconds }),
				of(func(r copyRun) float64 { return r.CPUSeconds / float64(r.Files) * 1e3 }),
				of(func(r copyRun) float64 { return r.CPUSeconds / float64(r.Bytes) * 1e9 }),
				of(func(r copyRun) float64 { return r.ServerCPUSeconds / float64(r.Files) * 1e3 }),
				over("put"), over("object"), over("requests"), len(runs))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func middle[T any](all []T, f func(T) float64) float64 {
	var v []float64
	for _, r := range all {
		v = append(v, f(r))
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
