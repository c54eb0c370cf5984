package objstore

import (
	"net/http"
	"regexp"
	"strings"
)

// proof is what an Authorization header, a presigned URL or a session carries
// to prove who asks, as a header, a query or Go or JSON shows it.
var proof = regexp.MustCompile(`(?i)((?:signature|security-token)["']?\s*[:=]\s*[\["']*)[^\s"',&<>\]]+`)

// Redact returns a server's message without the signatures and session tokens
// of requests. Servers that want to be of help, and those that want to do harm,
// answer with what they were sent, and a message goes far: into logs, receipts
// and reports.
func Redact(message string) string { return proof.ReplaceAllString(message, "${1}***") }

// proofs are what a signed request proves by who asks.
func proofs(h http.Header) (all []string) {
	if token := h.Get("X-Amz-Security-Token"); token != "" {
		all = append(all, token)
	}
	if _, signature, ok := strings.Cut(h.Get("Authorization"), "Signature="); ok && signature != "" {
		all = append(all, signature)
	}
	return all
}

// conceal returns what a server said without the request's proofs, wherever they
// stand: Redact finds them only by what stands before them.
func (r *request) conceal(said string) string {
	for _, proof := range r.proofs {
		said = strings.ReplaceAll(said, proof, "***")
	}
	return said
}
