package simulation

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"strconv"
	"strings"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/objstore"
)

// final judges the world after everything has settled: every record is in every bucket that it is
// owed to, once, and nothing else is; every record that cannot be a line of a file is among the
// dead letters.
func (j *judge) final() {
	for i, name := range bucketNames {
		var want check.Expected
		j.expect(&want, destinationIDs[i])
		report, err := want.Check(j.w.buckets[name].objects(), check.Rules{Prefix: prefixes[name], Workers: 1})
		switch {
		case err != nil:
			j.promiseBroken("bucket %s: %v", name, err)
		case !report.OK():
			j.promiseBroken("bucket %s: lost %d, %v", name, report.Lost, report.Examples[:min(3, len(report.Examples))])
		}
	}
	dead := map[[2]int]bool{}
	for _, r := range j.w.kafka.topics[deadTopic][0].records {
		var at [2]int
		for _, h := range r.Headers {
			switch h.Key {
			case "sealift-partition":
				at[0], _ = strconv.Atoi(string(h.Value))
			case "sealift-offset":
				at[1], _ = strconv.Atoi(string(h.Value))
			}
		}
		dead[at] = true
	}
	for p, records := range j.w.workload.truth {
		for offset, r := range records {
			if c := j.chains[p]; r.double && c != nil && c.covered[int64(offset)] {
				j.w.stats.Faults["(copy delivered)"]++
			} else if r.double {
				j.w.stats.Faults["(copy dropped)"]++
			}
			if r.poison != dead[[2]int{p, offset}] {
				j.promiseBroken("record %d of partition %d belongs into a file: %v, is among the dead letters: %v", offset, p, !r.poison, r.poison)
			}
		}
	}
}

var prefixes = map[string]string{"one": "", "two": "logs", "three": ""}

// expect sets what a destination must contain. As long as the catalog has never changed, that
// follows from the source; otherwise the ledger says what was owed.
func (j *judge) expect(want *check.Expected, dest string) {
	for p, records := range j.w.workload.truth {
		owed := map[int64]bool{}
		if c := j.chains[p]; c != nil {
			for _, e := range c.entries {
				for _, f := range e.Files {
					for offset := f.First; offset <= f.Last; offset++ {
						r := records[offset]
						if r.source == f.Source && r.hour() == f.Hour && contains(f.Owed, dest) && (!r.double || c.covered[offset]) {
							owed[offset] = true
						}
					}
				}
			}
		}
		for offset, r := range records {
			always := len(j.w.customer.owed[r.source]) == 1 && contains(j.w.customer.owed[r.source][0].to, dest)
			if r.double { // delivered only if nobody remembered its first copy
				always = false
			}
			if !r.poison && (always || owed[int64(offset)]) {
				want.Record(r.source, r.received, []byte(r.line))
			}
		}
	}
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if s == one {
			return true
		}
	}
	return false
}

// objects yields all objects in a bucket for the check.
func (b *bucket) objects() func(yield func(check.Object, error) bool) {
	return func(yield func(check.Object, error) bool) {
		for info, err := range objstore.All(context.Background(), b.Memory, "") {
			if err != nil {
				yield(check.Object{}, err)
				return
			}
			head, err := b.Head(context.Background(), info.Key)
			o := check.Object{Key: info.Key, ContentType: head.ContentType, ContentEncoding: head.ContentEncoding, Metadata: head.Metadata,
				Open: func() (io.ReadCloser, error) {
					r, _, err := b.Get(context.Background(), info.Key)
					return r, err
				}}
			if !yield(o, err) {
				return
			}
		}
	}
}

// lines returns the lines of a part of an object, which is gzip, and the part's sha256.
func (b *bucket) lines(key string, from, size int64) (lines []string, sum string, err error) {
	r, err := b.GetRange(context.Background(), key, from, size)
	if err != nil {
		return nil, "", err
	}
	h := sha256.New()
	z, err := gzip.NewReader(io.TeeReader(r, h))
	if err != nil {
		return nil, "", err
	}
	s := bufio.NewScanner(z)
	for s.Scan() {
		lines = append(lines, s.Text())
	}
	return lines, hex.EncodeToString(h.Sum(nil)), s.Err()
}

// pointer is what jobs, receipts and parked jobs refer to.
type pointer struct {
	File struct {
		Topic       string `json:"topic"`
		Incarnation string `json:"incarnation"`
		Partition   int    `json:"partition"`
		Seq         int64  `json:"seq"`
		Index       int    `json:"index"`
	} `json:"file"`
	Destination string `json:"destination"`
}

// parseDebt parses the debt that a job, a receipt or a parked job is about.
func parseDebt(b []byte, parked bool) (debt, bool) {
	var p pointer
	var err error
	if parked {
		var whole struct {
			Job pointer `json:"job"`
		}
		err = json.Unmarshal(b, &whole)
		p = whole.Job
	} else {
		err = json.Unmarshal(b, &p)
	}
	return debt{p.File.Partition, p.File.Seq, p.File.Index, p.Destination}, err == nil && p.Destination != ""
}

// forge turns a job into one that is owed to nobody.
func forge(job []byte, dest string, more int) []byte {
	var all map[string]any
	if err := json.Unmarshal(job, &all); err != nil {
		return []byte("no job")
	}
	all["destination"] = dest
	file, _ := all["file"].(map[string]any)
	file["index"] = more
	b, _ := json.Marshal(all)
	return b
}

func compareDebts(a, b debt) int {
	return cmp.Or(cmp.Compare(a.partition, b.partition), cmp.Compare(a.seq, b.seq), cmp.Compare(a.index, b.index), strings.Compare(a.destination, b.destination))
}
