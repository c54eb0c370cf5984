package delivery

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/sealift/sealift/pkg/ledger"
)

// StagedKey is the file's key in the staging bucket, below staging.prefix. It names the content, so
// its object is written once and never changes. It also names the range of offsets, which is needed
// to judge objects that no entry names (see ParseStagedKey).
//
//	data/{topic}/{incarnation}/{partition}/{hour-ms}/{source}/{first}-{last}-{sha256[:16]}.gz
func StagedKey(l ledger.Log, f *ledger.File) string {
	return StagedPrefix(l) + fmt.Sprintf("%d/%s/%d-%d-%s.gz", f.Hour, f.Source, f.First, f.Last, f.SHA256[:16])
}

// Files smaller than PackedBelow that are sealed together are staged together, in packs of at most
// PackBytes: their gzip members one after the other. workers/rotator/DESIGN.md explains why.
const (
	PackedBelow = 1 << 20 // 1 MiB, compressed
	PackBytes   = 8 << 20 // 8 MiB
)

// PackKey is the key in the staging bucket of a pack with files of entry seq. The files hold
// offsets from first to last; sum is the SHA-256 (hex) of the whole pack. Like StagedKey, it names
// the content, and in addition the only entry that may name the pack.
//
//	data/{topic}/{incarnation}/{partition}/packs/{seq, 19 digits}/{first}-{last}-{sha256[:16]}.gz
func PackKey(l ledger.Log, seq, first, last int64, sum string) string {
	return StagedPrefix(l) + fmt.Sprintf("packs/%019d/%d-%d-%s.gz", seq, first, last, sum[:16])
}

// nameSpace is the uuid v5 name space of file names.
var nameSpace = uuid.MustParse("5ea11f7d-0b1e-5c7a-9d3f-6b1f2a3c4d5e")

// FileName is the base name of the file in customers' buckets, {received-ms}.{12 hex}.{7
// hex}.{uuid}.gz: the time of its first record, the partition, the content, and a uuid v5 of
// partition, content and offsets. It is unique across days, sources and partitions.
func FileName(l ledger.Log, f *ledger.File) string {
	from := sha256.Sum256([]byte(l.String()))
	id := uuid.NewSHA1(nameSpace, fmt.Appendf(nil, "%s/%d-%d/%s", l, f.First, f.Last, f.SHA256))
	return fmt.Sprintf("%d.%s.%s.%s.gz", f.Received, hex.EncodeToString(from[:6]), f.SHA256[:7], id)
}

// ObjectKey is the file's key in a customer's bucket:
// [prefix/]segment-logs/{source}/{received-day-ms}/{name}.
//
// Invariant: I8, one key, one content: the key is a pure function of the ledger's file and the
// prefix.
func ObjectKey(prefix string, l ledger.Log, f *ledger.File) string {
	key := "segment-logs/" + f.Source + "/" + strconv.FormatInt(f.Stream().Day(), 10) + "/" + FileName(l, f)
	if prefix != "" {
		return prefix + "/" + key
	}
	return key
}

// TopicReceiptsPrefix is the prefix of all receipts for a topic, of every incarnation.
func TopicReceiptsPrefix(topic string) string { return "receipts/" + topic + "/" }

// ReceiptPrefix is the prefix of all receipts of one entry.
func ReceiptPrefix(l ledger.Log, seq int64) string {
	return fmt.Sprintf("receipts/%s/%019d/", l, seq)
}

// ReceiptKey is the key in staging of the receipt of a file at a destination.
func ReceiptKey(r FileRef, destination string) string {
	return ReceiptPrefix(r.Log(), r.Seq) + fmt.Sprintf("%05d/%s.json", r.Index, destination)
}

// ParseReceiptKey returns the index and destination of a key below a ReceiptPrefix; ok is false for
// any key that ReceiptKey does not return.
func ParseReceiptKey(prefix, key string) (index int, destination string, ok bool) {
	rest, found := strings.CutPrefix(key, prefix)
	if !found {
		return 0, "", false
	}
	idx, dest, found := strings.Cut(rest, "/")
	dest, isJSON := strings.CutSuffix(dest, ".json")
	n, err := strconv.Atoi(idx)
	return n, dest, found && isJSON && err == nil && n >= 0 && dest != "" && fmt.Sprintf("%05d", n) == idx
}

// BatchPrefix is the prefix of all batches of receipts of one entry. They are listed after the
// receipts that were written by themselves.
func BatchPrefix(l ledger.Log, seq int64) string { return ReceiptPrefix(l, seq) + "batch/" }

// BatchKey is the key in staging of a batch of receipts. It names the content, so a batch whose
// request is repeated is stored once.
func BatchKey(l ledger.Log, seq int64, batch []byte) string {
	sum := sha256.Sum256(batch)
	return BatchPrefix(l, seq) + hex.EncodeToString(sum[:16]) + ".json"
}

// IsBatchKey reports whether a key below a ReceiptPrefix is that of a batch.
func IsBatchKey(prefix, key string) bool {
	name, found := strings.CutPrefix(key, prefix+"batch/")
	name, isJSON := strings.CutSuffix(name, ".json")
	sum, err := hex.DecodeString(name)
	return found && isJSON && err == nil && len(sum) == 16 && hex.EncodeToString(sum) == name
}

// ParkedPrefix is the prefix of the parked jobs of a destination, or of all destinations for "".
func ParkedPrefix(destination string) string {
	if destination == "" {
		return "parked/"
	}
	return "parked/" + destination + "/"
}

// ParkedKey is the key of a parked job in staging.
func ParkedKey(r FileRef, destination string) string {
	return ParkedPrefix(destination) + fmt.Sprintf("%s/%019d-%05d.json", r.Log(), r.Seq, r.Index)
}

// ObjectMetadata is the user metadata of the file's object in a customer's bucket.
func ObjectMetadata(l ledger.Log, f *ledger.File) map[string]string {
	return map[string]string{
		"topic":        l.Topic,
		"partition":    strconv.Itoa(l.Partition),
		"first-offset": strconv.FormatInt(f.First, 10),
		"last-offset":  strconv.FormatInt(f.Last, 10),
		"records":      strconv.FormatInt(f.Records, 10),
		"sha256":       f.SHA256,
	}
}
