package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/verify"
)

// Keys with control characters, which a terminal would obey, are quoted: whoever may write to a
// customer's bucket chooses its keys.
func TestVerifyQuotesControlCharacters(t *testing.T) {
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

func TestVerifyPrintsReplayedObjectsSeparately(t *testing.T) {
	var out strings.Builder
	report := &verify.Report{Destinations: []verify.Destination{{ID: "ws/demo", Bucket: "read", Delivered: 3, Objects: 1, Replayed: 2, ReplayedObjects: 2}}}
	require.NoError(t, printVerify(&out, report, true))
	require.Contains(t, out.String(), "1 of 3 + 2 of 2 replayed\n")
}

func TestVerifyPrintsUnowedFiles(t *testing.T) {
	var out strings.Builder
	require.NoError(t, printVerify(&out, &verify.Report{Entries: 2, Unowed: verify.Unowed{Files: 1, Records: 3000}}, true))
	require.Contains(t, out.String(), "owed to nobody: 1 file of 3,000 records; no destination was enabled")
	require.Contains(t, out.String(), "no problems", "unowed files are not a problem")
}

// TestVerifySummaryNamesUnreadableBuckets: whoever reads only the last line must not take a bucket
// that nobody looked into for one without problems.
func TestVerifySummaryNamesUnreadableBuckets(t *testing.T) {
	unreadable := verify.Destination{ID: "ws/demo", Bucket: "not readable", Why: "it does not exist"}
	for want, dests := range map[string][]verify.Destination{
		"no problems in what could be read, in 0s; the bucket of 1 destination could not be read\n":   {unreadable, {Bucket: "read"}},
		"no problems in what could be read, in 0s; the buckets of 2 destinations could not be read\n": {unreadable, unreadable},
		"no problems, in 0s\n": {{Bucket: "read"}, {Bucket: "not looked at"}},
	} {
		var out strings.Builder
		require.NoError(t, printVerify(&out, &verify.Report{Entries: 1, Destinations: dests}, true))
		require.Equal(t, want, out.String()[strings.LastIndex(strings.TrimSuffix(out.String(), "\n"), "\n")+1:])
	}
}

func TestVerifyPrintsObjectsInFormerBuckets(t *testing.T) {
	var out strings.Builder
	report := &verify.Report{Destinations: []verify.Destination{{ID: "ws/demo", Bucket: "read", Delivered: 23, Objects: 14, Unseen: 9, Former: []verify.Former{{Bucket: "demo-logs", Objects: 9}}}}}
	require.NoError(t, printVerify(&out, report, true))
	require.Contains(t, out.String(), "14 of 23\nws/demo: not looked at: 9 objects in its former bucket demo-logs\n")
}
