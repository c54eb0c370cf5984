package delivery

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/ledger"
)

// StagedObject is what the key of a staged object tells.
type StagedObject struct {
	Log         ledger.Log
	Stream      ledger.Stream // of a single file
	Pack        bool
	Seq         int64  // of a pack: the entry that it was made for
	First, Last int64  // offsets
	Sum         string // the first 16 hex digits of its sha256
}

// Settled reports whether an entry up to head names the object, or no entry ever will.
//
// Invariant: I11. Single file: its range is covered, so its records are in files that entries name,
// and no later entry can name another file with them. Pack: only the entry with its number may name
// it; that entry exists, is the only one with that number, and never changes (I1). A worker that
// still means to write it has already lost. Whether the pack's records are covered does not matter:
// another entry that comes to hold them names another object.
func (s StagedObject) Settled(head *ledger.Entry) bool {
	if s.Pack {
		return s.Seq <= head.Seq
	}
	return head.Covers(s.Stream, s.Last)
}

// StagedPrefix is the prefix of all staged objects of one partition: files by hour, then packs by
// entry.
func StagedPrefix(l ledger.Log) string { return fmt.Sprintf("data/%s/", l) }

// ParseStagedKey is the inverse of StagedKey and PackKey; ok is false for any key that neither of
// them returns.
func ParseStagedKey(key string) (s StagedObject, ok bool) {
	part := strings.Split(key, "/")
	if len(part) != 7 || part[0] != "data" {
		return StagedObject{}, false
	}
	name, isGzip := strings.CutSuffix(part[6], ".gz")
	offsets := strings.Split(name, "-")
	if !isGzip || len(offsets) != 3 {
		return StagedObject{}, false
	}
	partition, err1 := strconv.Atoi(part[3])
	first, err2 := strconv.ParseInt(offsets[0], 10, 64)
	last, err3 := strconv.ParseInt(offsets[1], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || first > last || len(offsets[2]) != 16 {
		return StagedObject{}, false
	}
	s = StagedObject{Log: ledger.Log{Topic: part[1], Incarnation: part[2], Partition: partition}, First: first, Last: last, Sum: offsets[2]}
	if part[4] == "packs" {
		s.Pack = true
		if s.Seq, err1 = strconv.ParseInt(part[5], 10, 64); err1 != nil {
			return StagedObject{}, false
		}
		return s, PackKey(s.Log, s.Seq, first, last, s.Sum) == key
	}
	hour, err := strconv.ParseInt(part[4], 10, 64)
	if err != nil {
		return StagedObject{}, false
	}
	s.Stream = ledger.Stream{Source: part[5], Hour: hour}
	f := ledger.File{Source: part[5], Hour: hour, First: first, Last: last, SHA256: s.Sum}
	return s, StagedKey(s.Log, &f) == key
}

// ParseParkedKey is the inverse of ParkedKey; ok is false for any key that ParkedKey does not
// return.
func ParseParkedKey(key string) (r FileRef, destination string, ok bool) {
	rest, isParked := strings.CutPrefix(key, ParkedPrefix(""))
	rest, isJSON := strings.CutSuffix(rest, ".json")
	part := strings.Split(rest, "/")
	n := len(part)
	if !isParked || !isJSON || n < 5 {
		return FileRef{}, "", false
	}
	seq, index, _ := strings.Cut(part[n-1], "-")
	partition, err1 := strconv.Atoi(part[n-2])
	s, err2 := strconv.ParseInt(seq, 10, 64)
	i, err3 := strconv.Atoi(index)
	if err1 != nil || err2 != nil || err3 != nil {
		return FileRef{}, "", false
	}
	r = FileRef{Topic: part[n-4], Incarnation: part[n-3], Partition: partition, Seq: s, Index: i}
	destination = strings.Join(part[:n-4], "/")
	return r, destination, r.valid() && IsDestination(destination) && ParkedKey(r, destination) == key
}
