package appender

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
)

// schedule is a random life of a partition, with a log and a ledger in memory
// and the files of its workers on disk.
type schedule struct {
	*rig    // for its chain
	t       *testing.T
	r       *rand.Rand
	log     []logged
	files   map[ledger.Stream][]string // in the ledger
	bad     int64                      // records that the ledger counts as skipped
	workers []*worker
	resumed int // takeovers with local files
}

// worker is a process that may own the partition, or believe so.
type worker struct {
	name string
	p    *partition
	c    *core // nil: it does not run
}

type logged struct {
	source   string
	received int64
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{t: t, r: rand.New(rand.NewPCG(seed, 5)), files: map[ledger.Stream][]string{}}
	s.rig = newRig(t, Config{})
	at := t0
	for range 400 {
		at += s.r.Int64N(hour / 20)
		late := int64(0)
		if s.r.IntN(10) == 0 {
			late = s.r.Int64N(3 * hour)
		}
		source := fmt.Sprintf("s%d", s.r.IntN(5))
		if s.r.IntN(8) == 0 {
			source = "" // belongs nowhere
		}
		s.log = append(s.log, logged{source: source, received: at - late})
	}
	// The second has the first one's name: its disk was copied.
	for _, name := range []string{"w1", "w1", "w2"} {
		a, err := New(Config{DataDir: t.TempDir()}, Deps{Rotator: s.rig, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		s.workers = append(s.workers, &worker{name: name, p: &partition{a: a, lg: a.deps.Logger}})
	}
	return s
}

func (s *schedule) run() {
	for s.head.LowWatermark < int64(len(s.log)) {
		w := s.workers[[]int{0, 0, 0, 0, 0, 0, 0, 1, 2, 2}[s.r.IntN(10)]]
		if w.c == nil {
			if s.r.IntN(4) == 0 {
				s.takeOver(w)
			}
			continue
		}
		switch n := s.r.IntN(100); {
		case n < 60:
			s.read(w.c)
		case n < 75:
			s.seal(w.c)
			s.cut(w)
		case n < 85:
			_, err := w.c.save()
			require.NoError(s.t, err)
		case n < 90:
			s.kill(w)
		case n < 93: // a deploy
			_, err := w.c.save()
			require.NoError(s.t, err)
			s.kill(w)
			s.takeOver(w)
		case n < 94: // another owner, this one lives on and does not know
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
	total, bad := 0, int64(0)
	for _, l := range s.log {
		if l.source == "" {
			bad++
		}
	}
	require.Equal(s.t, bad, s.bad, "skipped records are counted once")
	for stream, got := range s.files {
		var want []string
		for o, l := range s.log {
			if ledger.StreamOf(l.source, l.received) == stream {
				want = append(want, fmt.Sprintf(`{"o":%d}`, o))
			}
		}
		require.Equal(s.t, want, got, "stream %v", stream)
		total += len(got)
	}
	require.Len(s.t, s.log, total+int(bad))
}

// takeOver is what a partition's goroutine does, from the claim on.
func (s *schedule) takeOver(w *worker) {
	if w.c != nil { // it lost the partition before
		w.c.spool.Discard()
	}
	base, err := s.Acquire(s.t.Context(), ledger.Log{}, ledger.Tenure{Owner: w.name})
	require.NoError(s.t, err)
	w.c, err = w.p.begin(s.t.Context(), base, w.name)
	require.NoError(s.t, err)
	if w.c.position > base.LowWatermark {
		s.resumed++
	}
}

// kill is kill -9: closing writes nothing.
func (s *schedule) kill(w *worker) {
	if w.c != nil {
		w.c.spool.Close()
		w.c = nil
	}
}

func (s *schedule) spoolOf(w *worker) string { return filepath.Join(w.p.a.spoolsDir(), "0") }

// copyDisk gives the second worker the files of the first.
func (s *schedule) copyDisk() {
	s.kill(s.workers[1])
	to := s.spoolOf(s.workers[1])
	require.NoError(s.t, os.RemoveAll(to))
	if _, err := os.Stat(s.spoolOf(s.workers[0])); err == nil {
		require.NoError(s.t, os.CopyFS(to, os.DirFS(s.spoolOf(s.workers[0]))))
	}
}

// damage cuts a file off, flips a bit of it or deletes it.
func (s *schedule) damage(w *worker) {
	names, _ := filepath.Glob(filepath.Join(s.spoolOf(w), "*"))
	if len(names) == 0 {
		return
	}
	name := names[s.r.IntN(len(names))]
	b, err := os.ReadFile(name)
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

func (s *schedule) read(c *core) {
	for range s.r.IntN(20) {
		if c.position >= int64(len(s.log)) {
			c.reached(c.position, true, s.log[len(s.log)-1].received+s.r.Int64N(3*hour))
			return
		}
		l := s.log[c.position]
		if l.source == "" {
			require.NoError(s.t, c.skip(c.position, route.ReasonSource))
			continue
		}
		require.NoError(s.t, c.add(c.position, l.source, l.received, t0+1000*hour, fmt.Appendf(nil, `{"o":%d}`, c.position)))
	}
}

func (s *schedule) seal(c *core) {
	if s.r.IntN(4) == 0 {
		require.NoError(s.t, c.sealAll(segment.ReasonRequest))
	}
	require.NoError(s.t, c.sealDue())
}

// cut writes an entry as the rotator does: it is lost if the head moved.
func (s *schedule) cut(w *worker) {
	w.c.cfg.maxFiles = 1 + s.r.IntN(10)
	b := w.c.cut()
	if b == nil {
		return
	}
	if w.c.base != s.head {
		w.c.spool.Discard()
		w.c = nil
		return
	}
	if s.r.IntN(10) == 0 { // killed before it was written
		s.kill(w)
		return
	}
	for _, f := range b.Files {
		s.files[f.Stream] = append(s.files[f.Stream], s.intact(f)...)
	}
	for _, n := range b.Skipped {
		s.bad += n
	}
	s.head = follow(s.head, b)
	s.chain = append(s.chain, s.head)
	if s.r.IntN(10) == 0 { // killed before it knew
		s.kill(w)
		return
	}
	w.c.won(s.head)
}

// intact returns the lines of a file whose every figure is right.
func (s *schedule) intact(f *segment.Sealed) []string {
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
