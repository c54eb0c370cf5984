// Package e2e holds tests only: of the shape of the source tree, and of the
// whole system, in which real processes of the built binary carry real events
// from the collector to a customer's bucket while they are killed and their
// servers are restarted. It is for whoever wants to believe the promises of
// the README.
//
// It promises that the judge of every run is pkg/check, which shares no code
// with what it judges. It does not test roles by themselves; their packages
// do.
package e2e
