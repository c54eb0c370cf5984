// Package model is the delivery protocol (schemas/protocol.md) as state
// machines, and a checker that visits every state that they can reach. It is
// for whoever changes the protocol: a change begins here, and a rule that is
// given up shows the shortest story of the harm that it does.
//
// The ledger's leg is in ledger.go (workers), ledger_put.go (the store),
// staging.go (orphans), packs.go and resume.go (local files); the customer's in
// delivery.go and copier.go; that of duplicates in dedup.go. flaw.go names
// what an ablation leaves out.
//
// It promises that a model which is called exhaustive was visited state by
// state, whole states being compared, with no bound on crashes, pauses,
// takeovers, claims and retries. It is bounded in what the page's table says:
// records, workers, PUTs of entries on their way at once, jobs at once. It does
// not look at the code: that the code does what is modelled is for its own
// tests, the simulation and the tests on the real stack.
package model
