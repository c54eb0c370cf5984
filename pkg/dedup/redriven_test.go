package dedup

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// seeLate is see for a record that was received long before now.
func seeLate(s *Store, message string, offset, received, now int64) (duplicate bool) {
	k := s.Key("source", []byte(message))
	if s.IsDuplicate(k, offset, received, now) {
		s.AdvanceTo(offset + 1)
		return true
	}
	s.Remember(k, offset, received, now)
	return false
}

// Redriven dead letters keep their times of receipt at new offsets. They are remembered as long as
// what was received beside them.
func TestRedrivenRecordsAreRemembered(t *testing.T) {
	const now = 10 * day
	s := open(t, t.TempDir())
	defer s.Close()
	s.Start(0)
	require.False(t, see(s, "before", 0, now-day/2))
	s.Checkpoint()
	for i := range int64(3) {
		require.False(t, seeLate(s, fmt.Sprint("letter", i), 1+i, 7*day+i, now))
	}
	s.Checkpoint()
	for i := range int64(3) {
		require.True(t, seeLate(s, fmt.Sprint("letter", i), 4+i, 7*day+i, now), "copy a minute later")
	}
	require.False(t, see(s, "after", 7, now))
	s.Checkpoint()
	require.True(t, seeLate(s, "letter0", 8, 7*day, now))
	require.True(t, see(s, "before", 9, now))
	require.False(t, see(s, "much later", 10, now+day))
	s.abandon() // runs that are being merged are not dropped
	s.Checkpoint()
	require.False(t, seeLate(s, "letter0", 11, 7*day, now+day), "out of the window")
}

// What lies below redriven records may be in the window. It is filled in whether they are read live
// or filled in.
func TestRedrivenRecordsDoNotEndFilling(t *testing.T) {
	const now = 10 * day
	for hazard, letters := range map[string]func(log []record) (from, to int){
		"read_live":                func(log []record) (int, int) { return len(log), len(log) + 3 },
		"filled_in":                func(log []record) (int, int) { return len(log) / 2, len(log)/2 + 3 },
		"filled_in_more_than_once": func(log []record) (int, int) { return len(log) / 3, len(log)/3 + 5000 },
	} {
		for restart, again := range map[string]bool{"": false, "_and_a_restart": true} {
			t.Run(hazard+restart, func(t *testing.T) {
				var log []record
				for i := range int64(20_000) {
					log = append(log, record{fmt.Sprint(i), now - day/2 + i})
				}
				from, to := letters(log)
				for i := from; i < to; i++ {
					if i == len(log) {
						log = append(log, record{fmt.Sprint(i), 0})
					}
					log[i].received = 7 * day
				}
				s, err := Open(Config{Dir: t.TempDir(), Rule: "test", Budget: NewBudget(400 << 10)})
				require.NoError(t, err)
				require.Equal(t, minSlots, s.cfg.Budget.homes(), "table is not the smallest")
				at := int64(20_000) // a new owner, without any memory
				s.Start(at)
				for ; at < int64(len(log)); at++ {
					require.False(t, seeLate(s, log[at].message, at, log[at].received, now))
				}
				s.Checkpoint()
				require.False(t, see(s, "now", at, now))
				at++
				s.Checkpoint()
				if again {
					s.Close()
					s, err = Open(Config{Dir: s.cfg.Dir, Rule: "test", Budget: NewBudget(400 << 10)})
					require.NoError(t, err)
					s.Start(at)
				}
				defer func() { s.Close() }()
				log = append(log, record{"now", now})
				fillAll(s, log)
				require.Zero(t, s.Stats().Gap)
				require.Zero(t, s.Stats().Cut)
				for o, rec := range log {
					require.True(t, seeLate(s, rec.message, at, rec.received, now), "message %d", o)
					at++
				}
			})
		}
	}
}

// However many records are redriven, those received beside them count.
func TestRedrivenRecordsAmongOthersDoNotEndFilling(t *testing.T) {
	s, err := Open(Config{Dir: t.TempDir(), Budget: NewBudget(400 << 10)})
	require.NoError(t, err)
	defer s.Close()
	const end = 4 * minStaleOffsets
	s.Start(end)
	received, filled := 9*day, int64(0)
	for {
		from, to, ok := s.NextFill()
		if !ok {
			break
		}
		s.FinishFill(from, to, received)
		received = 16*day - received // 9 and 7 days
		filled += to - from
	}
	require.EqualValues(t, end, filled)
}

// Redriven records do not end the filling when runs were lost and are read again either: what was
// out of the window before lies below them, not above.
func TestRedrivenRecordsDoNotEndRefilling(t *testing.T) {
	for hazard, c := range map[string]struct {
		end       int64
		meanwhile bool // runs are lost as the window ends, not later
	}{
		"all_was_filled":                 {end: minStaleOffsets - 4*minSlots},
		"the_window_ended":               {end: 2 * minStaleOffsets},
		"the_window_ended_and_runs_lost": {end: 2 * minStaleOffsets, meanwhile: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			s, err := Open(Config{Dir: t.TempDir(), Budget: NewBudget(400 << 10)})
			require.NoError(t, err)
			defer s.Close()
			s.Start(c.end)
			lose := func() {
				s.abandon()
				require.NotEmpty(t, s.runs)
				for len(s.runs) > 0 {
					s.dropRun(s.runs[0])
				}
			}
			floor := int64(0) // where the window ended first
			redriven := func(nth int) bool { return nth > 0 && nth < 1000 }
			fill := func() {
				for nth := 0; ; nth++ {
					from, to, ok := s.NextFill()
					if !ok {
						return
					}
					newest := map[bool]int64{true: 7 * day, false: 9 * day}[redriven(nth)]
					for o := from; o < to; o += 8 {
						s.Fill(s.Key("source", fmt.Append(nil, o)), o, newest, 9*day)
					}
					if c.meanwhile && floor == 0 && s.staleOffsets+to-from >= minStaleOffsets {
						lose()
						floor, nth = to, 980
					}
					s.FinishFill(from, to, newest)
				}
			}
			fill()
			if !c.meanwhile {
				floor = s.floor
				lose()
				redriven = func(nth int) bool { return nth < 20 }
				fill()
			}
			require.Equal(t, c.end > minStaleOffsets, floor > 0)
			require.Equal(t, floor, s.floor, "floor after everything above was filled in again")
		})
	}
}
