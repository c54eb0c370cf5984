package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// storedReceipt is a receipt, as it is stored: as an object of its own, or as a line of a batch.
type storedReceipt struct {
	key string // of the object
	raw []byte
}

// batchKey is the key of a batch: the prefix of its entry's receipts, and the SHA-256 of its bytes.
var batchKey = regexp.MustCompile(`^(receipts/[^/]+/[^/]+/[0-9]{5,}/[0-9]{19}/)batch/([0-9a-f]{32})\.json$`)

// maxBatchReceipts is how many receipts a batch may have.
const maxBatchReceipts = 256

// receiptsByKey returns the receipts by the key that each has, or would have, as an object of its
// own. It leaves out lines of batches that close no debt, and reports them.
func (r *InstallationReport) receiptsByKey(objects map[string][]byte) map[string][]storedReceipt {
	all := map[string][]storedReceipt{}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		raw := objects[key]
		batch := batchKey.FindStringSubmatch(key)
		if batch == nil {
			all[key] = append(all[key], storedReceipt{key, raw})
			continue
		}
		sum := sha256.Sum256(raw)
		if count := bytes.Count(raw, []byte("\n")); hex.EncodeToString(sum[:16]) != batch[2] || count < 1 || count > maxBatchReceipts {
			r.addProblem(Untrue, key, "its %d lines have sha256 %x", count, sum)
		}
		n := 0
		for line := range bytes.Lines(raw) {
			n++
			var c receipt
			switch err := json.Unmarshal(line, &c); {
			case err != nil || c.Version != 1 || !bytes.HasSuffix(line, []byte("\n")):
				r.addProblem(Untrue, key, "line %d is no receipt: %v", n, err)
			case c.Outcome != "delivered" || !strings.HasPrefix(c.ref(), batch[1]):
				r.addProblem(Untrue, key, "line %d says %q of %s%s", n, c.Outcome, c.ref(), c.Destination)
			default:
				own := c.ref() + c.Destination + ".json"
				all[own] = append(all[own], storedReceipt{key, line})
			}
		}
	}
	return all
}
