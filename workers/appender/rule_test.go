package appender

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
)

// TestRoutingRuleSwitchesOverAnEmptyFilter: a record that is already in a file is recognised
// only under the old rule, since the filter names streams by that. Here all keys differ from the
// headers.
func TestRoutingRuleSwitchesOverAnEmptyFilter(t *testing.T) {
	for name, c := range map[string]struct {
		last int64 // offset of stream a in the filter
		want [][]string
	}{
		"nothing_open": {last: 3, want: [][]string{nil, {"key/4-5"}}},
		"files_open":   {last: 2, want: [][]string{{"b/1-1", "a/3-3"}, {"key/4-5"}}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{SourceFrom: "key"})
				r.produce("a", "b", "a", "a")
				r.head.LowWatermark = 1
				for i := range r.records {
					r.records[i].Key = []byte("key")
				}
				if name == "nothing_open" {
					r.records[1].Headers[0].Value = []byte("a")
				}
				r.head.SealedThrough = []ledger.SealedStream{{Source: "a", Hour: ledger.StreamOf("a", time.Now().UnixMilli()).Hour, Offset: c.last}}
				r.run()
				time.Sleep(5 * time.Second)
				require.Len(t, r.written(), 1)
				require.Equal(t, 2, r.acquisitions(), "claims, one of which switches the rule")
				require.NoError(t, r.Ready(t.Context()))
				r.mu.Lock()
				other := r.records[3] // of source a by its header
				other.Offset, other.Key = 4, []byte("key")
				r.records = append(r.records, other)
				r.mu.Unlock()
				r.produce("key")
				time.Sleep(5 * time.Second)
				require.NoError(t, r.seal())
				require.Equal(t, c.want, r.written())
				r.stopAndWait()
			})
		})
	}
}

// TestUnknownRoutingRuleStopsThePartition: an entry of a later version may have a rule that this
// one does not know.
func TestUnknownRoutingRuleStopsThePartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.head.Router = "moon;header"
		r.head.SealedThrough = []ledger.SealedStream{{Source: "a", Offset: 2}}
		r.run()
		require.ErrorContains(t, r.Ready(t.Context()), `kafka.source_from "moon"`)
		r.stopAndWait()
	})
}
