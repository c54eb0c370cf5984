package e2e

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/appender"
)

// TestTenThousandSourcesAtOnce holds that open files cost neither handles nor
// more memory than they may.
func TestTenThousandSourcesAtOnce(t *testing.T) {
	const sources, memory = 10_000, 4 << 20 // 4 MiB: a fifth of what is open at once
	p := newPipeline(t)
	before := handles(t)
	w := p.start(appender.Config{DataDir: t.TempDir(), Memory: memory})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	for from := 0; from < 3*sources; from += sources {
		p.produce(from, sources, sources)
	}
	p.waitFor("all records read", func() bool { return w.Records() == 3*sources })
	require.Less(t, handles(t)-before, 100, "handles do not grow with sources")
	require.LessOrEqual(t, w.Held(), int64(memory+pipelinePartitions<<16))
	p.sealAll(w)
	p.requireAllOnce(3 * sources)
}

func handles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/dev/fd")
	require.NoError(t, err)
	return len(names)
}

// TestShortDiskPausesReading holds that nothing is dropped for want of disk:
// an appender without space reads nothing and says so; with space it goes on.
func TestShortDiskPausesReading(t *testing.T) {
	p := newPipeline(t)
	p.produce(0, 100, 10)
	short := p.start(appender.Config{DataDir: t.TempDir(), DiskFree: 1 << 62})
	p.waitFor("it says why it is not ready", func() bool {
		err := short.Ready(t.Context())
		return err != nil && len(short.Partitions()) == pipelinePartitions
	})
	require.ErrorContains(t, short.Ready(t.Context()), "disk is short")
	short.stop(t)
	roomy := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(roomy.Partitions()) == pipelinePartitions })
	p.sealAll(roomy)
	p.requireAllOnce(100)
}

// TestUnwritableDataDirectoryIsWaitedOut holds that a disk that cannot be
// written stops nothing for good and loses nothing.
func TestUnwritableDataDirectoryIsWaitedOut(t *testing.T) {
	p := newPipeline(t)
	p.produce(0, 100, 10)
	dir := t.TempDir()
	blocker := filepath.Join(dir, "spool") // a file where directories are to be made
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	w := p.start(appender.Config{DataDir: dir})
	p.waitFor("it says that it cannot write", func() bool { return w.Ready(t.Context()) != nil })
	require.ErrorContains(t, w.Ready(t.Context()), "spool")
	require.NoError(t, os.Remove(blocker))
	p.waitFor("it works again", func() bool { return w.Ready(t.Context()) == nil && len(w.Partitions()) == pipelinePartitions })
	p.sealAll(w)
	p.requireAllOnce(100)
}
