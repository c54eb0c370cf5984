package objstore

import (
	"net/http"
	"regexp"
	"strings"
)

// proofPattern matches what proves a caller's identity in an Authorization header, a presigned URL
// or a session, as printed in headers, queries, Go or JSON.
var proofPattern = regexp.MustCompile(`(?i)((?:signature|security-token)["']?\s*[:=]\s*[\["']*)[^\s"',&<>\]]+`)

// Redact returns a server's message without the signatures and session tokens of requests. Some
// servers, helpful or malicious, echo what they were sent, and messages go into logs, receipts and
// reports.
func Redact(message string) string { return proofPattern.ReplaceAllString(message, "${1}***") }

// requestSecrets returns the secrets of a signed request that prove the caller's identity.
func requestSecrets(h http.Header) (all []string) {
	if token := h.Get("X-Amz-Security-Token"); token != "" {
		all = append(all, token)
	}
	if _, signature, ok := strings.Cut(h.Get("Authorization"), "Signature="); ok && signature != "" {
		all = append(all, signature)
	}
	return all
}

// redact removes the request's secrets from what a server said, wherever they are. Redact
// recognizes them only by the text in front of them.
func (r *request) redact(text string) string {
	for _, secret := range r.secrets {
		text = strings.ReplaceAll(text, secret, "***")
	}
	return text
}
