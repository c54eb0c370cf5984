// Package igzip is pkg/deflate by means of Intel's ISA-L, for about half of the CPU. A build with
// the tag isal, cgo and libisal (Debian: libisal-dev) uses it for level 1 instead of pkg/deflate.
// Its output has other bytes, which inflate to the same.
//
// It promises what pkg/deflate promises, with one exception: equal input may give different bytes.
// What ISA-L 2.30 makes of short repetitions depends on where its memory lies.
package igzip
