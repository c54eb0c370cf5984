// Package igzip is pkg/deflate by Intel's ISA-L, for about half of the CPU: a
// build with the tag isal, cgo and libisal (Debian: libisal-dev) takes it for
// level 1 in its place. What it writes is other bytes, which inflate to the same.
//
// It promises what pkg/deflate promises, but for one thing: equal input may give
// other bytes. What ISA-L 2.30 makes of short repetitions depends on where its memory lies.
package igzip
