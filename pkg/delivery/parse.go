package delivery

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/ledger"
)

// Staged is what a staged object's key tells about it.
type Staged struct {
	Log         ledger.Log
	Stream      ledger.Stream
	First, Last int64  // offsets
	Sum         string // the first 16 hex digits of its sha256
}

// StagedPrefix lists all staged objects of one partition, by hour.
func StagedPrefix(l ledger.Log) string { return fmt.Sprintf("data/%s/", l) }

// ParseStagedKey is the inverse of StagedKey; ok is false for any key that
// StagedKey does not give.
func ParseStagedKey(key string) (s Staged, ok bool) {
	part := strings.Split(key, "/")
	if len(part) != 7 || part[0] != "data" {
		return Staged{}, false
	}
	name, isGzip := strings.CutSuffix(part[6], ".gz")
	rng := strings.Split(name, "-")
	if !isGzip || len(rng) != 3 {
		return Staged{}, false
	}
	partition, err1 := strconv.Atoi(part[3])
	hour, err2 := strconv.ParseInt(part[4], 10, 64)
	first, err3 := strconv.ParseInt(rng[0], 10, 64)
	last, err4 := strconv.ParseInt(rng[1], 10, 64)
	if err1 != nil || err2 != nil || err3 != nil || err4 != nil || len(rng[2]) != 16 {
		return Staged{}, false
	}
	s = Staged{
		Log:    ledger.Log{Topic: part[1], Incarnation: part[2], Partition: partition},
		Stream: ledger.Stream{Source: part[5], Hour: hour},
		First:  first, Last: last, Sum: rng[2],
	}
	f := ledger.File{Source: part[5], Hour: hour, First: first, Last: last, SHA256: s.Sum}
	return s, first <= last && StagedKey(s.Log, &f) == key
}

// ParseParkedKey is the inverse of ParkedKey; ok is false for any key that
// ParkedKey does not give.
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
	return r, destination, r.valid() && destination != "" && ParkedKey(r, destination) == key
}
