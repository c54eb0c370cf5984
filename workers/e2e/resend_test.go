package e2e

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/appender"
)

// TestResentMessagesArriveOnce: what is sent again is filed once, on the disk that remembers it, on
// one that has lost that, and after the partition has moved to another worker.
func TestResentMessagesArriveOnce(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	cfg := appender.Config{DataDir: t.TempDir(), DedupWindow: time.Hour}
	const n = 2_000
	all := func(w *worker) func() bool {
		return func() bool { return len(w.Partitions()) == pipelinePartitions }
	}
	one := p.start(cfg)
	p.waitFor("all partitions assigned to the first worker", all(one))
	p.produce(0, n, 40)
	p.produce(0, n, 40)
	p.sealAll(one)
	p.requireAllOnce(n)

	one.stop(t)
	require.NoError(t, os.RemoveAll(filepath.Join(cfg.DataDir, "dedup")))
	one = p.start(cfg)
	p.waitFor("all partitions assigned to the first worker", all(one))
	p.waitForMemory(one)
	p.produce(n/2, n, 40)
	p.sealAll(one)
	p.requireAllOnce(n + n/2)

	one.stop(t)
	two := p.start(appender.Config{DataDir: t.TempDir(), DedupWindow: time.Hour})
	p.waitFor("all partitions assigned to the second worker", all(two))
	p.waitForMemory(two)
	p.produce(0, 2*n, 40)
	p.sealAll(two)
	p.requireAllOnce(2 * n)

	three := p.start(appender.Config{DataDir: t.TempDir(), DedupWindow: time.Hour})
	p.waitFor("partitions shared", func() bool { return len(two.Partitions()) == 3 && len(three.Partitions()) == 3 })
	p.waitForMemory(two, three)
	p.produce(0, 2*n, 40)
	p.sealAll(two)
	p.sealAll(three)
	p.requireAllOnce(2 * n)
}
