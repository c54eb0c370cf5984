package config

import (
	"strings"

	"github.com/sealift/sealift/pkg/secret"
)

// withoutCredentials returns text without credentials that somebody may have written into an
// address: user:password@host, with or without a scheme, or the query of a presigned URL. Such
// values are refused, but a problem has to show which one is meant.
func withoutCredentials(text string) string {
	scheme, rest, isURL := strings.Cut(text, "://")
	if isURL {
		scheme += "://"
	} else {
		scheme, rest = "", text
	}
	if at := strings.LastIndexByte(rest, '@'); at >= 0 && (isURL || strings.Contains(rest[:at], ":") && !strings.HasPrefix(rest, "arn:")) {
		rest = secret.Mask + rest[at:]
	}
	if path, _, found := strings.Cut(rest, "?"); found && isURL {
		rest = path + "?" + secret.Mask
	}
	return scheme + rest
}
