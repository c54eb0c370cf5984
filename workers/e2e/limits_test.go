package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/appender"
)

// TestTenThousandSourcesAtOnce: open files cost no file handles, and no more memory than allowed.
func TestTenThousandSourcesAtOnce(t *testing.T) {
	const sources, memory = 10_000, 4 << 20 // 4 MiB: a fifth of what is open at the same time
	p := newPipeline(t)
	before := handles(t)
	w := p.start(appender.Config{DataDir: t.TempDir(), Memory: memory})
	p.waitFor("partitions assigned", func() bool { return len(w.Partitions()) == pipelinePartitions })
	for from := 0; from < 3*sources; from += sources {
		p.produce(from, sources, sources)
	}
	p.waitFor("all records read", func() bool { return w.RecordsForTesting() == 3*sources })
	require.Less(t, handles(t)-before, 100, "open files grow with the number of sources")
	require.LessOrEqual(t, w.HeldForTesting(), int64(memory+pipelinePartitions<<16))
	p.sealAll(w)
	p.requireAllOnce(3 * sources)
}

// TestMemoryIsBoundedWhileStagingIsStuck: an appender whose staging bucket accepts nothing holds no
// more memory than allowed, stops reading when too many files wait, and loses and duplicates
// nothing. TestUnreadRecordsCostNoMemory holds the first of these for a full topic.
func TestMemoryIsBoundedWhileStagingIsStuck(t *testing.T) {
	const sources, memory = 1_000, 4 << 20
	p := newPipeline(t)
	p.gate = make(chan struct{})
	w := p.start(appender.Config{DataDir: t.TempDir(), Memory: memory, MaxWaiting: 2 * sources, RollEvery: time.Second, Grace: time.Millisecond})
	produced, held := 0, int64(0)
	p.waitFor("not ready while paused", func() bool {
		p.produce(produced, sources, sources) // some files of each round are sealed before the next
		produced += sources
		held = max(held, w.HeldForTesting())
		err := w.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "staging takes files slower")
	})
	require.LessOrEqual(t, held, int64(memory+pipelinePartitions<<16))
	p.produce(produced, 20*sources, sources)
	produced += 20 * sources
	require.Less(t, w.RecordsForTesting(), int64(produced))
	close(p.gate)
	p.waitFor("all read", func() bool { return w.RecordsForTesting() == int64(produced) })
	p.sealAll(w)
	p.requireAllOnce(produced)
	require.NoError(t, w.Ready(t.Context()))
}

// TestUnreadRecordsCostNoMemory: what is still in Kafka costs no memory.
func TestUnreadRecordsCostNoMemory(t *testing.T) {
	const sources, memory, records = 2_000, 4 << 20, 60_000
	p := newPipeline(t)
	p.produce(0, records, sources)
	w := p.start(appender.Config{DataDir: t.TempDir(), Memory: memory})
	held := int64(0)
	p.waitFor("all read", func() bool {
		held = max(held, w.HeldForTesting())
		return w.RecordsForTesting() == records
	})
	require.LessOrEqual(t, held, int64(memory+pipelinePartitions<<16))
	p.sealAll(w)
	p.requireAllOnce(records)
}

func handles(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/dev/fd")
	require.NoError(t, err)
	return len(names)
}

// TestShortDiskPausesReading: an appender without disk space reads nothing and says so, and drops
// nothing; once it has space it continues.
func TestShortDiskPausesReading(t *testing.T) {
	p := newPipeline(t)
	p.produce(0, 100, 10)
	p.prepare = func(a *appender.Appender) { a.SetDiskForTesting(1<<20, 1<<40) }
	short := p.start(appender.Config{DataDir: t.TempDir(), DiskFree: 1 << 30})
	p.waitFor("not ready without disk space", func() bool {
		err := short.Ready(t.Context())
		return err != nil && len(short.Partitions()) == pipelinePartitions
	})
	require.ErrorContains(t, short.Ready(t.Context()), "disk is short")
	short.stop(t)
	p.prepare = nil
	roomy := p.start(appender.Config{DataDir: t.TempDir()})
	p.waitFor("partitions assigned", func() bool { return len(roomy.Partitions()) == pipelinePartitions })
	p.sealAll(roomy)
	p.requireAllOnce(100)
}

// TestUnwritableDataDirectoryIsWaitedOut: a disk that cannot be written to stops the appender only
// until it can, and nothing is lost.
func TestUnwritableDataDirectoryIsWaitedOut(t *testing.T) {
	p := newPipeline(t)
	p.produce(0, 100, 10)
	dir := t.TempDir()
	blocker := filepath.Join(dir, "spool") // a file where directories are to be created
	require.NoError(t, os.WriteFile(blocker, nil, 0o600))
	w := p.start(appender.Config{DataDir: dir})
	p.waitFor("not ready while it cannot write", func() bool { return w.Ready(t.Context()) != nil })
	require.ErrorContains(t, w.Ready(t.Context()), "spool")
	require.NoError(t, os.Remove(blocker))
	p.waitFor("ready again", func() bool { return w.Ready(t.Context()) == nil && len(w.Partitions()) == pipelinePartitions })
	p.sealAll(w)
	p.requireAllOnce(100)
}
