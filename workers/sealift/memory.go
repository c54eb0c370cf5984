package main

import (
	"runtime/debug"
	"slices"
)

// GOGC of a process that is an appender alone, and of one that has other roles
// too. Most of an appender's memory is lines that wait for their block, which the collector need not look
// at: collecting at a quarter more than what lives costs a few thousandths of
// its CPU, and Go's double would let appender.memory's 512MiB become more than 1 GiB.
// Other roles make more garbage for what they hold.
const (
	appenderGC     = 25
	withAppenderGC = 50
)

// tuneGC sets what the environment (GOGC, GOMEMLIMIT) leaves open.
func tuneGC(roles []string, environ func(string) (string, bool)) {
	_, gc := environ("GOGC")
	_, limit := environ("GOMEMLIMIT")
	switch {
	case gc || limit || !slices.Contains(roles, appenderRole):
	case len(roles) == 1:
		debug.SetGCPercent(appenderGC)
	default:
		debug.SetGCPercent(withAppenderGC)
	}
}
