package appender

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
)

// schedule is a random life of a partition, with a log and a ledger in memory.
type schedule struct {
	t      *testing.T
	r      *rand.Rand
	log    []logged
	head   *ledger.Entry
	files  map[ledger.Stream][]string // in the ledger
	bad    int64                      // records that the ledger counts as skipped
	worker *core
	zombie *core // a former owner that does not know it
}

type logged struct {
	source   string
	received int64
}

func newSchedule(t *testing.T, seed uint64) *schedule {
	s := &schedule{t: t, r: rand.New(rand.NewPCG(seed, 5)), head: entry(0), files: map[ledger.Stream][]string{}}
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
	s.worker = newTestCore(t, s.head)
	return s
}

func (s *schedule) run() {
	for s.head.LowWatermark < int64(len(s.log)) {
		switch n := s.r.IntN(100); {
		case n < 70:
			s.read(s.worker)
		case n < 75 && s.zombie != nil:
			s.read(s.zombie)
		case n < 85:
			s.seal(s.worker)
			s.cut(&s.worker)
		case n < 90 && s.zombie != nil:
			s.seal(s.zombie)
			s.cut(&s.zombie)
		case n < 93: // the partition moves; the former owner lives on
			s.zombie, s.worker = s.worker, newTestCore(s.t, s.head)
		case n < 95: // the owner dies
			s.worker = newTestCore(s.t, s.head)
		}
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
func (s *schedule) cut(c **core) {
	b := (*c).cut()
	if b == nil {
		return
	}
	base := (*c).base
	if base != s.head {
		*c = newTestCore(s.t, s.head)
		return
	}
	e := &ledger.Entry{Seq: base.Seq + 1, LowWatermark: b.LowWatermark}
	through := map[ledger.Stream]int64{}
	for _, th := range base.SealedThrough {
		through[ledger.Stream{Source: th.Source, Hour: th.Hour}] = th.Offset
	}
	for _, f := range b.Files {
		s.files[f.Stream] = append(s.files[f.Stream], lines(s.t, f)...)
		through[f.Stream] = f.Last
	}
	for st, o := range through {
		if o >= e.LowWatermark {
			e.SealedThrough = append(e.SealedThrough, ledger.Through{Source: st.Source, Hour: st.Hour, Offset: o})
		}
	}
	slices.SortFunc(e.SealedThrough, func(a, b ledger.Through) int { return int(a.Offset - b.Offset) })
	for _, n := range b.Skipped {
		s.bad += n
	}
	s.head = e
	(*c).won(e)
}
