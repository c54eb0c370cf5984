package e2e

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/workers/appender"
)

// TestRebalanceStorm holds A11 and A13: workers come and go while records do, so that partitions
// are lost and regained all the time. Each start is on the worker's own disk or an old one, with
// other settings for sealing files.
func TestRebalanceStorm(t *testing.T) {
	t.Parallel()
	p := newPipeline(t)
	r := rand.New(rand.NewPCG(1, 2))
	dirs := []string{t.TempDir(), t.TempDir(), t.TempDir()}
	workers := make([]*worker, len(dirs))
	total := 0
	for range 12 {
		i := r.IntN(len(workers))
		if workers[i] == nil {
			workers[i] = p.start(appender.Config{
				DataDir:    dirs[i],
				RollEvery:  []time.Duration{time.Second, time.Minute, time.Hour}[r.IntN(3)],
				Grace:      50 * time.Millisecond,
				Level:      1 + r.IntN(6),
				SealOnStop: r.IntN(2) == 0,
			})
			read := workers[i].RecordsForTesting()
			p.produce(total, 300, 20) // for whoever has the partitions meanwhile
			total += 300
			p.waitFor("partitions assigned to the new worker", func() bool { return len(workers[i].Partitions()) > 0 })
			p.produce(total, 300, 20)
			total += 300
			p.waitFor("the new worker reads records", func() bool { return workers[i].RecordsForTesting() > read })
			continue
		}
		p.produce(total, 300, 20)
		total += 300
		workers[i].stop(t)
		workers[i] = nil
	}
	for i, w := range workers {
		if w != nil {
			w.stop(t)
			workers[i] = nil
		}
	}
	last := p.start(appender.Config{DataDir: dirs[0]})
	p.waitFor("all partitions assigned to the last worker", func() bool { return len(last.Partitions()) == pipelinePartitions })
	p.sealAll(last)
	p.requireAllOnce(total)
	require.NoError(t, last.Ready(t.Context()))
}
