package main

import (
	"runtime/debug"
	"slices"
)

// appenderGC is GOGC of a process that is an appender alone. Most of its
// memory is lines that wait for their block, which the collector need not look
// at: collecting at a quarter more than what lives costs a few thousandths of
// its CPU, and Go's double would let appender.memory's 512MiB become more than 1 GiB.
const appenderGC = 25

// tuneGC sets what the environment (GOGC, GOMEMLIMIT) leaves open.
func tuneGC(roles []string, environ func(string) (string, bool)) {
	_, gc := environ("GOGC")
	_, limit := environ("GOMEMLIMIT")
	if slices.Equal(roles, []string{appenderRole}) && !gc && !limit {
		debug.SetGCPercent(appenderGC)
	}
}
