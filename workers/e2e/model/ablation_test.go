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
	ledgerWithout("entries are written by plain PUT", plainPut, mutate, ledgerModel{}),
	ledgerWithout("a 412 counts as won, without reading the entry back", refusedIsWon, loss, ledgerModel{}),
	ledgerWithout("a 412 counts as lost, and the files are sealed again", ownIsLost, dup, ledgerModel{}),
	ledgerWithout("an entry whose fate is unknown is sent again with another body", changesBody, loss, ledgerModel{}),
	ledgerWithout("a worker keeps its state although the head has moved", keepsMemory, dup, ledgerModel{}),
	ledgerWithout("a new owner starts without the filter", noFilter, dup, ledgerModel{}),
	ledgerWithout("reading starts at the committed offset", readsFromHint, dup, ledgerModel{hints: true}),
	ledgerWithout("the same, and an operator resets that offset", readsFromHint, loss, ledgerModel{hints: true, resets: true}),
	{"the routing rule changes while the filter is not empty", loss, func(stop property, limit int) result {
		return explore(ledgerModel{topic: twoRules, claims: true, reroute: true, flaw: reroutesAtOnce}, stop, limit)
	}},
	ledgerWithout("a staged file's key is its first offset", keyByFirst, mutate, ledgerModel{}),
	ledgerWithout("orphans are deleted by age", orphansByAge, loss, ledgerModel{staging: true}),
	ledgerWithout("packs are deleted although their entry does not exist", packsByAge, loss, ledgerModel{packs: aPack}),
	ledgerWithout("packs are compared with names read before they were listed", staleNames, loss, ledgerModel{packs: aPack}),
	ledgerWithout("a pack's key lacks the entry's number", packOfContent, loss, ledgerModel{packs: aPack}),
	{"a pack's key lacks its checksum, and there are no claims", mutate, func(stop property, limit int) result {
		// With claims a number belongs to its claimant alone, and this does no harm: 1,777,264
		// states.
		return explore(ledgerModel{topic: threeHours, packs: sameRangePacks, flaw: packOfRange}, stop, limit)
	}},
	ledgerWithout("local files are trusted after another worker's entry", trustsForeign, dup, ledgerModel{disks: 1}),
	ledgerWithout("local files are not compared with the ledger", keepsEveryFile, dup, ledgerModel{disks: 1}),
	ledgerWithout("a local file is kept although the ledger has a part of it", keepsPartFile, dup, ledgerModel{disks: 1}),
	deliveryWithout("each attempt has a key of its own, and only the lock protects", keyPerAttempt, dup),
	deliveryWithout("the receipt is written before the PUT", receiptFirst, i9),
	deliveryWithout("a job is acknowledged before its receipt is written", ackFirst, i12),
	deliveryWithout("the debt is marked as done before the PUT", markFirst, i12),
	deliveryWithout("staged files are deleted by age", stagedByAge, loss),
	deliveryWithout("a pack is deleted with the first of its files", packByFile, loss),
	deliveryWithout("the catalog decides what is owed when it is copied: too much", catalogOwes, i7),
	deliveryWithout("the catalog decides what is owed when it is copied: too little", catalogOwes, i12),
	dedupWithout("a record can be a duplicate of its own offset", dropsItself, loss),
	dedupWithout("ids of records in no file are remembered", notesPoison, loss),
	dedupWithout("duplicates are counted by the watermark alone", duplicatesByLow, i2),
	dedupWithout("duplicates are judged before the filter", duplicatesFirst, i2),
	{"records that are not lines are judged after the filter", i2, func(stop property, limit int) result {
		m := poisonWithin
		m.flaw = poisonFilteredFirst
		return explore(m, stop, limit)
	}},
}

// limits are what the protocol does not promise, listed so that nobody comes to rely on it.
var limits = []ablation{
	{"an object that was taken away comes back, even after its receipt", again, func(stop property, limit int) result {
		return explore(deliveryModel{jobs: 1, moves: true}, stop, limit)
	}},
	{"a store that forgot an id accepts it again", twice, dedupWithout("", forgets, 0).explore},
}

func TestAblationsAreCaught(t *testing.T) {
	steps := pageSteps(t)
	for _, a := range append(ablations, limits...) {
		r := a.explore(a.harm, 1_000_000)
		t.Logf("%s: %s\n%s", a.name, r, list(r.trace))
		require.Equal(t, a.harm, r.broken, "%s: the expected harm was not found", a.name)
		require.Equal(t, fmt.Sprintf("%s %d", a.harm, len(r.trace)), steps[a.name], "schemas/protocol.md differs on %q", a.name)
		delete(steps, a.name)
	}
	require.Empty(t, steps, "rows of schemas/protocol.md without an ablation")
}

// list formats a trace, one line per step.
func list(trace []string) string {
	var b strings.Builder
	for i, s := range trace {
		fmt.Fprintf(&b, "%5d %s\n", i+1, s)
	}
	return b.String()
}
