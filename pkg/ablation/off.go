//go:build !ablation

package ablation

// On reports whether the bug is planted: never.
func On(Bug) bool { return false }
