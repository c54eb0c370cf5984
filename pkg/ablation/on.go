//go:build ablation

package ablation

import "sync/atomic"

var planted atomic.Uint64

// On reports whether the bug is planted.
func On(b Bug) bool { return planted.Load()&(1<<b) != 0 }

// Plant plants these bugs and no others.
func Plant(bugs ...Bug) {
	var set uint64
	for _, b := range bugs {
		set |= 1 << b
	}
	planted.Store(set)
}
