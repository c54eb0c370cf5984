package dedup

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const day = int64(24 * time.Hour / time.Millisecond)

// open returns the store of a directory; the test fails if it cannot be used.
func open(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(Config{Dir: dir, Rule: "test"})
	require.NoError(t, err)
	return s
}

// see has the store judge and remember a record that is received now.
func see(s *Store, message string, offset, received int64) (duplicate bool) {
	k := s.Key("source", []byte(message))
	if s.IsDuplicate(k, offset, received, received) {
		s.AdvanceTo(offset + 1)
		return true
	}
	s.Remember(k, offset, received, received)
	return false
}

// kill ends a store as if its process were killed.
func kill(s *Store) { s.close() }

func TestFirstOffsetRule(t *testing.T) {
	for hazard, run := range map[string]func(t *testing.T, s *Store, again func() *Store){
		"copy_follows": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 5, day))
			require.True(t, see(s, "m", 6, day))
			require.True(t, see(s, "m", 7, day))
		},
		"copy_follows_a_restart": func(t *testing.T, s *Store, again func() *Store) {
			require.False(t, see(s, "m", 5, day))
			s = again()
			s.Start(6)
			require.True(t, see(s, "m", 6, day))
		},
		"first_copy_is_read_again": func(t *testing.T, s *Store, again func() *Store) {
			require.False(t, see(s, "m", 5, day))
			s.Start(5)
			require.False(t, see(s, "m", 5, day))
			require.True(t, see(s, "m", 6, day))
			s = again()
			s.Start(5)
			require.False(t, see(s, "m", 5, day))
			require.True(t, see(s, "m", 6, day))
		},
		"state_is_ahead_of_the_ledger": func(t *testing.T, s *Store, again func() *Store) {
			require.False(t, see(s, "m", 5, day))
			require.True(t, see(s, "m", 9, day))
			s = again()
			s.Start(3) // the ledger has neither
			require.False(t, see(s, "other", 3, day))
			require.False(t, see(s, "m", 5, day))
			require.True(t, see(s, "m", 9, day))
		},
		"lower_offset_comes_later": func(t *testing.T, s *Store, again func() *Store) {
			s.Start(100)
			require.False(t, see(s, "m", 100, day)) // its first copy was at 7
			from, to, ok := s.NextFill()
			require.True(t, ok)
			require.Equal(t, [2]int64{0, 100}, [2]int64{from, to})
			s.Fill(s.Key("source", []byte("m")), 7, day, day)
			s.FinishFill(0, 100, day)
			s.Start(100)
			require.True(t, see(s, "m", 100, day))
			require.False(t, s.IsDuplicate(s.Key("source", []byte("m")), 7, day, day))
			s = again()
			require.True(t, s.IsDuplicate(s.Key("source", []byte("m")), 100, day, day))
			require.False(t, s.IsDuplicate(s.Key("source", []byte("m")), 7, day, day))
		},
		"other_source": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 5, day))
			require.False(t, s.IsDuplicate(s.Key("other", []byte("m")), 6, day, day))
			require.NotEqual(t, s.Key("ab", []byte("c")), s.Key("a", []byte("bc")))
		},
		"window_edges": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "old", 1, day))
			s.Checkpoint()
			require.False(t, see(s, "new", 2, 2*day)) // 24 h later it is still known
			s.Checkpoint()
			require.True(t, see(s, "old", 3, 2*day))
			require.False(t, see(s, "newer", 4, 2*day+1))
			s.Checkpoint()
			require.False(t, see(s, "old", 5, 2*day+1), "out of the window")
			require.True(t, see(s, "new", 6, 2*day+1))
		},
		"quiet_for_longer_than_the_window": func(t *testing.T, s *Store, again func() *Store) {
			require.False(t, see(s, "m", 1, day))
			require.False(t, see(s, "m", 2, 2*day+1), "in memory")
			s.Checkpoint()
			require.False(t, see(s, "m", 3, 3*day+2), "in a run")
			s = again()
			s.Start(4)
			require.False(t, see(s, "m", 4, 4*day+3), "after a restart")
		},
		"nothing_but_copies": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 0, day))
			for i := range int64(24) {
				s.Checkpoint()
				require.True(t, see(s, "m", 1+i, day+(1+i)*day/24), "after %d hours", 1+i)
			}
			s.Checkpoint()
			require.False(t, see(s, "m", 25, day+(windowParts+1)*day/windowParts+1), "for how long the run may hold other messages")
		},
		"record_from_the_future": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 1, day))
			s.Checkpoint()
			s.Remember(s.Key("source", []byte("future")), 2, 90*day, day)
			s.Checkpoint()
			require.True(t, see(s, "m", 3, day))
			require.Equal(t, day, s.clock)
		},
		"late_record": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 1, 10*day))
			require.False(t, see(s, "late", 2, day))
			s.Checkpoint()
			require.True(t, see(s, "late", 3, 10*day))
		},
		"offsets_far_apart": func(t *testing.T, s *Store, again func() *Store) {
			far := int64(1) << 40
			require.False(t, see(s, "m", 1, day))
			require.False(t, see(s, "far", far, day))
			require.True(t, see(s, "m", far+1, day))
			s = again()
			s.Start(far + 2)
			require.True(t, see(s, "far", far+2, day))
			require.True(t, see(s, "m", far+3, day))
		},
		"other_rule": func(t *testing.T, s *Store, _ func() *Store) {
			require.False(t, see(s, "m", 1, day))
			dir := s.cfg.Dir
			s.Close()
			other, err := Open(Config{Dir: dir, Rule: "another"})
			require.NoError(t, err)
			defer other.Close()
			require.False(t, see(other, "m", 2, day))
		},
		"unknown_format": func(t *testing.T, s *Store, again func() *Store) {
			require.False(t, see(s, "m", 1, day))
			s.Checkpoint()
			require.NoError(t, os.WriteFile(filepath.Join(s.cfg.Dir, "store"), []byte("sealift-dedup 2 whatever\n"), 0o600))
			s = again()
			require.False(t, see(s, "m", 2, day))
			s = again()
			require.True(t, see(s, "m", 3, day))
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			s := open(t, t.TempDir())
			s.Start(0)
			run(t, s, func() *Store {
				s.Close()
				s = open(t, s.cfg.Dir)
				return s
			})
			if hazard != "other_rule" {
				s.Close()
			}
		})
	}
}

func TestKillForgetsWhatFollowsTheCheckpoint(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	require.False(t, see(s, "kept", 0, day))
	s.Checkpoint()
	require.False(t, see(s, "lost", 1, day))
	kill(s)
	s = open(t, s.cfg.Dir)
	defer s.Close()
	s.Start(1) // as after a checkpoint of the reader, taken together with ours
	require.False(t, see(s, "lost", 1, day))
	require.True(t, see(s, "kept", 2, day))
	_, _, ok := s.NextFill()
	require.False(t, ok, "range to fill after a restart")
}

func TestKilledBetweenMergeAndRemoval(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	for i := range int64(fanIn) {
		require.False(t, see(s, fmt.Sprint(i), i, day))
		if i < fanIn-1 {
			s.flush(s.live)
		}
	}
	s.flush(s.live) // starts a merge
	<-s.merge.done
	kept := map[string][]byte{}
	for _, in := range s.merge.inputs {
		b, err := os.ReadFile(in.path)
		require.NoError(t, err)
		kept[in.path] = b
	}
	s.compact()
	require.Len(t, s.runs, 1)
	kill(s)
	for path, b := range kept {
		require.NoError(t, os.WriteFile(path, b, 0o600))
	}
	s = open(t, s.cfg.Dir)
	defer s.Close()
	require.Len(t, s.runs, 1)
	require.EqualValues(t, fanIn, s.Stats().IDs)
	files, err := filepath.Glob(filepath.Join(s.cfg.Dir, "*.run"))
	require.NoError(t, err)
	require.Len(t, files, 1)
}

// Runs that a merge has replaced take no memory any more: the budget no longer counts them.
func TestMergedRunsAreFreed(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	s.Start(0)
	for i := range int64(fanIn) {
		require.False(t, see(s, fmt.Sprint(i), i, day))
		s.flush(s.live)
	}
	var inputs []weak.Pointer[run]
	for _, in := range s.merge.inputs {
		inputs = append(inputs, weak.Make(in))
	}
	<-s.merge.done
	s.compact()
	require.Len(t, s.runs, 1)
	require.Eventually(t, func() bool { // the goroutine that merged may not have returned yet
		runtime.GC()
		return !slices.ContainsFunc(inputs, func(in weak.Pointer[run]) bool { return in.Value() != nil })
	}, 10*time.Second, 10*time.Millisecond)
}

// fillAll reads what the store misses from log, and returns how many ranges that took.
func fillAll(s *Store, log []record) (ranges int) {
	for {
		from, to, ok := s.NextFill()
		if !ok {
			return ranges
		}
		ranges++
		newest := int64(0)
		for o := from; o < min(to, int64(len(log))); o++ {
			s.Fill(s.Key("source", []byte(log[o].message)), o, log[o].received, log[o].received)
			newest = max(newest, log[o].received)
		}
		s.FinishFill(from, to, newest)
	}
}

type record struct {
	message  string
	received int64
}

// fillSize is how much is filled in at a time if memory is plentiful.
const fillSize = maxSlots / 8 * 3

func TestFillNewestFirst(t *testing.T) {
	var log []record
	for i := range int64(3*fillSize + 10) {
		log = append(log, record{fmt.Sprint(i), 5*day + i})
	}
	end := int64(len(log))
	s := open(t, t.TempDir())
	s.Start(end)
	from, to, ok := s.NextFill()
	require.True(t, ok)
	require.Equal(t, [2]int64{end - fillSize, end}, [2]int64{from, to})
	for o := from; o < to; o++ {
		s.Fill(s.Key("source", []byte(log[o].message)), o, log[o].received, log[o].received)
	}
	s.FinishFill(from, to, log[to-1].received)
	from, to, ok = s.NextFill()
	require.True(t, ok)
	require.Equal(t, [2]int64{end - 2*fillSize, end - fillSize}, [2]int64{from, to})

	s.Close() // the next store continues where this one was
	s = open(t, s.cfg.Dir)
	s.Start(end)
	from, to, ok = s.NextFill()
	require.True(t, ok)
	require.Equal(t, [2]int64{end - 2*fillSize, end - fillSize}, [2]int64{from, to})
	require.Equal(t, 3, fillAll(s, log))
	require.Zero(t, s.Stats().Gap)
	for o := int64(0); o < end; o += 997 {
		require.True(t, see(s, log[o].message, end+o, 6*day), "message %d", o)
	}
	s.Close()
}

func TestFillEndsAtTheWindow(t *testing.T) {
	var log []record
	for i := range int64(4 * fillSize) {
		received := 5 * day
		if i < 2*fillSize {
			received = day
		}
		log = append(log, record{fmt.Sprint(i), received})
	}
	s := open(t, t.TempDir())
	defer s.Close()
	s.Start(int64(len(log)))
	s.RaiseFloor(17) // the log begins here
	require.False(t, see(s, "live", int64(len(log)), 5*day))
	require.Equal(t, 3, fillAll(s, log), "ranges: two of the window, one below it")
	require.Equal(t, time.Duration(0), s.Stats().Covered, "window of records received at once")
}

func TestDamagedRunsAreForgotten(t *testing.T) {
	for hazard, spoil := range map[string]func(t *testing.T, path string){
		"empty": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 0)) },
		"gone":  func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"zeros": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			clear(b)
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
		"entry_changed": func(t *testing.T, path string) {
			b, err := os.ReadFile(path)
			require.NoError(t, err)
			b[12] ^= 1 // part of an offset
			require.NoError(t, os.WriteFile(path, b, 0o600))
		},
	} {
		t.Run(hazard, func(t *testing.T) {
			s := open(t, t.TempDir())
			s.Start(0)
			log := []record{{"a", day}, {"b", day}}
			require.False(t, see(s, "a", 0, day))
			require.False(t, see(s, "b", 1, day))
			s.Checkpoint()
			path := s.runs[0].path
			kill(s)
			spoil(t, path)
			s = open(t, s.cfg.Dir)
			defer s.Close()
			s.Start(0)
			require.False(t, see(s, "a", 0, day))
			require.False(t, see(s, "b", 1, day))
			if hazard == "entry_changed" {
				require.EqualValues(t, 1, s.Stats().Errors)
				require.NoFileExists(t, path)
				_, _, ok := s.NextFill()
				require.False(t, ok, "filling goes on although the disk fails")
				s.Checkpoint()
				require.Equal(t, 1, fillAll(s, log))
			}
			require.True(t, see(s, "a", 2, day))
			require.True(t, see(s, "b", 3, day))
		})
	}
}

func TestUnwritableDisk(t *testing.T) {
	s := open(t, t.TempDir())
	s.Start(0)
	require.NoError(t, os.RemoveAll(s.cfg.Dir))
	for i := range int64(10) {
		require.False(t, see(s, fmt.Sprint(i), i, day))
	}
	s.Checkpoint()
	require.EqualValues(t, 1, s.Stats().Errors)
	require.False(t, see(s, "3", 11, day), "copy of a forgotten message")
	s.Close()
	_, err := Open(Config{Dir: "/dev/null/store"})
	require.ErrorContains(t, err, "open dedup directory")
}

// All stores of a process together stay within the budget, whatever they are given. First speed
// suffers, then the window, but never a first copy.
func TestMemoryIsBounded(t *testing.T) {
	const limit, ids = 1 << 19, 300_000
	budget := NewBudget(limit)
	var stores []*Store
	for range 2 {
		s, err := Open(Config{Dir: t.TempDir(), Budget: budget})
		require.NoError(t, err)
		s.Start(0)
		stores = append(stores, s)
	}
	for i := 0; i < ids; i += 10_000 {
		for _, s := range stores {
			rememberNew(s, i, 10_000)
		}
		for _, s := range append(stores, stores...) { // those that hold too much give it up
			s.Checkpoint()
		}
		require.LessOrEqual(t, budget.used.Load(), int64(limit))
	}
	for _, s := range stores {
		require.Positive(t, s.Stats().Cut, "runs dropped for lack of memory")
		require.Greater(t, s.Stats().IDs, int64(limit/2/3), "messages that fit into the budget")
		require.True(t, s.IsDuplicate(s.Key("source", id(ids-1)), ids, 0, ids))
		require.False(t, s.IsDuplicate(s.Key("source", id(0)), ids, 0, ids))
		from, to, ok := s.NextFill()
		require.False(t, ok, "dropped offsets are to be read again: %d to %d", from, to)
		s.Close()
	}
	require.Zero(t, budget.used.Load())
}

func TestShrink(t *testing.T) {
	s := open(t, t.TempDir())
	defer s.Close()
	s.Start(0)
	require.False(t, s.Shrink())
	require.False(t, see(s, "a", 0, day))
	s.Checkpoint()
	require.False(t, see(s, "b", 1, day))
	s.Checkpoint()
	require.True(t, s.Shrink())
	require.False(t, see(s, "a", 2, day))
	require.True(t, see(s, "b", 3, day))
}

// Whatever happens to a store, a duplicate always has a lower offset in the log. Once everything is
// filled in again, every copy in the window is recognized.
func TestAgainstAModel(t *testing.T) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			var log []record
			for i := range int64(600) {
				log = append(log, record{fmt.Sprint(r.IntN(200)), day + i*1000})
			}
			first := map[string]int64{}
			for o, rec := range slices.Backward(log) {
				first[rec.message] = int64(o)
			}
			s := open(t, t.TempDir())
			at := int64(r.IntN(len(log)))
			s.Start(at)
			restart := func(end func()) {
				end()
				s = open(t, s.cfg.Dir)
				at = max(0, at-int64(r.IntN(20)))
				s.Start(at)
			}
			for at < int64(len(log)) {
				rec := log[at]
				duplicate := see(s, rec.message, at, rec.received)
				require.False(t, duplicate && first[rec.message] == at, "first copy of %q at %d is called a duplicate", rec.message, at)
				if from, to, ok := s.NextFill(); !ok && !s.fillPaused {
					require.Equal(t, first[rec.message] < at, duplicate, "message %q at %d with nothing to fill (%d, %d)", rec.message, at, from, to)
				}
				at++
				switch r.IntN(100) {
				case 0, 1, 2, 3:
					s.Checkpoint()
				case 4:
					restart(s.Close)
				case 5:
					restart(func() { kill(s) })
				case 6:
					at = max(0, at-int64(r.IntN(20)))
					s.Start(at)
				case 7:
					if runs, _ := filepath.Glob(filepath.Join(s.cfg.Dir, "*.run")); len(runs) > 0 {
						path := runs[r.IntN(len(runs))]
						b, err := os.ReadFile(path)
						require.NoError(t, err)
						b[r.IntN(len(b))] ^= 1 << r.IntN(8)
						require.NoError(t, os.WriteFile(path, b, 0o600)) // stores with the file open see it
					}
				case 8:
					fillAll(s, log)
				case 9:
					if r.IntN(5) == 0 {
						restart(func() { require.NoError(t, s.Discard()) })
					}
				}
			}
			s.Close()
		})
	}
}
