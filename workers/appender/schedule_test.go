package appender

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/dedup"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
	"github.com/sealift/sealift/pkg/stream"
)

// schedule is a random history of a partition, with a log and a ledger in memory and the files of
// its workers on disk.
type schedule struct {
	*rig       // for its chain
	t          *testing.T
	r          *rand.Rand
	log        []logged
	files      map[ledger.Stream][]string // lines that are in the ledger
	skips      map[string]int64           // records that the ledger counts as skipped, by reason
	workers    []*worker
	resumed    int // takeovers with local files
	duplicates int // copies that were left out
	copies     int // copies that passed
}

// worker is a process that owns the partition, or believes it does.
type worker struct {
	name      string
	partition *partition
	core      *core // nil: it is not running
	deduper   *deduper
}

// logged is a record of the log. Several records may hold the same message.
type logged struct {
	source   string // "": it cannot be routed
	received int64
	message  int
	unfit    bool // it belongs to a stream but fits no file
}

func (l logged) poison() bool { return l.source == "" || l.unfit }

func (l logged) line(offset int64) []byte {
	if l.unfit {
		return []byte("{\n}")
	}
	return fmt.Appendf(nil, `{"o":%d}`, offset)
}

func (l logged) key(store *deduper) dedup.Key {
	return store.Key(l.source, strconv.AppendInt(nil, int64(l.message), 10))
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{t: t, r: rand.New(rand.NewPCG(seed, 5)), files: map[ledger.Stream][]string{}, skips: map[string]int64{}}
	s.rig = newRig(t, Config{})
	s.chain = append(s.chain, &ledger.Entry{})
	at := t0
	for range 400 {
		at += s.r.Int64N(hour / 20)
		late := int64(0)
		if s.r.IntN(10) == 0 {
			late = s.r.Int64N(3 * hour)
		}
		source := fmt.Sprintf("s%d", s.r.IntN(3))
		if s.r.IntN(8) == 0 {
			source = "" // cannot be routed
		}
		message := len(s.log)
		if s.r.IntN(3) == 0 {
			message -= s.r.IntN(min(message, 1+s.r.IntN(100)) + 1) // sent again, by some source
		}
		s.log = append(s.log, logged{source: source, received: at - late, message: message, unfit: s.r.IntN(20) == 0})
	}
	// The second has the first one's name: its disk is a copy.
	for _, name := range []string{"w1", "w1", "w2"} {
		a, err := New(Config{DataDir: t.TempDir(), DedupWindow: 24 * time.Hour}, Deps{Log: endless{}, Rotator: s.rig, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		s.workers = append(s.workers, &worker{name: name, partition: &partition{appender: a, logger: a.deps.Logger, forget: new(pendingForget)}})
	}
	return s
}

// endless is a log that holds all offsets.
type endless struct{ Log }

func (endless) Bounds(context.Context, string, ...int) (map[int]stream.Bounds, error) {
	return map[int]stream.Bounds{0: {End: math.MaxInt64}}, nil
}

func (s *schedule) run() {
	for s.head.LowWatermark < int64(len(s.log)) {
		w := s.workers[[]int{0, 0, 0, 0, 0, 0, 0, 1, 2, 2}[s.r.IntN(10)]]
		if w.core == nil {
			if s.r.IntN(4) == 0 {
				s.takeOver(w)
			}
			continue
		}
		switch n := s.r.IntN(100); {
		case n < 60:
			s.read(w)
		case n < 75:
			s.seal(w.core)
			s.cut(w)
		case n < 85:
			s.save(w)
		case n < 90:
			s.kill(w)
		case n < 93: // a graceful restart
			s.save(w)
			w.deduper.close()
			w.deduper = nil
			s.kill(w)
			s.takeOver(w)
		case n < 94: // another worker claims it; this one keeps running without knowing
			s.takeOver(s.workers[s.r.IntN(len(s.workers))])
		case n < 95:
			s.copyDisk()
		case n < 97:
			s.kill(w)
			s.damage(w)
		}
	}
	for _, w := range s.workers {
		s.kill(w)
	}
	s.verify()
}

// verify checks the ledger against the log: of every message the first copy is in a file, and every
// record is in one file or counted under the right reason.
func (s *schedule) verify() {
	filed := map[string]bool{}
	for stream, got := range s.files {
		at := -1
		for _, line := range got {
			var o int
			_, err := fmt.Sscanf(line, `{"o":%d}`, &o)
			require.NoError(s.t, err)
			require.Greater(s.t, o, at, "stream %v", stream)
			require.Equal(s.t, stream, ledger.StreamOf(s.log[o].source, s.log[o].received))
			filed[line], at = true, o
		}
	}
	type message struct {
		source string
		id     int
	}
	known := map[message]bool{}
	want := map[string]int64{}
	for o, l := range s.log {
		line, m := l.line(int64(o)), message{l.source, l.message}
		switch {
		case l.source == "":
			want[route.ReasonSource]++
		case l.unfit:
			want[reasonLine]++
		case !filed[string(line)]:
			require.True(s.t, known[m], "offset %d: the first copy of %v is in no file", o, m)
			want[ledger.SkippedDuplicate]++
		default:
			s.copies += map[bool]int{true: 1}[known[m]]
			known[m] = true
		}
	}
	s.duplicates += int(want[ledger.SkippedDuplicate])
	require.Equal(s.t, want, s.skips, "records counted as skipped, by reason")
}

// takeOver does what a partition's goroutine does from the claim on.
func (s *schedule) takeOver(w *worker) {
	if w.core != nil { // it lost the partition earlier
		w.core.spool.Discard()
		w.deduper.close()
	}
	base, err := s.Acquire(s.t.Context(), ledger.Log{}, ledger.Tenure{Owner: w.name})
	require.NoError(s.t, err)
	w.core, err = w.partition.startCore(s.t.Context(), &takeover{base: base}, w.name)
	require.NoError(s.t, err)
	if w.core.position > base.LowWatermark {
		s.resumed++
	}
	w.deduper = w.partition.openDeduper(s.t.Context(), w.core, w.partition.entryWithRetry)
}

// save writes a checkpoint, sometimes only what a kill leaves of one.
func (s *schedule) save(w *worker) {
	if s.r.IntN(10) > 0 {
		w.deduper.Checkpoint()
	}
	if s.r.IntN(10) > 0 {
		_, err := w.core.save()
		require.NoError(s.t, err)
	}
}

// backfill reads a part of the log again, to remember its messages.
func (s *schedule) backfill(w *worker) {
	from, to, ok := w.deduper.NextFill()
	if !ok {
		return
	}
	newest := int64(0)
	for o := from; o < to; o++ {
		if l := s.log[o]; !l.poison() {
			w.deduper.Fill(l.key(w.deduper), o, l.received, t0+1000*hour)
			newest = max(newest, l.received)
		}
		if s.r.IntN(200) == 0 {
			return // the fetch failed
		}
	}
	w.deduper.FinishFill(from, to, newest)
}

// kill acts like kill -9: closing writes nothing.
func (s *schedule) kill(w *worker) {
	if w.deduper != nil {
		s.killDeduper(w)
	}
	if w.core != nil {
		w.core.spool.Close()
		w.core = nil
	}
}

// killDeduper closes the store and undoes what the close wrote.
func (s *schedule) killDeduper(w *worker) {
	dir := s.storeOf(w)
	was := dir + ".was"
	s.copyDir(dir, was)
	w.deduper.close()
	w.deduper = nil
	require.NoError(s.t, os.RemoveAll(dir))
	require.NoError(s.t, os.Rename(was, dir))
}

func (s *schedule) storeOf(w *worker) string {
	return filepath.Join(w.partition.appender.storesDir(), "0")
}

func (s *schedule) spoolOf(w *worker) string {
	return filepath.Join(w.partition.appender.spoolsDir(), "0")
}

// copyDisk gives the second worker the files of the first.
func (s *schedule) copyDisk() {
	s.kill(s.workers[1])
	for _, dir := range []func(w *worker) string{s.spoolOf, s.storeOf} {
		require.NoError(s.t, os.RemoveAll(dir(s.workers[1])))
		s.copyDir(dir(s.workers[0]), dir(s.workers[1]))
	}
}

// copyDir copies the files that exist; some may disappear meanwhile.
func (s *schedule) copyDir(from, to string) {
	names, _ := filepath.Glob(filepath.Join(from, "*"))
	require.NoError(s.t, os.MkdirAll(to, 0o700))
	for _, name := range names {
		b, err := os.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		require.NoError(s.t, err)
		require.NoError(s.t, os.WriteFile(filepath.Join(to, filepath.Base(name)), b, 0o600))
	}
}

// damage truncates a file, flips a bit in it, or deletes it.
func (s *schedule) damage(w *worker) {
	dir := []string{s.spoolOf(w), s.storeOf(w)}[s.r.IntN(2)]
	names, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(names) == 0 {
		return
	}
	name := names[s.r.IntN(len(names))]
	b, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) { // merged into another file meanwhile
		return
	}
	require.NoError(s.t, err)
	if len(b) == 0 || s.r.IntN(4) == 0 {
		require.NoError(s.t, os.Remove(name))
		return
	}
	at := s.r.IntN(len(b))
	if s.r.IntN(2) == 0 {
		b = b[:at]
	} else {
		b[at] ^= 1 << s.r.IntN(8)
	}
	require.NoError(s.t, os.WriteFile(name, b, 0o600))
}

func (s *schedule) read(w *worker) {
	c, now := w.core, t0+1000*hour
	c.cfg.maxRuns = s.r.IntN(10)
	if s.r.IntN(4) == 0 {
		s.backfill(w)
	}
	for range s.r.IntN(20) {
		if c.position >= int64(len(s.log)) {
			c.advanceTo(c.position, true, s.log[len(s.log)-1].received+s.r.Int64N(3*hour))
			return
		}
		l := s.log[c.position]
		if l.source == "" {
			require.NoError(s.t, c.skip(c.position, route.ReasonSource))
			continue
		}
		_, err := c.addUnlessDuplicate(w.deduper.Store, l.key(w.deduper), c.position, l.source, l.received, now, l.line(c.position))
		require.NoError(s.t, err)
	}
	w.deduper.AdvanceTo(c.position)
}

func (s *schedule) seal(c *core) {
	if s.r.IntN(4) == 0 {
		require.NoError(s.t, c.sealAll(segment.ReasonRequest))
	}
	require.NoError(s.t, c.sealDue())
	for stream, deadline := range c.open {
		require.Greater(s.t, deadline, c.progress, "%v is due but not sealed", stream)
		require.LessOrEqual(s.t, c.earliestDeadline, deadline, stream)
	}
}

// cut writes an entry like the rotator; it is lost if the head has moved.
func (s *schedule) cut(w *worker) {
	w.core.cfg.maxFiles = 1 + s.r.IntN(10)
	b := w.core.cut()
	if b == nil {
		return
	}
	if w.core.base != s.head {
		w.core.spool.Discard()
		w.deduper.close()
		w.core, w.deduper = nil, nil
		return
	}
	if s.r.IntN(10) == 0 { // killed before the entry was written
		s.kill(w)
		return
	}
	for _, f := range b.Files {
		s.files[f.Stream] = append(s.files[f.Stream], s.verifiedLines(f)...)
	}
	for reason, n := range b.Skipped {
		s.skips[reason] += n
	}
	s.head = follow(s.head, b)
	s.chain = append(s.chain, s.head)
	if s.r.IntN(10) == 0 { // killed before it learned that the entry was written
		s.kill(w)
		return
	}
	w.core.won(s.head)
}

// verifiedLines returns the lines of a file, after checking all figures of its metadata.
func (s *schedule) verifiedLines(f *segment.Sealed) []string {
	object, err := io.ReadAll(f.Reader())
	require.NoError(s.t, err)
	require.Equal(s.t, sha256.Sum256(object), f.SHA256)
	require.EqualValues(s.t, len(object), f.GzipBytes)
	all := lines(s.t, f)
	raw := []byte(strings.Join(all, "\n") + "\n")
	require.Equal(s.t, crc64nvme.Checksum(raw), f.RawCRC64)
	require.EqualValues(s.t, len(raw), f.RawBytes)
	require.EqualValues(s.t, bytes.Count(raw, []byte("\n")), f.Records)
	return all
}
