package check

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// checkPack compares an object with the files that are supposed to be in it: one after the other,
// and nothing else.
func (r *InstallationReport) checkPack(key string, packs map[string]Object, files []*ledgerFile) error {
	first, last, end := files[0].First, files[0].Last, int64(0)
	for _, f := range files {
		first, last = min(first, f.First), max(last, f.Last)
	}
	oneFile := files[0]
	named := fmt.Sprintf("data/%s/packs/%019d/%d-%d-", oneFile.log, oneFile.seq, first, last)
	for _, f := range files {
		if !strings.HasPrefix(key, named) || f.log != oneFile.log || f.seq != oneFile.seq {
			r.addProblem(Broken, f.label, "is staged in %q, not in %s...", key, named)
		}
	}
	o, ok := packs[key]
	if !ok {
		for _, f := range files {
			r.addProblem(Missing, key, "%s is not there", f.label)
		}
		return nil
	}
	raw, err := readAll(o)
	if err != nil {
		return err
	}
	size := int64(len(raw))
	for _, f := range files {
		if f.StagedAt != end || f.PackBytes != size {
			r.addProblem(Broken, f.label, "lies at byte %d of the %d of %q, not at %d of %d", f.StagedAt, f.PackBytes, key, end, size)
		}
		end += f.GzipBytes
		from := min(max(0, f.StagedAt), size)
		b, err := inspect(bytes.NewReader(raw[from:min(size, from+max(0, f.GzipBytes))]))
		if err != nil {
			return err
		}
		r.checkContent(f, key, map[string]payload{key: b})
	}
	if sum := sha256.Sum256(raw); end != size || !strings.HasSuffix(key, "-"+hex.EncodeToString(sum[:8])+".gz") {
		r.addProblem(Changed, key, "%s: %d bytes of sha256 %x, its files have %d", oneFile.label, size, sum, end)
	}
	return nil
}

// isPack distinguishes a pack from a file of a source that is called packs.
func isPack(key string) bool {
	part := strings.Split(key, "/") // data, topic, incarnation, partition, "packs" or the hour, …
	return len(part) > 4 && part[4] == "packs"
}
