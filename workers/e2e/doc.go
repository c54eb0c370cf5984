// Package e2e has only tests: of the structure of the source tree, and of the whole system, in
// which real processes of the built binary carry real events from the collector to a customer's
// bucket while they are killed and their servers are restarted. It is for anybody who wants to
// verify the promises of the README.
//
// It promises that every run is judged by pkg/check, which shares no code with what it judges. It
// does not test roles by themselves; their packages do.
package e2e
