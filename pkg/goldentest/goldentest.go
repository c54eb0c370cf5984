// Package goldentest compares what a test made with a file of the repository. It is only for tests.
//
// It promises that a file changes only if its test runs with -update. Where it is a stored format
// that differs, do not: give the format a new version, and keep reading the old one.
package goldentest

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// Equal requires that got is the content of a file, which it returns.
func Equal(t *testing.T, file string, got []byte) []byte {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o750))
		require.NoError(t, os.WriteFile(file, got, 0o600))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	if difference := firstDifference(string(want), string(got)); difference != "" {
		dir, err := os.Getwd()
		require.NoError(t, err)
		require.Fail(t, fmt.Sprintf("%s is not what the test made: %s", file, difference),
			"if that is meant, and it is no stored format (see the doc of package goldentest): cd %s && go test -run '^%s$' . -update", dir, strings.ReplaceAll(t.Name(), "/", "$/^"))
	}
	return want
}

// firstDifference returns the first line that differs, or "" if there is none. Whole files, as
// require.Equal shows them, hide it.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		switch {
		case i >= len(w):
			return fmt.Sprintf("it ends before line %d: %q", i+1, g[i])
		case i >= len(g):
			return fmt.Sprintf("it goes on in line %d: %q", i+1, w[i])
		case w[i] != g[i]:
			return fmt.Sprintf("line %d is %q, and the test made %q", i+1, w[i], g[i])
		}
	}
	return ""
}
