package objstore

import "regexp"

// proof is what an Authorization header, a presigned URL or a session carries
// to prove who asks, as a header, a query or Go or JSON shows it.
var proof = regexp.MustCompile(`(?i)((?:signature|security-token)["']?\s*[:=]\s*[\["']*)[^\s"',&<>\]]+`)

// Redact returns a server's message without the signatures and session tokens
// of requests. Servers that want to be of help, and those that want to do harm,
// answer with what they were sent, and a message goes far: into logs, receipts
// and reports.
func Redact(message string) string { return proof.ReplaceAllString(message, "${1}***") }
