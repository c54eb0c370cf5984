// Command figures turns the runs that the benchmarks of the fleet and of its peers recorded, one
// line of JSON each (pkg/plan.Run), into what people read: a table of medians, a plot, ratios of
// one label to another, and the constants of `sealift plan`. It is for scripts/bench-fleet.sh,
// bench-copy.sh and bench-peers.sh; it measures and judges nothing itself.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/sealift/sealift/pkg/plan"
)

const usage = `usage: figures COMMAND FILE.jsonl
  table           medians for each label and size, as Markdown
  plot            the same as an SVG
  compare A B     ratios of label A to label B, of medians (after FILE)
  copy            those of scripts/bench-copy.sh instead: medians, and ratios to its loops
  peers           medians beside those of the label baseline
  constants       those of sealift plan, of all runs, with what they foretell`

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "figures:", err)
		os.Exit(1)
	}
}

func run(args []string, out, errOut io.Writer) error {
	if len(args) < 2 {
		return errors.New(usage)
	}
	if args[0] == "copy" {
		return copies(out, args[1])
	}
	runs, err := read[plan.Run](args[1])
	if err != nil {
		return err
	}
	if err := oneProgram(runs); err != nil {
		return fmt.Errorf("%s: %w", args[1], err)
	}
	switch {
	case args[0] == "table":
		return table(out, medians(runs))
	case args[0] == "plot":
		return plot(out, medians(runs))
	case args[0] == "compare" && len(args) == 4:
		return compare(out, medians(runs), args[2], args[3])
	case args[0] == "peers":
		return peers(out, medians(runs))
	case args[0] == "constants":
		return constants(out, errOut, runs)
	}
	return errors.New(usage)
}

// read parses a file with a run as JSON on each line.
func read[Run any](file string) (runs []Run, err error) {
	in, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		var r Run
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, n, err)
		}
		runs = append(runs, r)
	}
	return runs, lines.Err()
}

// oneProgram refuses runs of two programs under one label, because their medians would be those of
// neither.
func oneProgram(runs []plan.Run) error {
	commits := map[string]string{}
	for _, r := range runs {
		if before, ok := commits[r.Label]; ok && before != r.Commit {
			return fmt.Errorf("runs of %s and of %s are both labelled %q: remove those of one, or note them in another file (OUT=…)", before, r.Commit, r.Label)
		}
		commits[r.Label] = r.Commit
	}
	return nil
}

// constants prints the constants that fit the runs and, on errOut, how well they predict what the
// runs took.
func constants(out, errOut io.Writer, runs []plan.Run) error {
	m, err := plan.Fit(runs, "make bench-plan")
	if err != nil {
		return err
	}
	for _, r := range runs {
		if r.Files > 0 {
			a, c := m.CPU(r)
			fmt.Fprintf(errOut, "%d events, %d files: CPU measured over foretold: appender %.2f, copier %.2f\n", r.Events, r.Files,
				r.Roles["appender"].CPUSeconds/a, r.Roles["copier"].CPUSeconds/c)
		}
	}
	_, err = out.Write(m.Encode())
	return err
}

// size is what runs have in common whose figures are combined.
type size struct {
	label                                 string
	sources, events, partitions, level    int
	appenders, copiers, collectors, hours int
}

// median has the medians of the runs of one size, figure by figure.
type median struct {
	size
	runs                                       int
	cpu, appender, copier, collector, perGB    float64 // CPU seconds: per million events, and of everything per GB of lines
	perSecond, rss, appenderRSS, files, gzipGB float64
	requests                                   float64 // per file
}

func medians(runs []plan.Run) (all []median) {
	groups := map[size][]plan.Run{}
	var order []size
	for _, r := range runs {
		s := size{r.Label, r.Sources, int(r.Events), r.Partitions, r.Level,
			r.Roles["appender"].Processes, r.Roles["copier"].Processes, r.Roles["collector"].Processes, r.Hours}
		if groups[s] == nil {
			order = append(order, s)
		}
		groups[s] = append(groups[s], r)
	}
	for _, s := range order {
		of := func(f func(plan.Run) float64) float64 { return middle(groups[s], f) }
		role := func(name string) float64 {
			return of(func(r plan.Run) float64 { return r.Roles[name].CPUSeconds / float64(r.Events) * 1e6 })
		}
		all = append(all, median{
			size: s, runs: len(groups[s]), appender: role("appender"), copier: role("copier"), collector: role("collector"),
			cpu:         of(func(r plan.Run) float64 { return r.CPU() / float64(r.Events) * 1e6 }),
			perGB:       of(func(r plan.Run) float64 { return r.CPU() / float64(r.Bytes) * 1e9 }),
			perSecond:   of(func(r plan.Run) float64 { return float64(r.Events) / r.WallSeconds }),
			rss:         of(func(r plan.Run) float64 { return float64(r.PeakRSS()) / 1e6 }),
			appenderRSS: of(func(r plan.Run) float64 { return float64(r.Roles["appender"].PeakRSS) / 1e6 }),
			files:       of(func(r plan.Run) float64 { return float64(r.Files) }),
			gzipGB:      of(func(r plan.Run) float64 { return float64(r.GzipBytes) / float64(r.Bytes) }),
			requests:    of(func(r plan.Run) float64 { return float64(r.AllRequests()) / max(1, float64(r.Files)) }),
		})
	}
	return all
}
