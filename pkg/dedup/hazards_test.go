package dedup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// If any byte of the head is damaged, nothing in the directory is used: under a seed that differs
// in one bit, the key of a short message is that of another one.
func TestEveryByteOfTheHeaderIsVerified(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	for o := range int64(1000) {
		require.False(t, see(s, strconv.FormatInt(o, 10), o, day))
	}
	s.Close()
	head, err := os.ReadFile(filepath.Join(s.cfg.Dir, "store"))
	require.NoError(t, err)
	for at := range head {
		for bit := range 8 {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(s.cfg.Dir)))
			bad := append([]byte(nil), head...)
			bad[at] ^= 1 << bit
			require.NoError(t, os.WriteFile(filepath.Join(dir, "store"), bad, 0o600))
			damaged := open(t, dir)
			require.Zero(t, damaged.Stats().IDs, "messages with bit %d of byte %d flipped", bit, at)
			damaged.Close()
		}
	}
}

// A log without messageIds is read again only as far back as the window, not as far as the log
// reaches.
func TestFillEndsAtTheWindowWithoutMessages(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	end, ranges := int64(10*fillSize), 0
	s.Start(end)
	for {
		from, to, ok := s.NextFill()
		if !ok {
			break
		}
		ranges++
		s.FinishFill(from, to, 20*day-(end-to)/fillSize*day*2/3) // 16 hours per range
	}
	require.Equal(t, 3, ranges)
}

// When a run above the range being filled is lost, its span is not joined with others across
// offsets that were not read.
func TestRunLostAboveTheFilledRange(t *testing.T) {
	var log []record
	for i := range int64(6 * fillSize) {
		log = append(log, record{fmt.Sprint(i), day})
	}
	end := int64(len(log))
	s := open(t, t.TempDir())
	defer s.Close()
	s.Start(end - 3*fillSize)
	for o := end - 3*fillSize; o < end; o++ {
		require.False(t, see(s, log[o].message, o, day))
	}
	s.Checkpoint()
	from, to, ok := s.NextFill()
	require.True(t, ok)
	for o := from; o < to; o++ {
		s.Fill(s.Key("source", []byte(log[o].message)), o, day, day)
	}
	s.FinishFill(from, to, day)
	s.abandon()
	for len(s.runs) > 0 {
		s.dropRun(s.runs[0])
	}
	fillAll(s, log)
	for o := int64(0); o < end; o += 101 {
		require.True(t, see(s, log[o].message, end+o, day), "message %d", o)
	}
}

// A clock that was far ahead for a moment, here or where records are received, does not end the
// window for good.
func TestClockThatWasAhead(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	now := time.Now().UnixMilli()
	require.False(t, see(s, "early", 0, now+100*day))
	s.Checkpoint()
	require.False(t, see(s, "m", 1, now))
	s.Checkpoint()
	require.True(t, see(s, "m", 2, now))
	s.Close()
	s = open(t, s.cfg.Dir)
	s.Start(3)
	require.True(t, see(s, "m", 3, now))
	s.Close()
}

// The same if the runs of that time are being merged when the first record comes.
func TestClockThatWasAheadDuringAMerge(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	now := time.Now().UnixMilli()
	for i := range int64(fanIn) {
		require.False(t, see(s, fmt.Sprint(i), i, now+100*day))
		s.flush(s.live)
	}
	s.abandon()
	s.Close()
	s = open(t, s.cfg.Dir)
	defer func() { s.Close() }()
	s.Start(fanIn)
	s.compact()
	require.NotNil(t, s.merge)
	require.True(t, see(s, "0", fanIn, now))
	<-s.merge.done
	s.compact()
	require.Len(t, s.runs, 1)
	require.False(t, see(s, "new", fanIn+1, now+day+1))
	require.False(t, see(s, "0", fanIn+2, now+day+1))
}

// A clock that is behind while a store is opened, as on a host that has just booted, ends the window
// for nothing once it is right.
func TestClockThatIsBehind(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	now := time.Now().UnixMilli()
	require.False(t, see(s, "m", 0, now+5*day))
	s.Close()
	s = open(t, s.cfg.Dir)
	defer func() { s.Close() }()
	s.Start(1)
	require.False(t, seeLate(s, "meanwhile", 1, now+5*day, now))
	s.Checkpoint()
	require.True(t, see(s, "m", 2, now+5*day))
	s.Checkpoint()
	require.True(t, see(s, "m", 3, now+5*day))
	require.False(t, see(s, "new", 4, now+6*day+1))
	s.Checkpoint()
	require.False(t, see(s, "m", 5, now+6*day+1))
}

// TestForgetUncertain: what is missing is never asked for again, whatever becomes of the runs, and
// what is certain to be in files stays known.
func TestForgetUncertain(t *testing.T) {
	for hazard, c := range map[string]struct {
		known  int64
		damage bool
		stays  bool
	}{
		"all_is_filed":                  {known: 20, stays: true},
		"a_message_is_not_filed":        {known: 10},
		"the_floor_has_rotted":          {known: 20, damage: true, stays: true},
		"nothing_is_filed_floor_rotted": {known: 0, damage: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			s.Start(10)
			require.False(t, see(s, "m", 10, day))
			s.Close()

			s = open(t, dir)
			s.Start(20)
			from, to, ok := s.NextFill()
			require.Equal(t, []any{int64(11), int64(20), true}, []any{from, to, ok})
			require.NoError(t, s.ForgetUncertain(c.known, 20)) // nothing was read in the meantime
			s.Close()
			if path := filepath.Join(dir, floorName); c.damage {
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				b[0]--
				require.NoError(t, os.WriteFile(path, b, 0o600))
			}
			for tenure := range int64(3) {
				s = open(t, dir)
				s.Start(20 + 2*tenure)
				_, _, ok := s.NextFill()
				require.False(t, ok)
				require.Equal(t, c.stays || tenure > 0, see(s, "m", 20+2*tenure, day))
				require.False(t, see(s, fmt.Sprint(tenure), 21+2*tenure, day))
				s.Checkpoint()
				s.Close()
			}
		})
	}
}

// TestForgetUncertainDropsUnfiledMessages: a killed reader had remembered more than it had filed,
// and the log then lost those records.
func TestForgetUncertainDropsUnfiledMessages(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start(0)
	require.False(t, see(s, "filed", 0, day))
	s.Checkpoint()
	require.False(t, see(s, "lost", 1, day))
	s.Checkpoint()
	s.abandon()
	kill(s)

	s = open(t, dir)
	s.Start(1)
	require.NoError(t, s.ForgetUncertain(1, 1))
	s.Close()
	s = open(t, dir)
	defer s.Close()
	s.Start(1)
	require.False(t, see(s, "other", 1, day))
	require.True(t, see(s, "filed", 2, day))
	require.False(t, see(s, "lost", 3, day))
}

// What was being filled in is forgotten, because it may be what the log holds in place of what it
// lost.
func TestForgetUncertainDropsTheBackfill(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	s.Start(10)
	_, _, ok := s.NextFill()
	require.True(t, ok)
	s.Fill(s.Key("source", []byte("new")), 9, day, day)
	require.NoError(t, s.ForgetUncertain(10, 10))
	s.Close()
	s = open(t, dir)
	defer s.Close()
	s.Start(10)
	require.False(t, see(s, "new", 10, day))
}

// TestForgetUncertainWithAFailingDisk: what cannot be written or deleted is reported as an error,
// and the next store does it again.
func TestForgetUncertainWithAFailingDisk(t *testing.T) {
	inTheWay := func(path string) (clear func()) { // makes writing and deleting the file at path fail
		_ = os.Remove(path)
		require.NoError(t, os.MkdirAll(filepath.Join(path, "x"), 0o700))
		return func() { require.NoError(t, os.RemoveAll(path)) }
	}
	for hazard, trouble := range map[string]func(s *Store) (clear func()){
		"the_floor_is_not_written": func(s *Store) func() { return inTheWay(filepath.Join(s.cfg.Dir, floorName+tmpSuffix)) },
		"a_run_is_not_deleted": func(s *Store) func() {
			path := s.runs[0].path
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			clear := inTheWay(path)
			return func() {
				clear()
				require.NoError(t, os.WriteFile(path, b, 0o600))
			}
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			s.Start(10)
			require.False(t, see(s, "lost", 10, day))
			s.Checkpoint()
			clear := trouble(s)
			require.Error(t, s.ForgetUncertain(10, 20))
			clear()
			s.Close()
			for range 2 {
				s = open(t, dir)
				require.NoError(t, s.ForgetUncertain(10, 20))
				s.Start(20)
				_, _, ok := s.NextFill()
				require.False(t, ok)
				require.False(t, s.IsDuplicate(s.Key("source", []byte("lost")), 20, day, day))
				s.Close()
			}
		})
	}
}

// TestDiscardKeepsTheFloor: the floor survives Discard, because a log that was cut twice holds
// records below it that are in no file.
func TestDiscardKeepsTheFloor(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, Discard(filepath.Join(dir, "none")))
	s := open(t, dir)
	s.Start(10)
	require.False(t, see(s, "a", 10, day))
	require.NoError(t, s.ForgetUncertain(20, 20))
	require.NoError(t, s.Discard())
	s = open(t, dir)
	defer s.Close()
	s.Start(30)
	require.False(t, see(s, "a", 30, day), "message after Discard")
	from, to, ok := s.NextFill()
	require.Equal(t, []any{int64(20), int64(30), true}, []any{from, to, ok})
}
