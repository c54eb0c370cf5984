package simulation

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// judge compares the world, request by request, with what producers wrote. It reads the formats in
// schemas/ by itself and shares no code with the roles.
//
// It finds two kinds of violations. A broken promise is something that a customer or an operator
// sees. A broken rule is an invariant of the protocol, and another layer may still prevent
// consequences. With promisesOnly it ignores the rules.
type judge struct {
	w            *world
	promisesOnly bool

	sums             map[string]string // bucket/key -> sha256 of what was stored there last
	chains           map[int]*chain
	debts            map[debt]*debtState
	deliveredKeys    map[string]map[string]string // destination -> sha256 -> key
	allowed          map[string]map[string]bool   // destination -> sha256 of files that are owed to it
	debtsByStagedKey map[string][]debt            // by staged key that an entry names
	jobSeq           int
	receipts         int
	sent             map[string]int64 // number of requests of each kind, whatever became of them
}

// chain is what a partition's ledger says so far.
type chain struct {
	entries map[int64]*entry
	head    int64 // -1: empty
	low     int64
	through map[streamID]int64
	covered map[int64]bool // offsets in files
	checked int64          // every record below was found to be in a file, or poison
	poison  int64          // records below checked that do not belong in any file
	skipped int64
	dropped int64 // skipped as duplicates
}

type streamID struct {
	source string
	hour   int64
}

// debt is a file that is owed to a destination.
type debt struct {
	partition   int
	seq         int64
	index       int
	destination string
}

type debtState struct {
	sha        string
	receipt    bool
	parked     bool
	enqueuedAt int // when a job for it was last enqueued; 0: never
	requeuedAt int // when it was last put into a retry tier
}

// entry is what a ledger entry says; see schemas/ledger.md.
type entry struct {
	Seq       int64 `json:"seq"`
	Partition int   `json:"partition"`
	Files     []struct {
		Source    string   `json:"source"`
		Hour      int64    `json:"hour"`
		Received  int64    `json:"received"`
		First     int64    `json:"first"`
		Last      int64    `json:"last"`
		Records   int64    `json:"records"`
		SHA256    string   `json:"sha256"`
		StagedKey string   `json:"staged_key"`
		StagedAt  int64    `json:"staged_at"`
		PackBytes int64    `json:"pack_bytes"`
		GzipBytes int64    `json:"gzip_bytes"`
		Owed      []string `json:"owed"`
	} `json:"files"`
	Skipped           map[string]int64 `json:"skipped"`
	LowWatermark      int64            `json:"low_watermark"`
	CompleteThrough   int64            `json:"complete_through"`
	DispatchedThrough int64            `json:"dispatched_through"`
}

func newJudge(w *world) *judge {
	return &judge{w: w, promisesOnly: w.promisesOnly, sums: map[string]string{}, chains: map[int]*chain{}, debts: map[debt]*debtState{},
		deliveredKeys: map[string]map[string]string{}, allowed: map[string]map[string]bool{}, debtsByStagedKey: map[string][]debt{}, sent: map[string]int64{}}
}

func (j *judge) promiseBroken(format string, args ...any) {
	j.w.violated("broken promise: "+format, args...)
}

func (j *judge) ruleBroken(name, format string, args ...any) {
	if !j.promisesOnly {
		j.w.violated("broken rule "+name+": "+format, args...)
	}
}

// put judges an object that was just stored.
func (j *judge) put(b *bucket, key string, data []byte, _ *actor) {
	h := sha256.Sum256(data)
	sum := hex.EncodeToString(h[:])
	at := b.name + "/" + key
	before, again := j.sums[at]
	j.sums[at] = sum
	if b.name != "staging" {
		if again && before != sum {
			j.promiseBroken("object %s has changed", at)
		}
		j.delivered(b, key, sum)
		return
	}
	switch top, _, _ := strings.Cut(key, "/"); top {
	case "data":
		if again && before != sum {
			j.ruleBroken("I4", "staged object %s has changed", key)
		}
	case "ledger":
		if again {
			j.ruleBroken("I1", "entry %s was written over", key)
		}
		j.entry(key, data)
	case "receipts":
		if !again {
			for line := range bytes.Lines(data) {
				j.receipt(key, line)
			}
		}
	case "parked":
		if d, ok := parseDebt(data, true); ok {
			j.debt(d).parked = true
		}
	}
}

func (j *judge) debt(d debt) *debtState {
	s := j.debts[d]
	if s == nil {
		s = &debtState{}
		j.debts[d] = s
	}
	return s
}

// entry judges the ledger's next entry.
func (j *judge) entry(key string, data []byte) {
	var e entry
	if err := json.Unmarshal(data, &e); err != nil {
		j.ruleBroken("I1", "entry %s: %v", key, err)
		return
	}
	c := j.chains[e.Partition]
	if c == nil {
		c = &chain{entries: map[int64]*entry{}, head: -1, through: map[streamID]int64{}, covered: map[int64]bool{}}
		j.chains[e.Partition] = c
	}
	if old := c.entries[e.Seq]; old != nil {
		j.forget(old)
	} else if e.Seq != c.head+1 {
		j.ruleBroken("I1", "partition %d: entry %d follows %d", e.Partition, e.Seq, c.head)
	}
	c.entries[e.Seq] = &e
	c.head = max(c.head, e.Seq)
	if e.LowWatermark < c.low {
		j.ruleBroken("I2", "partition %d: entry %d takes the watermark back from %d to %d", e.Partition, e.Seq, c.low, e.LowWatermark)
	}
	for i := range e.Files {
		j.file(c, &e, i)
	}
	if e.Seq == c.head {
		c.low = e.LowWatermark
		j.watermark(c, &e)
		j.complete(c, &e)
	}
	for seq := range e.DispatchedThrough + 1 {
		if old := c.entries[seq]; old != nil {
			for _, d := range debtsOf(old) {
				if j.debts[d].enqueuedAt == 0 && !j.debts[d].receipt {
					j.ruleBroken("I10", "partition %d: entry %d says that all of entry %d was enqueued, %v was not", e.Partition, e.Seq, seq, d)
				}
			}
		}
	}
}

// truth returns what was written to a partition.
func (j *judge) truth(partition int) []writtenRecord {
	if partition >= len(j.w.workload.truth) {
		return nil
	}
	return j.w.workload.truth[partition]
}

// forget drops the debts of an entry that was overwritten.
func (j *judge) forget(e *entry) {
	for _, d := range debtsOf(e) {
		delete(j.debts, d)
	}
}

func debtsOf(e *entry) (ds []debt) {
	for i, f := range e.Files {
		for _, dest := range f.Owed {
			ds = append(ds, debt{e.Partition, e.Seq, i, dest})
		}
	}
	return ds
}

// file judges a file of an entry.
func (j *judge) file(c *chain, e *entry, i int) {
	f := &e.Files[i]
	s := streamID{f.Source, f.Hour}
	for _, dest := range f.Owed {
		d := j.debt(debt{e.Partition, e.Seq, i, dest})
		d.sha = f.SHA256
		if j.allowed[dest] == nil {
			j.allowed[dest] = map[string]bool{}
		}
		j.allowed[dest][f.SHA256] = true
		j.debtsByStagedKey[f.StagedKey] = append(j.debtsByStagedKey[f.StagedKey], debt{e.Partition, e.Seq, i, dest})
	}
	where := fmt.Sprintf("partition %d, entry %d, file %d", e.Partition, e.Seq, i)
	if last, ok := c.through[s]; ok && f.First <= last {
		j.ruleBroken("I2", "%s: it begins at %d, but the stream is in files up to %d", where, f.First, last)
	}
	c.through[s] = max(c.through[s], f.Last)
	// What a file is owed to is decided after all of it was read: what the catalog said before its
	// last record was written may be forgotten by then.
	var since time.Time
	if truth := j.truth(e.Partition); f.Last < int64(len(truth)) {
		since = truth[f.Last].at
	}
	if !j.w.customer.owes(f.Source, f.Owed, since) {
		j.promiseBroken("%s of %s is owed to %v, at no time since %v the catalog said so", where, f.Source, f.Owed, since)
	}
	from, size := f.StagedAt, f.GzipBytes
	if f.PackBytes == 0 {
		from, size = 0, 1<<40
	}
	lines, sum, err := j.w.staging.lines(f.StagedKey, from, size)
	if err != nil || sum != f.SHA256 {
		j.ruleBroken("I3", "%s: the entry names what is not staged: %v", where, err)
		return
	}
	var want []string
	truth := j.truth(e.Partition)
	for offset := f.First; offset <= f.Last && offset < int64(len(truth)); offset++ {
		if r := truth[offset]; !r.poison && r.source == f.Source && r.hour() == f.Hour {
			if r.double && !slices.Contains(lines, r.line) {
				continue
			}
			want = append(want, r.line)
			c.covered[offset] = true
		}
	}
	if !slices.Equal(want, lines) || int64(len(lines)) != f.Records || truth[f.First].received != f.Received {
		j.ruleBroken("I2", "%s holds %d records, not the %d that the log has of %v from %d to %d", where, len(lines), len(want), s, f.First, f.Last)
	}
}

// watermark judges what the watermark passes.
func (j *judge) watermark(c *chain, e *entry) {
	truth := j.truth(e.Partition)
	for reason, n := range e.Skipped {
		if reason == "duplicate_message" {
			c.dropped += n
		} else {
			c.skipped += n
		}
	}
	if e.LowWatermark > int64(len(truth)) {
		j.ruleBroken("I2", "partition %d: watermark %d lies above the log's end", e.Partition, e.LowWatermark)
		return
	}
	for ; c.checked < e.LowWatermark; c.checked++ {
		switch r := truth[c.checked]; {
		case r.poison:
			c.poison++
		case !c.covered[c.checked] && !r.double:
			j.ruleBroken("I2", "partition %d: record %d of %s lies below watermark %d, and in no file", e.Partition, c.checked, r.source, e.LowWatermark)
		}
	}
	dropped := int64(0)
	for offset, r := range truth {
		through, ok := c.through[streamID{r.source, r.hour()}]
		if r.double && !c.covered[int64(offset)] && (int64(offset) < e.LowWatermark || ok && int64(offset) <= through) {
			dropped++
		}
	}
	if dropped != c.dropped {
		j.ruleBroken("I2", "partition %d, entry %d: %d copies were dropped, the ledger says %d", e.Partition, e.Seq, dropped, c.dropped)
	}
	if c.skipped != c.poison && e.LowWatermark >= c.checked {
		j.ruleBroken("I2", "partition %d, entry %d: %d records were skipped below %d, the ledger says %d", e.Partition, e.Seq, c.poison, e.LowWatermark, c.skipped)
	}
}

// complete judges up to when everything that was received is in files. Stragglers are exempt: those
// that were written, or before which a record stands that was received, later than the grace allows.
func (j *judge) complete(c *chain, e *entry) {
	if j.w.staleLeaders { // the log's end is taken for where they say
		return
	}
	newest := int64(0)
	for offset, r := range j.truth(e.Partition) {
		straggler := max(newest, r.at.UnixMilli()) >= r.received+j.w.grace.Milliseconds()
		newest = max(newest, r.received)
		if r.received < e.CompleteThrough && !straggler && !c.covered[int64(offset)] && !r.poison && !r.double {
			j.promiseBroken("partition %d, entry %d says that everything received until %d is in files, record %d is not", e.Partition, e.Seq, e.CompleteThrough, offset)
			return
		}
	}
}

// delivered judges an object that a customer got.
func (j *judge) delivered(b *bucket, key, sum string) {
	dest := destinationIDs[slices.Index(bucketNames, b.name)]
	if !j.allowed[dest][sum] {
		j.ruleBroken("I7", "%s got %s, which the ledger does not owe it", dest, key)
	}
	if j.deliveredKeys[dest] == nil {
		j.deliveredKeys[dest] = map[string]string{}
	}
	if other := j.deliveredKeys[dest][sum]; other != "" && other != key {
		j.promiseBroken("%s got one file twice, as %s and %s", dest, other, key)
	}
	j.deliveredKeys[dest][sum] = key
}

// receipt judges a receipt, in an object of its own or in a batch.
func (j *judge) receipt(key string, data []byte) {
	var r struct {
		Outcome string `json:"outcome"`
		Bucket  string `json:"bucket"`
		Key     string `json:"key"`
		SHA256  string `json:"sha256"`
	}
	d, ok := parseDebt(data, false)
	if err := json.Unmarshal(data, &r); err != nil || !ok {
		j.ruleBroken("I9", "receipt %s: %v", key, err)
		return
	}
	of := fmt.Sprintf("receipts/%s/1/%05d/%019d/", eventsTopic, d.partition, d.seq)
	if key != of+fmt.Sprintf("%05d/%s.json", d.index, d.destination) && !strings.HasPrefix(key, of+"batch/") {
		j.ruleBroken("I9", "receipt %s is of %v", key, d)
	}
	s := j.debt(d)
	s.receipt = true
	j.receipts++
	if r.Outcome != "delivered" || s.sha != r.SHA256 || j.sums[r.Bucket+"/"+r.Key] != r.SHA256 {
		j.ruleBroken("I9", "receipt %s says that %s/%s was delivered, and it is not there", key, r.Bucket, r.Key)
	}
}

// beforeDelete judges an object that is about to be deleted.
func (j *judge) beforeDelete(b *bucket, key string) {
	if b.name != "staging" {
		j.promiseBroken("object %s of %s is deleted", key, b.name)
		return
	}
	if strings.HasPrefix(key, "ledger/") || strings.HasPrefix(key, "receipts/") {
		j.ruleBroken("I1", "%s is deleted", key)
	}
	if strings.HasPrefix(key, "parked/") {
		for d, s := range j.debts {
			if fmt.Sprintf("parked/%s/%s/1/%05d/%019d-%05d.json", d.destination, eventsTopic, d.partition, d.seq, d.index) == key {
				// It is about to be enqueued again; if that fails, it is parked again or found by
				// the auditor.
				j.jobSeq++
				s.parked, s.requeuedAt = false, j.jobSeq
			}
		}
	}
	// If an entry names it only later, that violates I3.
	for _, d := range j.debtsByStagedKey[key] {
		if s := j.debts[d]; s != nil && !s.receipt {
			j.ruleBroken("I4", "staged object %s is deleted, %v has no receipt", key, d)
		}
	}
}

// job records a job that was added to a topic.
func (j *judge) job(topic string, value []byte) {
	if !strings.HasPrefix(topic, jobsTopic) {
		return
	}
	j.jobSeq++
	if d, ok := parseDebt(value, false); ok {
		if s := j.debts[d]; s != nil {
			s.enqueuedAt = j.jobSeq
			if topic != jobsTopic {
				s.requeuedAt = j.jobSeq
			}
		}
	}
}

// committed judges an offset that a group commits.
func (j *judge) committed(g *group, topic string, partition int, from, to int64) {
	if topic == eventsTopic {
		if c := j.chains[partition]; c == nil || to > c.low {
			j.ruleBroken("I12", "offset %d of partition %d is committed, the ledger is not there yet", to, partition)
		}
		return
	}
	for _, r := range g.k.topics[topic][partition].records[max(0, min(from, to)):to] {
		d, ok := parseDebt(r.Value, false)
		s := j.debts[d]
		// A debt without a sha256 is owed to nobody: a forged job that was parked once, for example
		// while its destination's breaker was open.
		if !ok || s == nil || s.sha == "" || s.receipt || s.parked || r.Offset < g.k.topics[topic][partition].start {
			continue
		}
		if g.k.seqs[topicOffset{topic, partition, r.Offset}] >= s.requeuedAt {
			j.ruleBroken("I12", "the job %v at %s/%d@%d is acknowledged, and neither delivered, parked nor enqueued anew", d, topic, partition, r.Offset)
		}
	}
}

// nothingLeft says whether nothing is left to do.
func (j *judge) nothingLeft() bool {
	return j.missing() == ""
}

// missing says what is left to do, or "".
func (j *judge) missing() string {
	for p, l := range j.w.kafka.topics[eventsTopic] {
		if l.end() == 0 {
			continue
		}
		if c := j.chains[p]; c == nil || c.low < l.end() {
			return fmt.Sprintf("partition %d is read to its end at %d, its ledger is not there", p, l.end())
		}
	}
	for _, d := range slices.SortedFunc(maps.Keys(j.debts), compareDebts) {
		if s := j.debts[d]; s.sha != "" && !s.receipt {
			return fmt.Sprintf("%v has no receipt (parked: %v)", d, s.parked)
		}
	}
	for _, o := range j.w.waiting {
		if o.gone && o.lateEffect != nil {
			return "a ghost is on its way: " + o.String()
		}
	}
	return ""
}
