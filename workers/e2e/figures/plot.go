package main

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/progress"
)

// Panels of the plot, in pixels.
const (
	panelWidth, panelHeight = 300, 220
	left, right, top, foot  = 52, 14, 34, 44
)

var colours = []string{"#1f6feb", "#d1572b", "#2c8a4b", "#7a4fc4"}

// plot draws throughput, CPU per GB and memory over the number of sources, with one line per label.
func plot(out io.Writer, all []median) error {
	all = slices.DeleteFunc(all, func(m median) bool { return m.collectors > 0 || m.appenders != 1 })
	if len(all) == 0 {
		return fmt.Errorf("no runs of one appender to plot")
	}
	slices.SortFunc(all, func(a, b median) int { return cmp.Compare(a.sources, b.sources) })
	panels := []struct {
		title string
		of    func(median) float64
	}{
		{"events/s, all on one machine", func(m median) float64 { return m.perSecond }},
		{"CPU-seconds per GB of lines", func(m median) float64 { return m.perGB }},
		{"peak RSS of the fleet, MB", func(m median) float64 { return m.rss }},
	}
	fmt.Fprintf(out, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="11">`+"\n", len(panels)*panelWidth, panelHeight)
	fmt.Fprintln(out, `<rect width="100%" height="100%" fill="white"/>`)
	for i, p := range panels {
		fmt.Fprintf(out, `<g transform="translate(%d,0)">`+"\n", i*panelWidth)
		panel(out, p.title, all, p.of)
		fmt.Fprintln(out, "</g>")
	}
	_, err := fmt.Fprintln(out, "</svg>")
	return err
}

func panel(out io.Writer, title string, all []median, of func(median) float64) {
	least, most, highest := math.Inf(1), 0.0, 0.0
	var labels []string
	for _, m := range all {
		least, most, highest = min(least, float64(m.sources)), max(most, float64(m.sources)), max(highest, of(m))
		if !slices.Contains(labels, m.label) {
			labels = append(labels, m.label)
		}
	}
	step := niceStep(highest)
	limit := step * math.Ceil(highest/step*1.0001)
	x := func(sources int) float64 { // logarithmic
		span := max(math.Log(most/least), 1e-9)
		return left + math.Log(float64(sources)/least)/span*(panelWidth-left-right)
	}
	y := func(v float64) float64 { return panelHeight - foot - v/limit*(panelHeight-top-foot) }
	fmt.Fprintf(out, `<text x="%d" y="16" font-weight="bold">%s</text>`+"\n", left, title)
	for v := 0.0; v <= limit*1.0001; v += step {
		fmt.Fprintf(out, `<line x1="%d" x2="%d" y1="%.1f" y2="%.1f" stroke="#ddd"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, panelWidth-right, y(v), y(v), left-5, y(v)+4, progress.Count(int64(math.Round(v))))
	}
	ticks := map[int]bool{}
	for n, label := range labels {
		colour, points := colours[n%len(colours)], []string{}
		for _, m := range all {
			if m.label != label {
				continue
			}
			points = append(points, fmt.Sprintf("%.1f,%.1f", x(m.sources), y(of(m))))
			fmt.Fprintf(out, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(m.sources), y(of(m)), colour)
			if !ticks[m.sources] {
				ticks[m.sources] = true
				fmt.Fprintf(out, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(m.sources), panelHeight-foot+15, progress.Count(int64(m.sources)))
			}
		}
		fmt.Fprintf(out, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(points, " "), colour)
		if label != "" {
			fmt.Fprintf(out, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", left+n*80, panelHeight-8, colour, label)
		}
	}
	fmt.Fprintf(out, `<text x="%d" y="%d" text-anchor="end" fill="#666">sources</text>`+"\n", panelWidth-right, panelHeight-8)
}

// niceStep returns 1, 2 or 5 times a power of ten, such that most is about five steps.
func niceStep(most float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max(most, 1)/5)))
	for _, f := range []float64{1, 2, 5, 10} {
		if f*power*5 >= most {
			return f * power
		}
	}
	return 10 * power
}
