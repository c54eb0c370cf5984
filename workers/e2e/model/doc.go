// Package model has the delivery protocol (schemas/protocol.md) as state machines, and a checker
// that visits every state that they can reach. It is for whoever changes the protocol: a change
// begins here, and for a rule that is removed it shows the shortest sequence of steps that does
// harm.
//
// The ledger's part is in ledger.go (workers), ledger_put.go (the store), staging.go (orphans),
// packs.go and resume.go (local files); the delivery's in delivery.go and copier.go; that of
// duplicates in dedup.go. flaw.go has what the ablations leave out.
//
// It promises that a model which is called exhaustive was visited state by state, comparing whole
// states, without a bound on crashes, pauses, takeovers, claims and retries. The bounds are those
// in the page's table: records, workers, PUTs of entries under way, jobs. It does not look at the
// code: whether the code does what is modelled is verified by the code's own tests, the simulation
// and the tests on the real stack.
package model
