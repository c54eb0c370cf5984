// Package spelling finds what somebody probably meant, for error messages about unknown keys, names
// and units that people typed.
//
// It compares a name with every known one, which is fine for short lists of short names.
package spelling

import "strings"

// Nearest returns the name that is most similar to word: the one with the fewest insertions,
// deletions, replacements and swaps of neighbours, ignoring case. Among equals it returns the
// first. It returns "" only if known is empty.
func Nearest(word string, known []string) string {
	best, least := "", -1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); least < 0 || d < least {
			best, least = k, d
		}
	}
	return best
}

// Suggest is like Nearest, but returns "" if even the nearest name is so different that proposing
// it would confuse.
func Suggest(word string, known []string) string {
	best := Nearest(word, known)
	limit := max(2, len(word)/3)
	if len(word) <= 3 {
		limit = 1 // with two of three letters changed, "get" would be "cat"
	}
	if distance(strings.ToLower(word), strings.ToLower(best)) > limit {
		return ""
	}
	return best
}

// distance is the optimal string alignment distance in bytes.
func distance(a, b string) int {
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := above[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(above[j]+1, row[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}
