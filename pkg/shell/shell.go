// Package shell quotes words of the commands that Sealift prints, for POSIX
// shells, so that what is printed can be pasted whatever a path, a prefix or a name
// holds.
//
// It quotes single words. It runs nothing and knows no other shell.
package shell

import (
	"regexp"
	"strings"
)

// plain words mean themselves, wherever in a command they stand after its first word.
var plain = regexp.MustCompile(`^[A-Za-z0-9_@%+=:,./-]+$`)

// Word returns the word as it is written in a command, quoted only if it has to be.
func Word(s string) string {
	if plain.MatchString(s) {
		return s
	}
	return Quote(s)
}

// Quote returns the word in quotes.
func Quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
