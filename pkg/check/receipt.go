package check

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha1" //nolint:gosec // of uuid v5
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"slices"
	"strings"
)

// receipt restates schemas/delivery.md.
type receipt struct {
	Version int `json:"version"`
	File    struct {
		Topic       string `json:"topic"`
		Incarnation string `json:"incarnation"`
		Partition   int    `json:"partition"`
		Seq         int64  `json:"seq"`
		Index       int    `json:"index"`
	} `json:"file"`
	Destination string `json:"destination"`
	Outcome     string `json:"outcome"`
	Key         string `json:"key"`
	SHA256      string `json:"sha256"`
	Bytes       int64  `json:"bytes"`
	Records     int64  `json:"records"`
}

// ref returns the place of the receipt's file in receipts' keys.
func (c *receipt) ref() string {
	return fmt.Sprintf("receipts/%s/%s/%05d/%019d/%05d/", c.File.Topic, c.File.Incarnation, c.File.Partition, c.File.Seq, c.File.Index)
}

// checkReceipts checks each debt's receipts, and reports receipts that belong to no debt. It
// returns the files that were delivered, by destination and by key without prefix: those of which
// any receipt says so.
func (r *InstallationReport) checkReceipts(files []*ledgerFile, objects map[string][]byte) map[string]map[string]*ledgerFile {
	delivered := map[string]map[string]*ledgerFile{}
	remaining := r.receiptsByKey(objects)
	for _, f := range files {
		for _, dest := range f.Owed {
			key := f.ref + dest + ".json"
			stored := remaining[key]
			delete(remaining, key)
			if len(stored) == 0 {
				r.addProblem(Owed, f.label, "no receipt of %s", dest)
				continue
			}
			r.Receipts++
			object := objectKey(f)
			for _, c := range stored {
				if r.checkReceipt(f, dest, c.key, object, c.raw) {
					if delivered[dest] == nil {
						delivered[dest] = map[string]*ledgerFile{}
					}
					delivered[dest][object] = f
				}
			}
		}
	}
	for _, own := range slices.Sorted(maps.Keys(remaining)) {
		for _, c := range remaining[own] {
			r.addProblem(Untrue, c.key, "a receipt of nothing that is owed: %s", own)
		}
	}
	return delivered
}

// checkReceipt reports whether the receipt says that the file was delivered.
func (r *InstallationReport) checkReceipt(f *ledgerFile, dest, key, object string, raw []byte) bool {
	var c receipt
	if err := json.Unmarshal(raw, &c); err != nil || c.Version != 1 {
		r.addProblem(Untrue, key, "is no receipt: %v", err)
		return true
	}
	if claimed := c.ref(); claimed != f.ref || c.Destination != dest {
		r.addProblem(Untrue, key, "says that it is of %s%s", claimed, c.Destination)
		return true
	}
	switch c.Outcome {
	case "skipped":
		return false
	case "delivered":
	default:
		r.addProblem(Untrue, key, "outcome %q", c.Outcome)
	}
	if c.SHA256 != f.SHA256 || c.Bytes != f.GzipBytes || c.Records != f.Records || c.Key != object && !strings.HasSuffix(c.Key, "/"+object) {
		r.addProblem(Untrue, key, "is of %d records in %d bytes, sha256 %s, at %s", c.Records, c.Bytes, c.SHA256, c.Key)
	}
	return true
}

// checkBucket compares a bucket with what was delivered there.
func (r *InstallationReport) checkBucket(p Bucket, delivered map[string]*ledgerFile) error {
	prefix := ""
	if p.Prefix != "" {
		prefix = p.Prefix + "/"
	}
	bodies := map[string]payload{}
	for o, err := range p.Objects {
		if err != nil {
			return err
		}
		inner, ok := strings.CutPrefix(o.Key, prefix)
		if !ok || delivered[inner] == nil {
			r.addProblem(Foreign, o.Key, "no file of the ledger is this object")
			continue
		}
		r.Objects++
		if bodies[o.Key], err = readBody(o); err != nil {
			return err
		}
	}
	for _, inner := range slices.Sorted(maps.Keys(delivered)) {
		r.checkContent(delivered[inner], prefix+inner, bodies)
	}
	return nil
}

// checkContent compares an object's bytes with the file.
func (r *InstallationReport) checkContent(f *ledgerFile, key string, bodies map[string]payload) {
	b, ok := bodies[key]
	switch {
	case !ok:
		r.addProblem(Missing, key, "%s is not there", f.label)
	case b.err != nil:
		r.addProblem(Changed, key, "%s: %v", f.label, b.err)
	case b.sum != f.SHA256 || b.bytes != f.GzipBytes || b.lines != f.Records || b.raw != f.RawBytes || fmt.Sprintf("%016x", b.crc) != f.RawCRC64:
		r.addProblem(Changed, key, "%s: %d lines, %d bytes of %d, sha256 %s, crc64 %016x", f.label, b.lines, b.bytes, b.raw, b.sum, b.crc)
	}
}

// payload is what is known about an object's bytes.
type payload struct {
	bytes, raw, lines int64
	sum               string
	crc               uint64
	err               error // why it is not a gzip file of one member
}

// nvme is the polynomial of CRC-64/NVME, reversed.
var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

func readBody(o Object) (payload, error) {
	in, err := o.Open()
	if err != nil {
		return payload{}, fmt.Errorf("open object %q: %w", o.Key, err)
	}
	defer in.Close()
	b, err := inspect(in)
	if err != nil {
		return payload{}, fmt.Errorf("read object %q: %w", o.Key, err)
	}
	return b, nil
}

func inspect(in io.Reader) (b payload, err error) {
	c := &hashingReader{r: in, sum: sha256.New()}
	stored := bufio.NewReader(c)
	b.err = b.unpack(stored)
	rest, err := io.Copy(io.Discard, stored)
	if b.err == nil && rest > 0 {
		b.err = errors.New("bytes after the first gzip member")
	}
	b.bytes, b.sum = c.n, hex.EncodeToString(c.sum.Sum(nil))
	return b, errors.Join(err, c.err)
}

// unpack reads the first gzip member, and nothing after it.
func (b *payload) unpack(stored *bufio.Reader) error {
	z, err := gzip.NewReader(stored)
	if err != nil {
		return err
	}
	z.Multistream(false)
	whole := true
	for line, err := range linesOf(z) {
		if err != nil {
			return err
		}
		b.lines, b.raw, b.crc = b.lines+1, b.raw+int64(len(line)), crc64.Update(b.crc, nvme, line)
		if whole = bytes.HasSuffix(line, []byte{'\n'}); whole && (line[0] != '{' || !json.Valid(line)) {
			return fmt.Errorf("line %d is not one JSON object", b.lines)
		}
	}
	if !whole {
		return errors.New("the last line has no newline")
	}
	return nil
}

// stagedKey and objectKey restate the names in schemas/delivery.md.
func stagedKey(f *ledgerFile) string {
	return fmt.Sprintf("data/%s/%d/%s/%d-%d-%.16s.gz", f.log, f.Hour, f.Source, f.First, f.Last, f.SHA256)
}

func objectKey(f *ledgerFile) string {
	from := sha256.Sum256([]byte(f.log))
	space, _ := hex.DecodeString("5ea11f7d0b1e5c7a9d3f6b1f2a3c4d5e")
	h := sha1.Sum(fmt.Appendf(space, "%s/%d-%d/%s", f.log, f.First, f.Last, f.SHA256)) //nolint:gosec // of uuid v5
	u := h[:16]
	u[6], u[8] = u[6]&0x0f|0x50, u[8]&0x3f|0x80
	return fmt.Sprintf("segment-logs/%s/%d/%d.%x.%.7s.%x-%x-%x-%x-%x.gz", f.Source, dayOf(f.Hour), f.Received, from[:6], f.SHA256, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
