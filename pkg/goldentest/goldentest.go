// Package goldentest compares what a test made with a file of the repository. It is only for tests.
//
// It promises that a file changes only if its test runs with -update. Where it is a stored format
// that differs, do not: give the format a new version, and keep reading the old one.
package goldentest

import (
	"flag"
	"os"
	"path/filepath"
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
	require.Equal(t, string(want), string(got), "see -update, and the doc of package goldentest")
	return want
}
