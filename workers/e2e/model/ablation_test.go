package model

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// ablation is the protocol without one of its rules, and the harm that has to be found without it.
type ablation struct {
	name    string // as in schemas/protocol.md
	harm    property
	explore func(stop property, limit int) result
}

func ledgerWithout(name string, f flaw, harm property, with ledgerModel) ablation {
	with.topic, with.claims, with.flaw = twoSources, true, f
	return ablation{name, harm, func(stop property, limit int) result { return explore(with, stop, limit) }}
}

func deliveryWithout(name string, f flaw, harm property) ablation {
	m := deliveryModel{jobs: 2, flaw: f}
	return ablation{name, harm, func(stop property, limit int) result { return explore(m, stop, limit) }}
}

func dedupWithout(name string, f flaw, harm property) ablation {
	m := upstream(5)
	m.flaw = f
	return ablation{name, harm, func(stop property, limit int) result { return explore(m, stop, limit) }}
}

var ablations = []ablation{
	ledgerWithout("entries by plain PUT", plainPut, mutate, ledgerModel{}),
	ledgerWithout("412 taken for won, not read back", refusedIsWon, loss, ledgerModel{}),
	ledgerWithout("412 taken for lost, files sealed again", ownIsLost, dup, ledgerModel{}),
	ledgerWithout("the body of an unresolved entry changes", changesBody, loss, ledgerModel{}),
	ledgerWithout("memory kept though the head moved", keepsMemory, dup, ledgerModel{}),
	ledgerWithout("no filter of streams", noFilter, dup, ledgerModel{}),
	ledgerWithout("reading from the committed offset", readsFromHint, dup, ledgerModel{hints: true}),
	ledgerWithout("the same, reset by an operator", readsFromHint, loss, ledgerModel{hints: true, resets: true}),
	{"another rule taken up over a filled filter", loss, func(stop property, limit int) result {
		return explore(ledgerModel{topic: twoRules, claims: true, reroute: true, flaw: reroutesAtOnce}, stop, limit)
	}},
	ledgerWithout("staged key by first offset", keyByFirst, mutate, ledgerModel{}),
	ledgerWithout("orphans deleted by age", orphansByAge, loss, ledgerModel{staging: true}),
	ledgerWithout("packs deleted whose entry is not there", packsByAge, loss, ledgerModel{packs: aPack}),
	ledgerWithout("packs held against names read before", staleNames, loss, ledgerModel{packs: aPack}),
	ledgerWithout("a pack's key without the entry's number", packOfContent, loss, ledgerModel{packs: aPack}),
	{"a pack's key without its sum, and no claims", mutate, func(stop property, limit int) result {
		// With claims a number belongs to its claimant alone, and this does no harm: 1,777,264
		// states.
		return explore(ledgerModel{topic: threeHours, packs: sameRangePacks, flaw: packOfRange}, stop, limit)
	}},
	ledgerWithout("local files trusted after another's entry", trustsForeign, dup, ledgerModel{disks: 1}),
	ledgerWithout("local files not held against the ledger", keepsEveryFile, dup, ledgerModel{disks: 1}),
	ledgerWithout("a local file kept that the ledger has in part", keepsPartFile, dup, ledgerModel{disks: 1}),
	deliveryWithout("a key for each attempt, the lock as safety", keyPerAttempt, dup),
	deliveryWithout("receipt before PUT", receiptFirst, i9),
	deliveryWithout("acknowledged before the receipt", ackFirst, i12),
	deliveryWithout("marked as done before the PUT", markFirst, i12),
	deliveryWithout("staged file deleted by age", stagedByAge, loss),
	deliveryWithout("a pack deleted with the first of its files", packByFile, loss),
	deliveryWithout("owed by the catalog: too much", catalogOwes, i7),
	deliveryWithout("owed by the catalog: too little", catalogOwes, i12),
	dedupWithout("a duplicate from its own offset on", dropsItself, loss),
	dedupWithout("ids noted of records in no file", notesPoison, loss),
	dedupWithout("duplicates counted by the watermark alone", duplicatesByLow, i2),
	dedupWithout("duplicates judged before the filter is asked", duplicatesFirst, i2),
	{"what is no line judged behind the filter", i2, func(stop property, limit int) result {
		m := poisonWithin
		m.flaw = poisonFilteredFirst
		return explore(m, stop, limit)
	}},
}

// limits are what the protocol does not promise, listed so that nobody comes to rely on it.
var limits = []ablation{
	{"an object taken away comes again, even after its receipt", again, func(stop property, limit int) result {
		return explore(deliveryModel{jobs: 1, moves: true}, stop, limit)
	}},
	{"a store that forgot an id lets it in again", twice, dedupWithout("", forgets, 0).explore},
}

func TestAblationsAreCaught(t *testing.T) {
	steps := pageSteps(t)
	for _, a := range append(ablations, limits...) {
		r := a.explore(a.harm, 1_000_000)
		t.Logf("%s: %s\n%s", a.name, r, list(r.trace))
		require.Equal(t, a.harm, r.broken, "%s: its harm was not found", a.name)
		require.Equal(t, fmt.Sprintf("%s %d", a.harm, len(r.trace)), steps[a.name], "schemas/protocol.md says otherwise of %q", a.name)
		delete(steps, a.name)
	}
	require.Empty(t, steps, "rows of schemas/protocol.md that nothing was run for")
}

// list formats a trace, one line per step.
func list(trace []string) string {
	var b strings.Builder
	for i, s := range trace {
		fmt.Fprintf(&b, "%5d %s\n", i+1, s)
	}
	return b.String()
}
