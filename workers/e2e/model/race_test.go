//go:build race

package model

// raceEnabled: the race detector makes everything some ten times slower, and there is only one
// goroutine.
const raceEnabled = true
