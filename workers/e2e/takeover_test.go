package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
)

// takeover measures how long the partitions of an appender that is killed with SIGKILL wait for
// their next owner's claim: at most the group's session timeout plus a rebalance and a claim.
func takeover(t *testing.T, on servers) {
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	s := newSystem(t, on, 30, fleet{collectors: 1, appenders: 2, copiers: 1, auditors: 1, appender: "roll_every: 5s"})
	s.start(ctx)
	staging := store(s.servers, s.staging())
	heads := func() map[int]*ledger.Entry {
		logs, err := ledger.Logs(ctx, staging, s.eventsTopic(), "1")
		require.NoError(t, err)
		heads := map[int]*ledger.Entry{}
		for _, l := range logs {
			head, err := ledger.NewChain(staging, l).Head(ctx)
			require.NoError(t, err)
			heads[l.Partition] = head
		}
		return heads
	}
	wait := func(what string, ok func(map[int]*ledger.Entry) bool) {
		t.Helper()
		for !ok(heads()) {
			select {
			case <-ctx.Done():
				require.Fail(t, what)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	owners := func(h map[int]*ledger.Entry) map[string]int {
		n := map[string]int{}
		for _, e := range h {
			n[e.Owner]++
		}
		return n
	}
	wait("both appenders own partitions", func(h map[int]*ledger.Entry) bool {
		n := owners(h)
		return len(h) == systemPartitions && len(n) == 2
	})
	s.kill(s.appenders[0])
	began := time.Now()
	wait("the other owns all", func(h map[int]*ledger.Entry) bool { return len(owners(h)) == 1 })
	took := time.Since(began)
	t.Logf("SIGKILL of an appender to its last partition's next claim: %v, with a session timeout of 6s", took.Round(10*time.Millisecond))
	require.Less(t, took, 20*time.Second)

	s.restart(ctx, s.appenders[0])
	began = time.Now()
	wait("both own their share again", func(h map[int]*ledger.Entry) bool { return len(owners(h)) == 2 })
	t.Logf("ready to its first claim after the restart: %v", time.Since(began).Round(10*time.Millisecond))
	began = time.Now() // an appender that stops keeps its seat for the session timeout, since it may be restarted
	require.NoError(t, s.appenders[1].terminate(drainWithin))
	t.Logf("ended after %v", time.Since(began).Round(10*time.Millisecond))
	wait("the other owns all after a clean stop", func(h map[int]*ledger.Entry) bool { return len(owners(h)) == 1 })
	t.Logf("SIGTERM to the next owner's last claim: %v", time.Since(began).Round(10*time.Millisecond))
	s.restart(ctx, s.appenders[1])
	s.stop()
}
