package appender

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// TestUnusableDisk: no claim is written for a directory that cannot be used, because entries stay
// for good. A worker whose disk stays unusable ends, so that others get its partitions; one whose
// disk recovers continues.
func TestUnusableDisk(t *testing.T) {
	for hazard, c := range map[string]struct {
		path func(r *rig) string // a file in the way, so that no directory can be created
		last time.Duration
		ends bool
	}{
		"permanently":           {func(r *rig) string { return filepath.Join(r.cfg.DataDir, spoolDir) }, time.Hour, true},
		"briefly":               {func(r *rig) string { return filepath.Join(r.cfg.DataDir, spoolDir) }, time.Minute, false},
		"of_one_partition_only": {func(r *rig) string { return filepath.Join(r.spoolsDir(), "0") }, time.Hour, false},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.run()
				r.produce("a", "b", "a")
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				path, was := c.path(r), filepath.Join(r.cfg.DataDir, "was")
				require.NoError(t, os.Rename(path, was))
				require.NoError(t, os.WriteFile(path, nil, 0o600))
				r.produce("b")
				r.assignPartitions()
				r.assignPartitions(0)
				for begun := time.Now(); time.Since(begun) < c.last && len(r.ended) == 0; {
					time.Sleep(10 * time.Second)
					if time.Since(begun) > 40*time.Second && len(r.ended) == 0 {
						require.Error(t, r.Ready(t.Context()))
					}
				}
				require.Equal(t, 1, r.acquisitions())
				if c.ends {
					require.ErrorContains(t, <-r.ended, "appender.data_dir cannot be used")
					return
				}
				require.Empty(t, r.ended)
				require.NoError(t, os.Remove(path))
				require.NoError(t, os.Rename(was, path))
				time.Sleep(time.Minute)
				require.NoError(t, r.Ready(t.Context()))
				require.NoError(t, r.seal())
				require.Equal(t, [][]string{{"a/0-2", "b/1-3"}}, r.written())
				r.stopAndWait()
			})
		})
	}
}
