package check

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// A batch closes the debts of its good lines, and each of its faults is reported.
func TestBatchesOfReceipts(t *testing.T) {
	const entry = "receipts/events/1/00003/0000000000000000007/"
	line := func(index int, outcome string) string {
		return fmt.Sprintf(`{"version":1,"file":{"topic":"events","incarnation":"1","partition":3,"seq":7,"index":%d},"destination":"ws/a","outcome":%q}`+"\n", index, outcome)
	}
	good := line(0, "delivered")
	for hazard, c := range map[string]struct {
		body  string
		name  string // "": that of the body
		debts int
		wrong []string
	}{
		"good":            {body: good + line(1, "delivered"), debts: 2},
		"twice":           {body: good + good, debts: 1},
		"empty":           {wrong: []string{"its 0 lines"}},
		"altered":         {body: good, name: strings.Repeat("0", 32), debts: 1, wrong: []string{"its 1 lines have sha256"}},
		"too_many":        {body: strings.Repeat(good, maxBatchReceipts+1), debts: 1, wrong: []string{"its 257 lines"}},
		"cut_short":       {body: good + line(1, "delivered")[:50], debts: 1, wrong: []string{"line 2 is no receipt"}},
		"no_newline":      {body: good + strings.TrimSuffix(line(1, "delivered"), "\n"), debts: 1, wrong: []string{"line 2 is no receipt"}},
		"another_version": {body: good + strings.Replace(line(1, "delivered"), `"version":1`, `"version":2`, 1), debts: 1, wrong: []string{"line 2 is no receipt"}},
		"given_up":        {body: line(0, "skipped") + line(1, "delivered") + line(2, "sent"), debts: 1, wrong: []string{`line 1 says "skipped"`, `line 3 says "sent"`}},
		"another_entry":   {body: good + strings.Replace(line(1, "delivered"), `"seq":7`, `"seq":8`, 1), debts: 1, wrong: []string{"line 2 says"}},
	} {
		t.Run(hazard, func(t *testing.T) {
			if c.name == "" {
				c.name = fmt.Sprintf("%x", sha256.Sum256([]byte(c.body)))
				c.name = c.name[:32]
			}
			key := entry + "batch/" + c.name + ".json"
			r := &InstallationReport{}
			require.Len(t, r.receiptsByKey(map[string][]byte{key: []byte(c.body)}), c.debts)
			require.Len(t, r.Problems, len(c.wrong), "%v", r.Problems)
			for i, p := range r.Problems {
				require.Equal(t, Untrue, p.Kind)
				require.Equal(t, key, p.Key)
				require.Contains(t, p.Detail, c.wrong[i])
			}
		})
	}
}
