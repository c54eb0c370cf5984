package objstore

import (
	"net/http"
	"regexp"
	"strings"
)

// proof matches what proves a caller's identity in an Authorization header, a presigned URL or a
// session, as printed in headers, queries, Go or JSON.
var proof = regexp.MustCompile(`(?i)((?:signature|security-token)["']?\s*[:=]\s*[\["']*)[^\s"',&<>\]]+`)

// Redact returns a server's message without the signatures and session tokens of requests. Some
// servers, helpful or malicious, echo what they were sent, and messages go into logs, receipts and
// reports.
func Redact(message string) string { return proof.ReplaceAllString(message, "${1}***") }

// proofs returns the secrets of a signed request that prove the caller's identity.
func proofs(h http.Header) (all []string) {
	if token := h.Get("X-Amz-Security-Token"); token != "" {
		all = append(all, token)
	}
	if _, signature, ok := strings.Cut(h.Get("Authorization"), "Signature="); ok && signature != "" {
		all = append(all, signature)
	}
	return all
}

// conceal removes the request's proofs from what a server said, wherever they are. Redact
// recognizes them only by the text in front of them.
func (r *request) conceal(said string) string {
	for _, proof := range r.proofs {
		said = strings.ReplaceAll(said, proof, "***")
	}
	return said
}
