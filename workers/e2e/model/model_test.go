package model

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/require"
)

var statesFlag = flag.Int("model.states", 0, "explore models of up to this many states; default 1.5 million, with the race detector 160,000")

// budget is the largest number of states of models that are explored in this run. Larger models are
// logged, and left to a run that asks for them.
func budget() int {
	switch {
	case *statesFlag > 0:
		return *statesFlag
	case raceEnabled:
		return 160_000
	}
	return 1_500_000
}

// The records of a partition. Two hours of source A overlap, and a record of the first hour comes
// late. Under another rule, records belong to other sources.
var (
	twoRecords = newTopic(a1, a1)
	twoSources = newTopic(a1, b1, a1)
	twoHours   = newTopic(a1, b1, a2, a1)
	twoStreams = newTopic(a1, b1)
	threeHours = newTopic(a1, b1, a2)
	twoRules   = newTopic(a1, b1, a1).or(a1, a1, b1)
)

// aPack contains the first record of each of two sources. The second source has no other record,
// the first may have.
const aPack = objects(1 << 0b0011)

// sameRangePacks contain the first record of the first hour and that of the second, with and
// without the one between them.
const sameRangePacks = objects(1<<0b0101 | 1<<0b0111)

// upstream has records from SDKs that repeat themselves: record 2 has the id of the poison record
// before it, and record 3, in another hour, the id of record 1.
func upstream(records uint8) dedupModel {
	stream, id := []uint8{a1, a1, a2, a2, a2}, []uint8{0, 1, 0, 1, 2}
	return dedupModel{topic: newTopic(stream[:records]...), id: id[:records], poison: at(0)}
}

// poisonWithin has a record that is not a line between two records of a file.
var poisonWithin = dedupModel{topic: newTopic(a1, a2, a2, a2), id: []uint8{0, 1, 2, 1}, poison: at(2)}

// soundModel is a model of the protocol as it is, with the number of its reachable states.
type soundModel struct {
	name    string
	states  int
	explore func(stop property, limit int) result
	stuck   func(limit int) ([]string, result)
}

func sound[S comparable](name string, states int, m machine[S]) soundModel {
	return soundModel{
		name: name, states: states,
		explore: func(stop property, limit int) result { return explore(m, stop, limit) },
		stuck:   func(limit int) ([]string, result) { return stuck(m, limit) },
	}
}

var soundModels = []soundModel{
	sound("ledger, two sources", 86_904, ledgerModel{topic: twoSources, claims: true}),
	sound("ledger without claims, two sources", 99_169, ledgerModel{topic: twoSources}),
	sound("ledger, two hours", 818_396, ledgerModel{topic: twoHours, claims: true}),
	sound("ledger without claims, two hours", 2_069_883, ledgerModel{topic: twoHours}),
	sound("ledger and committed offsets, two sources", 347_616, ledgerModel{topic: twoSources, claims: true, hints: true, resets: true}),
	sound("ledger and committed offsets, two hours", 4_091_980, ledgerModel{topic: twoHours, claims: true, hints: true, resets: true}),
	sound("ledger and stale listings, two sources", 167_933, ledgerModel{topic: twoSources, claims: true, behind: true}),
	sound("ledger and another routing rule, two sources", 477_208, ledgerModel{topic: twoRules, claims: true, reroute: true}),
	sound("ledger, another routing rule and local files, two records", 2_020_373, ledgerModel{topic: twoRecords.or(a1, b1), claims: true, reroute: true, disks: 1}),
	sound("ledger and orphans, two records", 22_406, ledgerModel{topic: twoRecords, claims: true, staging: true}),
	sound("ledger and orphans, two sources", 328_347, ledgerModel{topic: twoSources, claims: true, staging: true}),
	sound("ledger and orphans, two hours", 3_448_879, ledgerModel{topic: twoHours, claims: true, staging: true}),
	sound("ledger and packs, two sources", 284_940, ledgerModel{topic: twoSources, claims: true, packs: aPack}),
	sound("ledger and packs without claims, two sources", 285_578, ledgerModel{topic: twoSources, packs: aPack}),
	sound("ledger, packs and orphans, two records", 158_196, ledgerModel{topic: twoStreams, claims: true, packs: aPack, staging: true}),
	sound("ledger and local files, two records", 73_145, ledgerModel{topic: twoRecords, claims: true, disks: 1}),
	sound("ledger and both workers' local files, two records", 756_765, ledgerModel{topic: twoRecords, claims: true, disks: 2}),
	sound("ledger and local files, two sources", 2_096_484, ledgerModel{topic: twoSources, claims: true, disks: 1}),
	sound("delivery", 150_240, deliveryModel{jobs: 1}),
	sound("delivery, duplicate jobs", 225_360, deliveryModel{jobs: 2}),
	sound("delivery and a replay", 1_197_984, deliveryModel{jobs: 1, replay: true}),
	sound("delivery and a replay, duplicate jobs", 1_796_976, deliveryModel{jobs: 2, replay: true}),
	sound("duplicates and poison, four records", 37_151, upstream(4)),
	sound("duplicates and poison, five records", 555_025, upstream(5)),
	sound("poison within a file", 46_198, poisonWithin),
}

// usual is how many models any run must have explored to the end, and usualLive how many it must
// have searched for dead ends.
const usual, usualLive = 8, 2

func TestProtocolHolds(t *testing.T) {
	explored := 0
	for _, m := range soundModels {
		if m.states > budget() {
			t.Logf("%s: left out, needs -model.states=%d", m.name, m.states)
			continue
		}
		r := m.explore(^property(0), budget())
		t.Logf("%s: %s", m.name, r)
		require.Zero(t, r.broken, "%s: %s\n%s", m.name, r.broken, list(r.trace))
		require.True(t, r.exhaustive, "%s: capped", m.name)
		require.Equal(t, m.states, r.states, "%s: the number of states differs from the one stated", m.name)
		explored++
	}
	require.GreaterOrEqual(t, explored, usual, "the budget excludes models that every run must explore")
}

// TestEverythingCanBeDelivered: whatever happened, if nothing fails from then on, there is a way to
// everything being delivered. This needs all edges of a graph, so only the smaller models are
// searched.
func TestEverythingCanBeDelivered(t *testing.T) {
	explored := 0
	for _, m := range soundModels {
		if m.states > budget()/4 {
			continue
		}
		trace, r := m.stuck(budget())
		t.Logf("%s: %d states", m.name, r.states)
		require.True(t, r.exhaustive, "%s: capped", m.name)
		require.Equal(t, m.states, r.states, m.name)
		require.Nil(t, trace, "%s: nothing can be delivered from here:\n%s", m.name, list(trace))
		explored++
	}
	require.GreaterOrEqual(t, explored, usualLive, "the budget excludes models that every run must explore")
}
