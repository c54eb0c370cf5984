package catalog

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"regexp"
)

var (
	workspaceID = regexp.MustCompile(`^ws_[0-9A-Za-z]{16,40}$`)
	// sourceID becomes part of object keys, of IAM resources and of local paths.
	sourceID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	writeKey = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)
	keyHash  = regexp.MustCompile(`^[0-9a-f]{64}$`)
	destName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
)

// ReservedSourceID is a folder below segment-logs/ that belongs to no source. It is for the trial
// files of `sealift destinations check --write` and `migrate`.
const ReservedSourceID = "sealift-check"

// NewWorkspaceID returns a new workspace id. It is a random sts:ExternalId that no customer chose,
// which prevents confused-deputy attacks.
func NewWorkspaceID() string { return "ws_" + random(22) }

// NewSourceID returns a new source id.
func NewSourceID() string { return random(22) }

// NewWriteKey returns a new write key. It is a secret of its source.
func NewWriteKey() string { return "wk_" + random(32) }

// HashKey returns the form in which a write key is stored: its hex SHA-256. Keys are random, so the
// hash needs no salt, and looking it up takes the same time for every key.
func HashKey(key string) string {
	sum := sha256.Sum256([]byte(key))
	return hex.EncodeToString(sum[:])
}

// random returns n random letters and digits, 5.95 bits each.
func random(n int) string {
	const alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	out := make([]byte, 0, n)
	for b := make([]byte, 2*n); len(out) < n; {
		_, _ = rand.Read(b) // never fails
		for _, x := range b {
			if int(x) < 256/len(alphabet)*len(alphabet) && len(out) < n { // otherwise some letters would be more likely
				out = append(out, alphabet[int(x)%len(alphabet)])
			}
		}
	}
	return string(out)
}
