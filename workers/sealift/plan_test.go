package main

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// `sealift plan` prints what OPERATING.md shows.
func TestPlanIsAsDocumented(t *testing.T) {
	text, err := os.ReadFile("OPERATING.md")
	require.NoError(t, err)
	_, shown, ok := strings.Cut(string(text), "$ sealift plan ")
	require.True(t, ok)
	args, shown, _ := strings.Cut(shown, "\n")
	shown, _, ok = strings.Cut(shown, "…\n```")
	require.True(t, ok)
	code, out, errOut := runSealift(t, "", nil, append([]string{"plan"}, strings.Fields(args)...)...)
	require.Equal(t, exitOK, code, errOut)
	require.Equal(t, shown, out[:min(len(shown), len(out))])
}
