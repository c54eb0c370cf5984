// Package simulation runs the production code of appender, rotator, copier and
// auditor in one process, under a scheduler that is a pure function of a seed,
// with everything around them faked: Kafka's logs and groups, the staging
// bucket, customers' buckets, Redis. It is for whoever changes the protocol or
// the code that keeps it.
//
// Every request of a role parks until the scheduler lets it happen, and the
// scheduler decides which one, how it ends (done, refused, done with its
// answer lost, done much later) and what breaks meanwhile: processes die, come
// back, sleep as zombies, groups rebalance, Redis forgets. At every step, and
// when the dust has settled, a judge that shares no code with the roles holds
// the world against what producers wrote.
//
// It promises that a seed is the same run every time, but for about one in 150
// in which a role finds two things ready at once, and but for the race
// detector, with which Go's scheduler takes what is ready by chance. It prints
// the fewest decisions of a failing seed that still fail. It does not simulate the
// network's protocols, nor Kafka's and Redis' own replication; the tests that
// run processes do. It holds tests only.
package simulation
