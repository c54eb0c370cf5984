package copier

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/destination"
)

// A disk that takes no spool is the operator's, and not held against the
// destination: the file waits, and nothing of it was sent.
func TestSpoolThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	job := r.job(acmeOne, "hello")
	dir := filepath.Join(t.TempDir(), "spool")
	r.cfg.SpoolDir = dir // not there
	o := r.once(t.Context(), job)
	require.Equal(t, failed, o.kind)
	require.Equal(t, destination.Transient, o.verdict.Class)
	require.Equal(t, destination.OfFile, o.verdict.Scope)
	require.Equal(t, "spool", o.verdict.Reason)
	require.Contains(t, o.verdict.Cause, dir)
	require.Contains(t, o.verdict.Fix, "copier.spool_dir")
	require.Empty(t, r.buckets["one-logs"].opts)
	require.Nil(t, r.receipt(job))

	require.NoError(t, os.Mkdir(dir, 0o700))
	require.Equal(t, done, r.once(t.Context(), job).kind)
	require.NotNil(t, r.receipt(job))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
