//go:build stack

package e2e

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/plan"
	"github.com/sealift/sealift/pkg/stream"
)

var (
	peerNames   = flag.String("peers.names", "baseline sealift", "folders below scripts/peers or paths of folders, with @LEVEL unless peers.level applies")
	peerCount   = flag.Int("peers.events", 100_000, "events per topic")
	peerSources = flag.String("peers.sources", "50", "numbers of sources; each number gets a topic of its own")
	peerLevel   = flag.Int("peers.level", 6, "gzip level")
	peerRoll    = flag.Int("peers.roll", 120, "seconds after which programs that roll files by time end a file")
	peerLimit   = flag.Duration("peers.limit", 15*time.Minute, "time limit of a run")
	peerCommit  = flag.String("peers.commit", "", "commit of the binary that SEALIFT names")
	peerOut     = flag.String("peers.out", "", "file to which correct results are appended, one line of JSON each")
)

// peerSettle is how long CPU time is still counted after the last event: what follows a PUT, such
// as a receipt or a commit, is part of the work.
const peerSettle = 2 * time.Second

// peer is a program from Kafka to S3, and how it is run.
type peer struct {
	name, dir string
	level     int
}

// peerRun is what one run used, and its result.
type peerRun struct {
	plan.Run
	peerCounts
	Load string `json:"load"` // load of the machine in the last minute, at the end
}

// BenchmarkPeers runs Sealift and other programs in turns, from a full topic until every event is
// in S3, and has a judge count every line when they have ended. scripts/bench-peers.sh calls it,
// and says what a program has to do.
func BenchmarkPeers(b *testing.B) {
	ctx, cancel := signal.NotifyContext(b.Context(), os.Interrupt, syscall.SIGTERM) // peers do not end with this process
	defer cancel()
	rig := &peerRig{b: b, on: stackServers(b), bucket: fmt.Sprintf("peers-%x", time.Now().UnixNano()&0xffffffffff)}
	for _, bucket := range []string{rig.bucket, rig.bucket + "-state"} {
		require.NoError(b, rig.on.makeBucket(bucket))
	}
	peers := rig.peers()
	var topics []*peerEvents
	topic := map[*peerEvents]string{}
	client, err := stream.Open(stream.Config{Brokers: strings.Split(rig.on.kafka, ",")}, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	defer client.Close()
	for _, text := range strings.Fields(*peerSources) {
		sources, err := strconv.Atoi(text)
		require.NoError(b, err)
		// Two hours on two days, so that every source has two files whether files are per hour or
		// per day.
		e := &peerEvents{n: *peerCount, sources: sources, begin: time.Now().UTC().Truncate(24 * time.Hour).Add(-25 * time.Hour), span: 2 * time.Hour}
		topics, topic[e] = append(topics, e), fmt.Sprintf("peers-%d-%d-%s", e.n, sources, e.begin.Format(time.DateOnly))
		fillTopic(b, client, topic[e], systemPartitions, e.n, e.records())
	}
	for round := 0; b.Loop(); round++ {
		for _, events := range topics {
			for i := range peers {
				rig.measure(ctx, peers[(i+round)%len(peers)], events, topic[events])
			}
		}
	}
}

// peerRig is what all runs use.
type peerRig struct {
	b      *testing.B
	on     servers
	bucket string
	runs   int
}

func (r *peerRig) peers() (all []peer) {
	for _, spec := range strings.Fields(*peerNames) {
		path, text, own := strings.Cut(spec, "@")
		p := peer{name: filepath.Base(path), dir: path, level: *peerLevel}
		if !strings.Contains(path, "/") {
			p.dir = "../../scripts/peers/" + path
		}
		var err error
		if own {
			p.level, err = strconv.Atoi(text)
			require.NoError(r.b, err, spec)
		}
		p.dir, err = filepath.Abs(p.dir)
		require.NoError(r.b, err)
		require.FileExists(r.b, filepath.Join(p.dir, "start"))
		all = append(all, p)
	}
	return all
}

// measure runs one peer, records what it used, and marks the benchmark as failed if its output is
// wrong; the others still have their turn.
func (r *peerRig) measure(ctx context.Context, p peer, events *peerEvents, topic string) {
	r.runs++
	id := fmt.Sprintf("%s-%d-%s", r.bucket, r.runs, p.name)
	dir, err := os.MkdirTemp("", id)
	require.NoError(r.b, err)
	defer os.RemoveAll(dir)
	require.NoError(r.b, os.Mkdir(filepath.Join(dir, "state"), 0o700))
	log, err := os.Create(filepath.Join(dir, "log"))
	require.NoError(r.b, err)
	defer log.Close()
	cmd := exec.Command(filepath.Join(p.dir, "start"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = p.dir, log, log
	cmd.Env = append(environ(), "BOOTSTRAP="+r.on.kafka, "TOPIC="+topic, "GROUP="+id, "REDIS_URL="+r.on.redis,
		"S3_ENDPOINT="+r.on.s3, "BUCKET="+r.bucket, "STATE_BUCKET="+r.bucket+"-state", "PREFIX="+id+"/", "AWS_REGION="+r.on.region, "AWS_ACCESS_KEY_ID="+r.on.access, "AWS_SECRET_ACCESS_KEY="+r.on.secret,
		fmt.Sprintf("ROLL_SECS=%d", *peerRoll), fmt.Sprintf("GZIP_LEVEL=%d", p.level), fmt.Sprintf("SOURCES=%d", events.sources), "STATE_DIR="+filepath.Join(dir, "state"))
	watch, done := context.WithCancel(ctx)
	defer done()
	began := time.Now()
	tree, err := startTree(watch, cmd)
	require.NoError(r.b, err)
	defer tree.stop(0)

	last := r.drain(ctx, tree, events, id+"/", began)
	cpu, failed := tree.cpuBy(last.Add(peerSettle)), error(nil)
	select {
	case <-tree.ended:
		failed = tree.err
	default:
	}
	tree.stop(10 * time.Second)
	judge := r.read(ctx, newPeerJudge(events), id+"/", map[string]bool{})
	text, err := os.ReadFile("/proc/loadavg")
	require.NoError(r.b, err)
	rss := tree.peakRSS()
	line, err := json.Marshal(peerRun{
		Run: plan.Run{
			Label: p.name, Commit: *peerCommit, Time: began.UTC().Format(time.RFC3339), Machine: machine(), Partitions: systemPartitions, Hours: 2, Level: p.level,
			Events: int64(events.n), Bytes: events.bytes, Sources: events.sources, WallSeconds: max(0, judge.last.Sub(began).Seconds()),
			Files: judge.files, GzipBytes: judge.bytes, Roles: map[string]plan.Role{"all": {CPUSeconds: cpu.Seconds(), PeakRSS: rss, SumRSS: rss}},
		},
		peerCounts: judge.peerCounts, Load: strings.Fields(string(text))[0],
	})
	require.NoError(r.b, err)
	r.b.Logf("%s", line)
	if wrong := judge.problems(); wrong != "" || failed != nil {
		said, err := os.ReadFile(log.Name())
		require.NoError(r.b, err)
		r.b.Errorf("%s: %s (ended with %v)\n%s", p.name, cmp.Or(wrong, "all is there"), failed, said[max(0, len(said)-4000):])
	} else if *peerOut != "" {
		appendLine(r.b, *peerOut, line)
	}
	require.NoError(r.b, emptyBucket(ctx, r.on, r.bucket)) // so that the next one has disk space
}

// drain waits until every event is in S3, the program has ended, or its time is up, and returns
// when the last event arrived. To use little of the machine, it reads each object once, and only
// after no new ones have come for two seconds.
func (r *peerRig) drain(ctx context.Context, tree *processTree, events *peerEvents, prefix string, began time.Time) time.Time {
	judge, read, objects := newPeerJudge(events), map[string]bool{}, 0
	for over := false; !over; {
		select {
		case <-tree.ended:
			over = true
		case <-ctx.Done():
			require.NoError(r.b, ctx.Err())
		case <-time.After(2 * time.Second):
			over = time.Since(began) > *peerLimit
		}
		now := len(r.list(ctx, prefix))
		if now == objects || over {
			r.read(ctx, judge, prefix, read)
			over = over || judge.Missing == 0
		}
		objects = now
	}
	time.Sleep(time.Until(judge.last.Add(peerSettle)))
	tree.sample()
	return judge.last
}

// list returns objects, oldest first.
func (r *peerRig) list(ctx context.Context, prefix string) (all []objstore.Info) {
	for info, err := range objstore.All(ctx, store(r.on, r.bucket), prefix) {
		require.NoError(r.b, err)
		all = append(all, info)
	}
	slices.SortStableFunc(all, func(x, y objstore.Info) int { return x.LastModified.Compare(y.LastModified) })
	return all
}

// read has the judge read the objects that were not read yet.
func (r *peerRig) read(ctx context.Context, judge *peerJudge, prefix string, read map[string]bool) *peerJudge {
	from := store(r.on, r.bucket)
	for _, info := range r.list(ctx, prefix) {
		if read[info.Key] {
			continue
		}
		read[info.Key] = true
		body, _, err := from.Get(ctx, info.Key)
		require.NoError(r.b, err)
		text, err := io.ReadAll(body)
		require.NoError(r.b, errors.Join(err, body.Close()))
		judge.object(info.Key, info.LastModified, text)
	}
	return judge
}
