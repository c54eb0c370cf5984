package main

import (
	"runtime/debug"
	"slices"
)

// GOGC of a process that is only an appender, and of one that has other roles too. Most of an
// appender's memory is lines that wait for their block, which the garbage collector need not scan.
// Collecting when the heap has grown by a quarter therefore costs only a few thousandths of its
// CPU, whereas with Go's default (doubled) appender.memory's 512MiB could become more than 1 GiB.
// Other roles produce more garbage relative to what they hold.
const (
	appenderGC     = 25
	withAppenderGC = 50
)

// tuneGC sets GOGC of a process with an appender, unless the environment has GOGC or GOMEMLIMIT.
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
