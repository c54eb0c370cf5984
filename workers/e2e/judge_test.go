//go:build stack

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/check"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/porttest"
)

// judgement is what an independent observer finds in the topic, the ledger, the receipts and the
// buckets.
type judgement struct {
	*filing

	n   *nemesis
	ids map[acked]int // number of records with an acknowledged id

	lines, objects    int64
	requests, answers map[string]int // requests to S3 by the roles
	entitled          map[string]int // number of files that must be owed, by destination id
	heard             time.Duration  // an upper bound for how long it took to hear of a claim
}

// judge waits until everything is delivered, stops the system, and checks everything.
func (n *nemesis) judge(ctx context.Context, input *load) {
	n.t.Helper()
	j := &judgement{
		filing: newFiling(newBooks(store(n.direct, n.s.staging()), n.s.eventsTopic())), n: n, ids: map[acked]int{}, entitled: map[string]int{},
	}
	j.drain(ctx)
	n.s3.waitForGhosts()
	for _, p := range n.s.appenders {
		n.addRecordsRead(ctx, p)
	}
	n.s.stop()
	j.requests, j.answers, _ = n.s3.counts()
	require.NoError(n.t, j.books.read(ctx)) // what was written while stopping
	j.readTopic(ctx)
	j.checkCoverage()
	j.checkOwed()
	j.checkBooks(ctx)
	for _, a := range input.acked {
		if j.ids[a] == 0 {
			j.problem("event %s of source %s was acknowledged, and is not in the topic", a.id, a.source)
		}
	}
	j.checkBuckets(ctx, input.acked)
	j.runVerify(ctx)
	j.report(input)
	for _, text := range j.problems[:min(len(j.problems), 40)] { // the report counts all of them
		n.t.Error(text)
	}
}

// drain waits until the ledger covers the topic and every debt is closed.
func (j *judgement) drain(ctx context.Context) {
	t, began, last := j.n.t, time.Now(), time.Now()
	require.NoError(t, j.books.read(ctx)) // the first read takes longer than the rest after an hour's run
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	ends := topicEnds(ctx, t, j.n.direct.kafka, j.n.s.eventsTopic())
	for {
		if err := j.books.read(ctx); ctx.Err() == nil {
			require.NoError(t, err)
		}
		behind := j.books.notSealedUpTo(ends)
		owed, open := j.books.countDebts()
		if len(behind) == 0 && open == 0 {
			j.n.logf("all is delivered %v after the last event: %d files owed", time.Since(began).Round(time.Millisecond), owed)
			return
		}
		for _, p := range j.n.s.all() {
			require.NoError(t, p.alive())
		}
		if time.Since(last) > 10*time.Second {
			last = time.Now()
			j.n.redrive(ctx)
			j.n.logf("draining: partitions %v are not sealed to their end, %d of %d files have no receipt", behind, open, owed)
		}
		select {
		case <-ctx.Done():
			require.Fail(t, "not everything was delivered in time", "partitions %v are not sealed to their end, %d of %d files have no receipt", behind, open, owed)
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// redrive does what people have to do after enabling a destination again: files that were tried
// while it was disabled are parked.
func (n *nemesis) redrive(ctx context.Context) {
	parked, err := store(n.direct, n.s.staging()).List(ctx, "parked/", "", 0)
	require.NoError(n.t, err)
	if len(parked) == 0 {
		return
	}
	config, err := n.s.config("redrive", porttest.Free(n.t), "")
	require.NoError(n.t, err)
	out, err := sealift(ctx, n.s.env(), "redrive", "--config", config)
	require.NoError(n.t, err)
	n.logf("%d files were parked: %s", len(parked), strings.TrimSpace(out))
}

// readTopic reads what Kafka has.
func (j *judgement) readTopic(ctx context.Context) {
	j.n.dumpEvents(ctx, func(d dumped) {
		id, err := j.record(d)
		require.NoError(j.n.t, err)
		j.ids[acked{d.source, id}]++
	})
}

func (n *nemesis) dumpEvents(ctx context.Context, each func(dumped)) {
	dump(ctx, n.t, n.direct.kafka, n.s.eventsTopic(), each)
}

// checkBooks compares ledger, staged files, receipts and buckets with each other, and holds that
// nothing is still parked or was ever written twice.
func (j *judgement) checkBooks(ctx context.Context) {
	report, err := j.n.s.checkInstallation(ctx, j.n.direct)
	require.NoError(j.n.t, err)
	for _, p := range report.Problems {
		j.problem("%s: %s: %s", p.Kind, p.Key, p.Detail)
	}
	for info, err := range objstore.All(ctx, j.books.staging, "parked/") {
		require.NoError(j.n.t, err)
		j.problem("still parked: %s", info.Key)
	}
	for _, prefix := range []string{"ledger/", "receipts/"} {
		j.checkUnchanged(ctx, j.n.s.staging(), prefix)
	}
}

// checkOwed holds I7 and I9: what a file is owed to is in the catalog; what the catalog had for
// long enough is owed, and was delivered.
func (j *judgement) checkOwed() {
	may, buckets := map[string][]string{}, map[string]string{} // destinations by source, and their buckets
	for _, w := range j.n.s.workspaces {
		for _, d := range w.destinations {
			id := w.id + "/" + d.name
			buckets[id] = d.bucket
			for _, source := range d.sources {
				may[source] = append(may[source], id)
			}
		}
	}
	for p, chain := range j.books.chains {
		for seq, e := range chain {
			for i := range e.Files {
				f := &e.Files[i]
				for _, d := range f.Owed {
					if !slices.Contains(may[f.Source], d) {
						j.problem("%s is owed to %s, which has no claim", f.StagedKey, d)
					}
					key := j.books.receiptKey(p, seq, i, d)
					if r := j.books.receipts[key]; r.Outcome != "delivered" || r.Bucket != buckets[d] {
						j.problem("receipt %s is of no delivery to %s: %+v", key, buckets[d], r)
					}
				}
				for _, d := range may[f.Source] {
					j.checkDue(f, d, time.UnixMilli(e.WrittenAt))
				}
			}
		}
	}
}

// checkDue compares a file with the claims of one of its source's destinations.
func (j *judgement) checkDue(f *bookFile, d string, written time.Time) {
	newest, owed := j.newest[f], slices.Contains(f.Owed, d)
	for _, c := range j.n.claims[d] {
		if c.requires(newest, written, j.n.calm) {
			j.entitled[d]++
			if !owed {
				j.problem("%s, whose newest record is of %v, is not owed to %s, enabled since %v", f.StagedKey, newest, d, c.from)
			}
		}
		if !owed && c.covers(written) {
			j.heard = max(j.heard, newest.Sub(c.from))
		}
	}
}

// checkBuckets reads what customers have: everything that is owed, once, and nothing else.
func (j *judgement) checkBuckets(ctx context.Context, all []acked) {
	expected := map[string]*check.Expected{} // by destination id
	owedIDs := map[string]map[acked]bool{}
	for _, w := range j.n.s.workspaces {
		for _, d := range w.destinations {
			expected[w.id+"/"+d.name], owedIDs[w.id+"/"+d.name] = new(check.Expected), map[acked]bool{}
		}
	}
	j.n.dumpEvents(ctx, func(d dumped) { // a second time, because lines are not kept
		r := j.find(d)
		if r == nil || r.file == nil {
			return
		}
		var line struct {
			MessageID string `json:"messageId"`
		}
		_ = json.Unmarshal(d.line, &line)
		for _, id := range r.file.Owed {
			if e := expected[id]; e != nil {
				e.Record(d.source, d.received, d.line)
				owedIDs[id][acked{d.source, line.MessageID}] = true
			}
		}
	})
	for _, w := range j.n.s.workspaces {
		for i, d := range w.destinations {
			id := w.id + "/" + d.name
			for _, a := range all {
				if owedIDs[id][a] || i == 0 && slices.Contains(d.sources, a.source) {
					expected[id].Acknowledge(a.source, a.id)
				}
			}
			report, err := expected[id].Check(objects(ctx, store(j.n.direct, d.bucket)), check.Rules{Prefix: d.prefix})
			require.NoError(j.n.t, err)
			j.n.logf("%s: %s", d.bucket, report)
			if !report.OK() || report.Ignored != 0 {
				j.problem("bucket %s: %s, %d foreign objects", d.bucket, report, report.Ignored)
			}
			if report.Lines == 0 || j.entitled[id] == 0 { // all are enabled in the end
				j.problem("bucket %s has %d lines, and %d files must be owed to it", d.bucket, report.Lines, j.entitled[id])
			}
			j.lines += report.Lines
			j.objects += report.Objects
			j.checkUnchanged(ctx, d.bucket, "")
		}
	}
}

// runVerify runs the operators' own tool, which must agree.
func (j *judgement) runVerify(ctx context.Context) {
	config, err := j.n.s.config("verify", porttest.Free(j.n.t), "")
	require.NoError(j.n.t, err)
	out, err := sealift(ctx, j.n.s.env(), "verify", "--deep", "--config", config)
	j.n.logf("sealift verify --deep:\n%s", out)
	if err != nil {
		j.problem("%v", err)
	}
}

// checkUnchanged holds that every object was written once and never deleted.
func (j *judgement) checkUnchanged(ctx context.Context, bucket, prefix string) {
	changed, err := changedObjects(ctx, j.n.direct, bucket, prefix)
	require.NoError(j.n.t, err)
	for _, key := range changed {
		j.problem("bucket %s: %s was written or deleted again", bucket, key)
	}
}

// report prints the figures of the run.
func (j *judgement) report(input *load) {
	n := j.n
	n.mu.Lock()
	defer n.mu.Unlock()
	var b strings.Builder
	row := func(name string, format string, args ...any) {
		fmt.Fprintf(&b, "  %-44s %s\n", name, fmt.Sprintf(format, args...))
	}
	lost := 0
	for _, a := range input.acked {
		if j.ids[a] == 0 {
			lost++
		}
	}
	_, _, faults := n.s3.counts()
	fmt.Fprintf(&b, "nemesis, %v:\n", time.Since(n.began).Round(time.Second))
	b.WriteString(" events\n")
	row("sent and acknowledged", "%d, %d of them sent again", len(input.acked), input.resent)
	row("acknowledged and not in Kafka", "%d", lost)
	row("records in Kafka", "%d, %d of them a message that was there", j.records, j.repeated)
	row("of those in files, skipped", "%d, %d", j.doubled, j.skipped)
	row("lines delivered", "%d in %d objects, from %d files", j.lines, j.objects, j.files)
	for _, w := range n.s.workspaces {
		for _, d := range w.destinations[1:] {
			row("files that must be owed to "+w.id[3:7]+"/"+d.name, "%d", j.entitled[w.id+"/"+d.name])
		}
	}
	row("problems", "%d", len(j.problems))
	b.WriteString(" faults\n")
	for _, name := range sorted(n.injected) {
		row(name, "%d", n.injected[name])
	}
	for _, name := range sorted(faults) {
		row("S3 requests: "+string(name), "%d", faults[name])
	}
	b.WriteString(" appenders\n")
	takeovers := j.takeovers()
	for _, kind := range sorted(takeovers) {
		took := takeovers[kind]
		row("next entry after "+kind, "median %v, longest %v, of %d partitions", took[len(took)/2].Round(100*time.Millisecond), took[len(took)-1].Round(100*time.Millisecond), len(took))
	}
	row("a catalog was heard of within", "%v", j.heard.Round(100*time.Millisecond))
	row("records read", "%d, %.2f times the topic", n.read, float64(n.read)/float64(j.records))
	b.WriteString(" S3 requests for each delivered object\n")
	for _, kind := range sorted(j.requests) {
		row(kind, "%.2f", float64(j.requests[kind])/float64(j.objects))
	}
	for _, kind := range sorted(j.answers) {
		row("answered "+kind, "%d", j.answers[kind])
	}
	n.t.Log(b.String())
}

// takeovers returns, for each kind of outage, how long the appender's partitions had no new entry;
// sorted.
func (j *judgement) takeovers() map[string][]time.Duration {
	took := map[string][]time.Duration{}
	for _, o := range j.n.outages {
		at := o.at.UnixMilli()
		for _, chain := range j.books.chains {
			for seq := range int64(len(chain)) - 1 {
				if e, next := chain[seq], chain[seq+1]; e != nil && next != nil && e.Owner == o.worker && e.WrittenAt <= at && next.WrittenAt > at {
					took[o.kind] = append(took[o.kind], time.Duration(next.WrittenAt-at)*time.Millisecond)
				}
			}
		}
	}
	for _, list := range took {
		slices.Sort(list)
	}
	return took
}
