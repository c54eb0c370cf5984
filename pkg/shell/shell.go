// Package shell quotes words in the commands that Sealift prints, for POSIX shells, so that a
// command can be pasted whatever a path, a prefix or a name contains.
//
// It quotes single words. It runs nothing and supports no other shells.
package shell

import (
	"regexp"
	"strings"
)

// plain matches words that need no quotes anywhere in a command except as its first word.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// QuoteIfNeeded returns the word as it must be written in a command, quoted only if necessary.
func QuoteIfNeeded(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return Quote(s)
}

// Quote returns the word in quotes.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
