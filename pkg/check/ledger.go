package check

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Kinds of problems that Installation.Check reports, besides Foreign: an object that no file of the
// ledger accounts for.
const (
	Broken  Kind = "broken"  // the ledger contradicts itself
	Owed    Kind = "owed"    // a debt without a receipt
	Untrue  Kind = "untrue"  // a receipt that does not match the ledger, or a bad batch of receipts
	Missing Kind = "missing" // an object that does not exist although the ledger or a receipt says so
	Changed Kind = "changed" // an object whose bytes are not those of the ledger
)

// Bucket is the content of a destination's bucket.
type Bucket struct {
	Prefix  string // of keys, without slashes at its ends
	Objects iter.Seq2[Object, error]
}

// Installation is everything that an installation has stored, when everything is delivered and no
// staged file has been deleted yet.
type Installation struct {
	Staging iter.Seq2[Object, error]
	Buckets map[string]Bucket // by destination, "workspace/name"
}

// InstallationReport is what Check found.
type InstallationReport struct {
	Entries, Files, Records, Objects int64
	Receipts                         int64 // debts with a receipt
	Problems                         []Problem
}

// OK tells whether nothing is wrong.
func (r *InstallationReport) OK() bool { return len(r.Problems) == 0 }

func (r *InstallationReport) addProblem(kind Kind, key, format string, args ...any) {
	r.Problems = append(r.Problems, Problem{Kind: kind, Key: key, Detail: fmt.Sprintf(format, args...)})
}

// entry and ledgerFile restate schemas/ledger.md, as far as it is judged here.
type entry struct {
	Version       int              `json:"version"`
	Seq           int64            `json:"seq"`
	Kind          string           `json:"kind"`
	Attempt       string           `json:"attempt"`
	Topic         string           `json:"topic"`
	Incarnation   string           `json:"incarnation"`
	Partition     int              `json:"partition"`
	Files         []ledgerFile     `json:"files"`
	Skipped       map[string]int64 `json:"skipped"`
	LowWatermark  int64            `json:"low_watermark"`
	SealedThrough []struct {
		Source string `json:"source"`
		Hour   int64  `json:"hour"`
		Offset int64  `json:"offset"`
	} `json:"sealed_through"`
	DispatchedThrough int64 `json:"dispatched_through"`
	CompleteThrough   int64 `json:"complete_through"`
	WrittenAt         int64 `json:"written_at"`

	key string
}

type ledgerFile struct {
	Source    string   `json:"source"`
	Hour      int64    `json:"hour"`
	Received  int64    `json:"received"`
	First     int64    `json:"first"`
	Last      int64    `json:"last"`
	Records   int64    `json:"records"`
	RawBytes  int64    `json:"raw_bytes"`
	GzipBytes int64    `json:"gzip_bytes"`
	RawCRC64  string   `json:"raw_crc64"`
	SHA256    string   `json:"sha256"`
	StagedKey string   `json:"staged_key"`
	StagedAt  int64    `json:"staged_at"`
	PackBytes int64    `json:"pack_bytes"` // 0: the object is only this file
	Owed      []string `json:"owed"`

	label string // the entry and index, for people
	ref   string // its place in receipts' keys
	log   string
	seq   int64
}

// stream is a source's hour in a partition.
type stream struct {
	source string
	hour   int64
}

const hourMs = 60 * 60 * 1000

// Check compares the ledger with itself (I1, I2), staged objects with it (I3, I4), receipts with
// both (I7, I9), and the objects of every bucket with all of these (I8). It reads every object, and
// keeps one line of each, or one pack, in memory. An error is one of reading, and means that
// nothing can be said.
func (b Installation) Check() (*InstallationReport, error) {
	r := &InstallationReport{}
	s, err := readStaging(r, b.Staging)
	if err != nil {
		return nil, err
	}
	var files []*ledgerFile
	for _, log := range slices.Sorted(maps.Keys(s.chains)) {
		files = append(files, r.checkChain(log, s.chains[log])...)
	}
	packs := map[string][]*ledgerFile{}
	for _, f := range files {
		if f.PackBytes > 0 {
			packs[f.StagedKey] = append(packs[f.StagedKey], f)
		} else {
			r.checkContent(f, f.StagedKey, s.staged)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(packs)) {
		if err := r.checkPack(key, s.packs, packs[key]); err != nil {
			return nil, err
		}
	}
	delivered := r.checkReceipts(files, s.receipts)
	for _, dest := range slices.Sorted(maps.Keys(b.Buckets)) {
		if err := r.checkBucket(b.Buckets[dest], delivered[dest]); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// staging is the operator's bucket.
type staging struct {
	chains   map[string][]*entry
	staged   map[string]payload
	packs    map[string]Object
	receipts map[string][]byte
}

func readStaging(r *InstallationReport, objects iter.Seq2[Object, error]) (*staging, error) {
	s := &staging{chains: map[string][]*entry{}, staged: map[string]payload{}, packs: map[string]Object{}, receipts: map[string][]byte{}}
	for o, err := range objects {
		if err != nil {
			return nil, err
		}
		root, rest, _ := strings.Cut(o.Key, "/")
		switch {
		case root == "data" && isPack(o.Key):
			s.packs[o.Key] = o // the ledger says what it consists of
		case root == "data":
			s.staged[o.Key], err = readBody(o)
		case root == "receipts":
			s.receipts[o.Key], err = readAll(o)
		case root == "ledger":
			var raw []byte
			if raw, err = readAll(o); err == nil {
				r.addEntry(s, o.Key, rest, raw)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

// addEntry decodes {topic}/{incarnation}/{partition}/{2^63-1 - seq}.json.
func (r *InstallationReport) addEntry(s *staging, key, rest string, raw []byte) {
	r.Entries++
	log, name := rest[:max(0, strings.LastIndexByte(rest, '/'))], rest[strings.LastIndexByte(rest, '/')+1:]
	var e entry
	n, err := strconv.ParseInt(strings.TrimSuffix(name, ".json"), 10, 64)
	if err == nil {
		err = json.Unmarshal(raw, &e)
	}
	switch claimed := fmt.Sprintf("%s/%s/%05d", e.Topic, e.Incarnation, e.Partition); {
	case err != nil || e.Version != 1:
		r.addProblem(Broken, key, "is no ledger entry: %v", err)
	case claimed != log || e.Seq != 1<<63-1-n:
		r.addProblem(Broken, key, "says that it is entry %d of %s", e.Seq, claimed)
	default:
		e.key = key
		s.chains[log] = append(s.chains[log], &e)
	}
}

// checkChain judges one chain, with all its streams at hand.
func (r *InstallationReport) checkChain(log string, entries []*entry) (files []*ledgerFile) {
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.Seq, b.Seq) })
	var (
		through = map[stream]int64{}
		tries   = map[string]bool{}
		former  *entry
		want    int64 // number
		counted = tally{from: entries[0].LowWatermark, ignored: entries[0].Seq != 0}
	)
	for _, e := range entries {
		if e.Seq != want {
			r.addProblem(Broken, fmt.Sprintf("%s entry %d", log, want), "is missing before %s", e.key)
		}
		want = e.Seq + 1
		if former != nil && (e.LowWatermark < former.LowWatermark || e.DispatchedThrough < former.DispatchedThrough ||
			e.CompleteThrough < former.CompleteThrough && former.CompleteThrough <= e.WrittenAt) {
			r.addProblem(Broken, e.key, "goes back: watermark %d after %d, dispatched %d after %d, complete %d after %d", e.LowWatermark, former.LowWatermark,
				e.DispatchedThrough, former.DispatchedThrough, e.CompleteThrough, former.CompleteThrough)
		}
		if tries[e.Attempt] {
			r.addProblem(Broken, e.key, "repeats attempt %q", e.Attempt)
		}
		tries[e.Attempt] = true
		if (e.Kind == "init") != (e.Seq == 0) || e.Kind != "seal" && len(e.Files) > 0 || e.Attempt == "" {
			r.addProblem(Broken, e.key, "is no entry %d of kind %q with %d files", e.Seq, e.Kind, len(e.Files))
		}
		for i := range e.Files {
			f := &e.Files[i]
			f.label, f.log, f.seq = fmt.Sprintf("%s file %d", e.key, i), log, e.Seq
			f.ref = fmt.Sprintf("receipts/%s/%019d/%05d/", log, e.Seq, i)
			r.checkFile(f, through, former)
			files = append(files, f)
		}
		r.checkFilter(e, through)
		r.checkOffsets(&counted, e)
		former = e
	}
	return files
}

// checkFile judges a file by itself and against the files before it.
func (r *InstallationReport) checkFile(f *ledgerFile, through map[stream]int64, former *entry) {
	r.Files++
	r.Records += f.Records
	s := stream{f.Source, f.Hour}
	if f.First > f.Last || f.Records < 1 || f.Records > f.Last-f.First+1 || f.Hour%hourMs != 0 || f.Received < f.Hour || f.Received >= f.Hour+hourMs ||
		!slices.IsSorted(f.Owed) || !validSource.MatchString(f.Source) || len(f.SHA256) != 64 {
		r.addProblem(Broken, f.label, "cannot be a file")
	}
	if want := stagedKey(f); f.PackBytes == 0 && f.StagedKey != want {
		r.addProblem(Broken, f.label, "is staged as %q, not %q", f.StagedKey, want)
	}
	if last, ok := through[s]; ok && f.First <= last || former != nil && f.First < former.LowWatermark {
		r.addProblem(Broken, f.label, "offsets %d to %d of %s/%d are in an earlier file", f.First, f.Last, f.Source, f.Hour)
	}
	through[s] = max(through[s], f.Last)
}

// checkFilter compares sealed_through with all files so far.
func (r *InstallationReport) checkFilter(e *entry, through map[stream]int64) {
	recorded := map[stream]int64{}
	for _, t := range e.SealedThrough {
		recorded[stream{t.Source, t.Hour}] = t.Offset
	}
	want := maps.Clone(through)
	maps.DeleteFunc(want, func(_ stream, last int64) bool { return last < e.LowWatermark })
	if !maps.Equal(recorded, want) {
		r.addProblem(Broken, e.key, "sealed_through says %v, its files %v", recorded, want)
	}
}

// tally adds up the files and skips of a chain.
type tally struct {
	from    int64 // the first watermark
	below   int64 // records below the watermark, or skipped
	above   []*ledgerFile
	early   map[int64]int64 // duplicates skipped while the filter reached up to an offset, by that offset
	ignored bool            // already reported, or cannot be determined
}

// checkOffsets checks the numbers: every offset below the watermark is one record in a file, or
// skipped. Of a file that reaches above the watermark, at least one and at most all but one of the
// records are below it.
func (r *InstallationReport) checkOffsets(t *tally, e *entry) {
	end := int64(-1)
	for _, s := range e.SealedThrough {
		end = max(end, s.Offset)
	}
	if e.Skipped["lost_in_kafka"] > 0 { // only an upper bound, so nothing after it can be counted
		t.ignored = true
	}
	for reason, n := range e.Skipped {
		if reason == "duplicate_message" && end >= e.LowWatermark {
			if t.early == nil {
				t.early = map[int64]int64{}
			}
			t.early[end] += n
		} else {
			t.below += n
		}
	}
	maps.DeleteFunc(t.early, func(end, n int64) bool {
		if end < e.LowWatermark {
			t.below += n
		}
		return end < e.LowWatermark
	})
	for i := range e.Files {
		t.above = append(t.above, &e.Files[i])
	}
	low := e.LowWatermark
	t.above = slices.DeleteFunc(t.above, func(f *ledgerFile) bool {
		if f.Last < low {
			t.below += f.Records
		}
		return f.Last < low
	})
	least, most := t.below, t.below
	for _, f := range t.above {
		if f.First < low {
			least, most = least+max(1, f.Records-(f.Last-low+1)), most+min(f.Records-1, low-f.First)
		}
	}
	for _, n := range t.early { // they may be below the watermark or not
		most += n
	}
	if offsets := low - t.from; !t.ignored && (least > offsets || most < offsets) {
		t.ignored = true
		r.addProblem(Broken, e.key, "%d offsets below the watermark, and %d to %d records in files or skipped", offsets, least, most)
	}
}

func readAll(o Object) ([]byte, error) {
	in, err := o.Open()
	if err != nil {
		return nil, fmt.Errorf("open object %q: %w", o.Key, err)
	}
	defer in.Close()
	b, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read object %q: %w", o.Key, err)
	}
	return b, nil
}
