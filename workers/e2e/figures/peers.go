package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/sealift/sealift/pkg/progress"
)

// baseline is the label that scripts/bench-peers.sh compares others with.
const baseline = "baseline"

// peers prints the figures of each program, with ratios to the baseline with the same events and
// level, or with another level if there is none with the same.
func peers(out io.Writer, all []median) error {
	if len(all) == 0 {
		return fmt.Errorf("no run was right")
	}
	slices.SortStableFunc(all, func(a, b median) int { return cmp.Compare(a.sources, b.sources) })
	fmt.Fprintln(out, "| sources | events | | gzip level | CPU-s per million events | of baseline's | peak RSS | of baseline's | events/s | of baseline's | objects | gzip / lines | runs |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, m := range all {
		var base *median
		for i, o := range all {
			if o.label == baseline && o.sources == m.sources && o.events == m.events && (base == nil || o.level == m.level) {
				base = &all[i]
			}
		}
		ratio := func(of func(median) float64) string {
			if base == nil {
				return "-"
			}
			return fmt.Sprintf("%.2f", of(m)/of(*base))
		}
		_, err := fmt.Fprintf(out, "| %s | %s | %s | %d | %.1f | %s | %.0f MB | %s | %s | %s | %s | %.3f | %d |\n",
			progress.Count(int64(m.sources)), progress.Count(int64(m.events)), m.label, m.level,
			m.cpu, ratio(func(m median) float64 { return m.cpu }), m.rss, ratio(func(m median) float64 { return m.rss }),
			progress.Count(int64(m.perSecond)), ratio(func(m median) float64 { return m.perSecond }), progress.Count(int64(m.files)), m.gzipGB, m.runs)
		if err != nil {
			return err
		}
	}
	return nil
}
