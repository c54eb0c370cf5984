package main

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/plan"
)

// TestRatiosUseTheMatchingBaseline: ratios use the baseline of the same size and level, although
// there are baselines of other sizes and levels.
func TestRatiosUseTheMatchingBaseline(t *testing.T) {
	of := func(label string, sources, level int, cpu float64) plan.Run {
		return plan.Run{Label: label, Events: 1_000_000, Bytes: 1e9, Sources: sources, Level: level, WallSeconds: 10, Roles: map[string]plan.Role{"all": {CPUSeconds: cpu, SumRSS: 1e6}}}
	}
	var out bytes.Buffer
	require.NoError(t, peers(&out, medians([]plan.Run{
		of("baseline", 50, 6, 10), of("baseline", 50, 1, 5), of("baseline", 2000, 6, 20),
		of("sealift", 50, 6, 15), of("sealift", 50, 6, 14), of("sealift", 50, 6, 19), of("sealift", 50, 1, 10), of("sealift", 2000, 1, 30), of("sealift", 7, 6, 1),
	})))
	var got []string
	for line := range strings.Lines(out.String()) {
		if c := strings.Split(line, " | "); len(c) > 5 && c[2] == "sealift" {
			got = append(got, strings.Join([]string{strings.TrimPrefix(c[0], "| "), c[3], c[4], c[5]}, " "))
		}
	}
	require.Equal(t, []string{"7 6 1.0 -", "50 6 15.0 1.50", "50 1 10.0 2.00", "2,000 1 30.0 1.50"}, got)
	require.Error(t, peers(&out, nil))
}

// TestRunsOfDifferentProgramsAreNotMixed: runs of another commit under the same label are refused.
func TestRunsOfDifferentProgramsAreNotMixed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fleet.jsonl")
	note := func(commits ...string) {
		var lines strings.Builder
		for _, c := range commits {
			lines.WriteString(`{"label":"here","commit":"` + c + `"}` + "\n" + `{"label":"main","commit":"abc"}` + "\n")
		}
		require.NoError(t, os.WriteFile(file, []byte(lines.String()), 0o600))
	}
	note("def", "def")
	require.NoError(t, run([]string{"table", file}, io.Discard, io.Discard))
	note("def", "def", "fed")
	require.ErrorContains(t, run([]string{"table", file}, io.Discard, io.Discard), `runs of def and of fed are both labelled "here"`)
}
