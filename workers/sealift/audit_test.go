package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/auditor"
)

// Whoever forces an audit after a fix watches for the files, which may still wait for the
// destination's breaker.
func TestForcedAuditSaysWhatMayStillWait(t *testing.T) {
	for _, c := range []struct {
		forced   bool
		enqueued int64
		says     bool
	}{{true, 1, true}, {true, 0, false}, {false, 1, false}} {
		var out strings.Builder
		require.NoError(t, printAudit(&out, auditor.Report{Enqueued: c.enqueued}, c.forced))
		require.Equal(t, c.says, strings.Contains(out.String(), "after its next try: sealift destinations status"), out.String())
	}
}
