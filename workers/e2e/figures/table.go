package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"

	"github.com/sealift/sealift/pkg/progress"
)

func table(out io.Writer, all []median) error {
	fmt.Fprintln(out, "| | sources | appenders | CPU-s per million events | of it appender, copier | CPU-s per GB | peak RSS, all | gzip / lines | files | S3 requests per file | events/s | runs |")
	fmt.Fprintln(out, "|---|---|---|---|---|---|---|---|---|---|---|---|")
	for _, m := range all {
		name := cmp.Or(m.label, "sealift")
		if m.collectors > 0 {
			name += ", collector"
		}
		_, err := fmt.Fprintf(out, "| %s | %s | %d | %.1f | %.1f, %.1f | %.1f | %.0f MB | %.3f | %s | %.2f | %s | %d |\n", name, progress.Count(int64(m.sources)), m.appenders,
			m.cpu, m.appender, m.copier, m.perGB, m.rss, m.gzipGB, progress.Count(int64(m.files)), m.requests, progress.Count(int64(m.perSecond)), m.runs)
		if err != nil {
			return err
		}
	}
	return nil
}

// compare prints the ratios of a's figures to b's, for the sizes that both have.
func compare(out io.Writer, all []median, a, b string) error {
	fmt.Fprintf(out, "%s over %s\n\n| sources | appenders | CPU | appender CPU | copier CPU | peak RSS | gzip bytes | S3 requests | events/s |\n|---|---|---|---|---|---|---|---|---|\n", a, b)
	found := false
	for _, m := range all {
		want := m.size
		want.label = b
		i := slices.IndexFunc(all, func(o median) bool { return o.size == want })
		if m.label != a || i < 0 {
			continue
		}
		found = true
		o := all[i]
		_, err := fmt.Fprintf(out, "| %s | %d | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f | %.3f |\n", progress.Count(int64(m.sources)), m.appenders,
			m.cpu/o.cpu, m.appender/o.appender, m.copier/o.copier, m.rss/o.rss, m.gzipGB/o.gzipGB, m.requests/o.requests, m.perSecond/o.perSecond)
		if err != nil {
			return err
		}
	}
	if !found {
		return fmt.Errorf("no runs of %q and %q are of the same size", a, b)
	}
	return nil
}
