// Package simulation runs the production code of appender, rotator, copier and auditor in one
// process, under a scheduler that is a pure function of a seed, with everything around them faked:
// Kafka's logs and groups, the staging bucket, customers' buckets, Redis. It is for whoever changes
// the protocol or the code that implements it.
//
// Every request of a role is held until the scheduler lets it happen. The scheduler decides which
// one is next, how it ends (done, refused, done with its answer lost, done much later) and what
// breaks meanwhile: processes die, come back (in some runs with another configuration), or pause as
// zombies, groups rebalance, Redis forgets. At every step, and when everything has settled, a judge
// that shares no code with the roles compares the world with what producers wrote.
//
// It promises that a seed gives the same run every time. Exceptions are about one run in 150, in
// which a role finds two things ready at once, and the race detector, under which Go's scheduler
// chooses randomly among what is ready. For a failing seed it prints the fewest decisions that
// still fail. It does not simulate network protocols, nor the replication within Kafka and Redis;
// the tests that run processes cover those. It has only tests.
package simulation
