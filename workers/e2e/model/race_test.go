//go:build race

package model

// raceEnabled: the detector makes everything some ten times slower, and there
// is one goroutine.
const raceEnabled = true
