package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"
)

// judgedRecord is one record of the events topic.
type judgedRecord struct {
	offset int64
	at     time.Time
	file   *bookFile
	first  *judgedRecord // the lowest offset in the partition with the same messageId, if it is another record
	seq    int64         // the entry that names file
}

// streamKey identifies a stream of a partition.
type streamKey struct {
	partition int32
	source    string
	hour      int64
}

func streamOf(d dumped) streamKey {
	return streamKey{d.partition, d.source, d.received - d.received%3_600_000}
}

// filing compares the events topic with the ledger: which record is in which file.
type filing struct {
	books    *books
	streams  map[streamKey][]*judgedRecord // by offset
	seen     map[string]*judgedRecord      // by partition, source and messageId
	newest   map[*bookFile]time.Time       // when the broker accepted the last of a file's records
	problems []string

	records, repeated, skipped, doubled, files int64
}

func newFiling(b *books) *filing {
	return &filing{books: b, streams: map[streamKey][]*judgedRecord{}, seen: map[string]*judgedRecord{}, newest: map[*bookFile]time.Time{}}
}

func (g *filing) problem(format string, args ...any) {
	g.problems = append(g.problems, fmt.Sprintf(format, args...))
}

// record adds the next record of a partition, and returns its messageId.
func (g *filing) record(d dumped) (messageID string, err error) {
	var line struct {
		MessageID string `json:"messageId"`
	}
	if err := json.Unmarshal(d.line, &line); err != nil {
		return "", err
	}
	key := fmt.Sprintf("%d %s %s", d.partition, d.source, line.MessageID)
	r := &judgedRecord{offset: d.offset, at: d.at, first: g.seen[key]}
	s := streamOf(d)
	g.streams[s] = append(g.streams[s], r)
	g.records++
	if r.first == nil {
		g.seen[key] = r
	} else {
		g.repeated++
	}
	return line.MessageID, nil
}

// find returns a record that was added, or nil.
func (g *filing) find(d dumped) *judgedRecord {
	records := g.streams[streamOf(d)]
	i, ok := slices.BinarySearchFunc(records, d.offset, func(r *judgedRecord, o int64) int { return int(r.offset - o) })
	if !ok {
		return nil
	}
	return records[i]
}

// checkCoverage holds I2: every record is in one file, or was skipped because a lower offset has
// the same message.
func (g *filing) checkCoverage() {
	var skipped int64
	for p, chain := range g.books.chains {
		for seq := range int64(len(chain)) {
			e := chain[seq]
			if e == nil {
				g.problem("partition %d: entry %d is missing", p, seq)
				continue
			}
			if seq > 0 && e.DispatchedThrough >= seq {
				g.problem("partition %d: entry %d says that the jobs of entry %d were written", p, seq, e.DispatchedThrough)
			}
			for i := range e.Files {
				g.addFile(p, seq, &e.Files[i])
			}
			for reason, n := range e.Skipped {
				g.skipped += n
				if reason != "duplicate_message" {
					g.problem("partition %d: entry %d skipped %d records: %s", p, seq, n, reason)
				}
			}
		}
	}
	for s, records := range g.streams {
		for _, r := range records {
			switch {
			case r.file != nil && r.first != nil:
				g.checkDuplicate(s, r)
			case r.file != nil:
			case r.first != nil:
				skipped++
			default:
				g.problem("partition %d offset %d of source %s is in no file", s.partition, r.offset, s.source)
			}
		}
	}
	if skipped != g.skipped {
		g.problem("%d records are in no file, the ledger counts %d as skipped", skipped, g.skipped)
	}
}

func (g *filing) addFile(p int32, seq int64, f *bookFile) {
	g.files++
	records := g.streams[streamKey{p, f.Source, f.Hour}]
	from, _ := slices.BinarySearchFunc(records, f.First, func(r *judgedRecord, o int64) int { return int(r.offset - o) })
	var in []*judgedRecord
	for _, r := range records[from:] {
		if r.offset > f.Last {
			break
		}
		in = append(in, r)
	}
	// The latest repetitions are the ones that were left out.
	for k := len(in) - 1; k >= 0 && int64(len(in)) > f.Records; k-- {
		if in[k].first != nil {
			in = slices.Delete(in, k, k+1)
		}
	}
	if int64(len(in)) != f.Records || len(in) == 0 || in[0].offset != f.First || in[len(in)-1].offset != f.Last {
		g.problem("partition %d entry %d: a file of source %s says %d records from %d to %d, the topic has %d", p, seq, f.Source, f.Records, f.First, f.Last, len(in))
	}
	for _, r := range in {
		if r.file != nil {
			g.problem("partition %d offset %d of source %s is in two files: %s and %s", p, r.offset, f.Source, r.file.StagedKey, f.StagedKey)
		}
		r.file, r.seq = f, seq
		if r.at.After(g.newest[f]) {
			g.newest[f] = r.at
		}
	}
}

// recallWithin is how long an owner may take during faults to read the log and remember what was in
// it when it came.
const recallWithin = 45 * time.Second

// checkDuplicate judges a message that was filed twice. A new owner without its disk lets
// duplicates pass until it has read the log again. An owner that filed the first copy itself, and
// has been there for a while, must not.
func (g *filing) checkDuplicate(s streamKey, r *judgedRecord) {
	g.doubled++
	chain := g.books.chains[s.partition]
	for seq := r.seq; seq >= 0 && chain[seq] != nil; seq-- {
		if e := chain[seq]; e.Kind != "seal" {
			came := time.UnixMilli(e.WrittenAt)
			if r.first.seq > seq && r.first.at.After(came) && r.at.Sub(came) > recallWithin {
				g.problem("partition %d offset %d of source %s is a message of offset %d again, and %s has owned it since %s",
					s.partition, r.offset, s.source, r.first.offset, e.Owner, came)
			}
			return
		}
	}
}
