package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
)

// withUmask returns a command that runs the binary with the umask.
func withUmask(umask string, args ...string) *exec.Cmd {
	return exec.Command("sh", append([]string{"-c", "umask " + umask + `; exec sealift "$@"`, "sh"}, args...)...)
}

// walkModes calls fn with dir and everything below it, and returns the number of files.
func walkModes(t *testing.T, dir string, fn func(path string, mode fs.FileMode)) (files int) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		fn(path, info.Mode())
		if !d.IsDir() {
			files++
		}
		return nil
	}))
	return files
}

// Whatever the umask, only their user can read the events and keys that Sealift keeps on disk (log
// and spool, dedup and checkpoints, Kafka and S3). For downloads the umask decides.
func TestFilesOnDiskAreReadableByTheirUserOnly(t *testing.T) {
	t.Parallel()
	for umask, want := range map[string]struct{ file, dir fs.FileMode }{"000": {0o644, 0o755}, "077": {0o600, 0o700}} {
		t.Run(umask, func(t *testing.T) {
			t.Parallel()
			data := filepath.Join(t.TempDir(), "data")
			p := startDevAs(t, withUmask(umask, devArgs(data)...), data)
			acked := &check.Expected{}
			require.True(t, p.track("demo", "1"))
			acked.Acknowledge("demo", "1")
			bucket := p.bucket("demo-logs", p.S3Region)
			require.True(t, p.awaitDelivered(t, bucket, "", acked).OK())
			require.True(t, p.track("demo", "2"), "an event for a file that stays open")
			private := func(path string, mode fs.FileMode) {
				require.Zero(t, mode.Perm()&0o077, "%s is %v", path, mode)
				require.Equal(t, fs.FileMode(0o600), mode.Perm()&0o600, "%s is %v", path, mode)
			}
			var seen map[string]bool
			require.Eventually(t, func() bool {
				seen = map[string]bool{}
				entries, err := os.ReadDir(filepath.Join(data, "appender"))
				for _, e := range entries {
					seen[e.Name()] = true
				}
				return err == nil && len(seen) > 1
			}, time.Minute, 10*time.Millisecond)
			require.NoError(t, p.end(t, os.Interrupt))
			require.Greater(t, walkModes(t, data, private), 8)
			for _, dir := range []string{"appender", "kafka", "s3"} {
				require.Positive(t, walkModes(t, filepath.Join(data, dir), private), dir)
			}

			p = startDevAs(t, withUmask(umask, devArgs(data)...), data)
			synced := filepath.Join(t.TempDir(), "synced")
			sync := withUmask(umask, "files", "sync", "s3://demo-logs", synced, "--endpoint", p.S3, "--region", p.S3Region)
			sync.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+p.S3AccessKey, "AWS_SECRET_ACCESS_KEY="+p.S3SecretKey)
			out, err := sync.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Positive(t, walkModes(t, synced, func(path string, mode fs.FileMode) {
				if mode.IsDir() {
					require.Equal(t, want.dir, mode.Perm(), path)
				} else {
					require.Equal(t, want.file, mode.Perm(), path)
				}
			}))

			demo := filepath.Join(t.TempDir(), "demo")
			out, err = withUmask(umask, "demo", "--events", "20", "--data", demo).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Positive(t, walkModes(t, demo, private))
		})
	}
}
