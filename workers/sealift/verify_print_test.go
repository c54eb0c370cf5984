package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/verify"
)

// Whoever may write to a customer's bucket names keys as he likes; a terminal
// would obey some.
func TestVerifyPrintsKeysThatATerminalWouldObey(t *testing.T) {
	var out strings.Builder
	report := &verify.Report{Problems: 2, Unread: []string{"as role\nas operator", "s3://acme-logs/segment-logs/\x1b[3J"}, Examples: []verify.Problem{
		{Kind: verify.ObjectForeign, Where: "s3://acme-logs/segment-logs/web/\x1b[2Jx"},
		{Kind: verify.ObjectForeign, Where: "s3://acme-logs/segment-logs/ü \"x\""},
	}}
	require.NoError(t, printVerify(&out, report, true))
	require.NotContains(t, out.String(), "\x1b")
	require.Contains(t, out.String(), `"s3://acme-logs/segment-logs/web/\x1b[2Jx"`)
	require.Contains(t, out.String(), ` s3://acme-logs/segment-logs/ü "x"`)
	require.Contains(t, out.String(), "not verified: as role\nas operator\n")
}
