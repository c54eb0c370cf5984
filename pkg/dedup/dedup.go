// Package dedup remembers which messages a partition of the events topic has held, so that a copy
// made upstream (by an SDK that resent a batch because the answer was lost, or by a producer that
// is not idempotent) can be told from the first one. It is for the appender.
//
// It promises that of all records of a message, the one with the lowest offset is never called a
// duplicate, whatever the store forgot, read twice, or learned too early. A record is a duplicate
// if and only if a lower offset is stored for its message, and everything stored was read from the
// log. So losing the store, or part of it, lets duplicates pass but never costs events.
//
// Its memory is bounded by a Budget. It keeps sorted runs on disk, knows which offsets they cover,
// and names the gaps that have to be read from the log again. It does not read the log itself, and
// it never fails its caller: disk problems are logged and counted, and what they affect is
// forgotten.
package dedup

import (
	"cmp"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Config says how much a store remembers, and where.
type Config struct {
	Dir    string        // of this store alone; created if missing
	Window time.Duration // how long a message is remembered after its receipt (see Remember); default 24h
	Budget *Budget       // shared by the stores of a process
	// Rule names the log and how the keys of messages are made. A directory that was written under
	// another rule is emptied.
	Rule string
	Log  *slog.Logger
}

// Store is the memory of one partition. One goroutine owns it.
//
// The owner calls Start. For each record that can be a line of a file it then calls IsDuplicate
// and, unless the record is one, Remember. AdvanceTo tells how far it has read. Times are in unix
// milliseconds; offsets are those of the partition.
type Store struct {
	cfg          Config
	seed         uint64
	live         *table // messages that the reader remembers
	backfill     *table // messages filled in from the log; nil if none are being filled in
	runs         []*run // by first offset
	coveredTo    int64  // from where reading started up to this offset, runs hold everything
	floor        int64  // nothing below this offset has to be filled in
	staleOffsets int64  // consecutive offsets filled in without any message of the window
	clock        int64  // the newest time of receipt, bounded by the wall clock
	judged       bool   // a record was judged since the store was opened
	held         int64  // bytes of memory, counted in the budget
	nextRun      uint64 // number of the next run
	merge        *merge // running, or nil
	fillPaused   bool   // something went wrong since the last checkpoint: fill nothing in until the next
	key          []byte // scratch
	bucket       []byte // scratch
	prefetched   uint64 // see Prefetch
	stats        Stats
}

// Stats are figures of a store. Those that are not gauges count since it was opened.
type Stats struct {
	IDs     int64         // gauge: messages remembered
	Bytes   int64         // gauge: on disk
	Memory  int64         // gauge: bytes held
	Covered time.Duration // gauge: how far back from the newest record everything is remembered
	Gap     int64         // gauge: offsets that NextFill still wants, at most
	Reads   int64         // of runs, because their filter did not exclude the message
	Errors  int64         // runs and tables given up because of disk errors
	Cut     int64         // runs given up early, for lack of memory or disk
}

const (
	format     = "sealift-dedup 2"
	headerName = "store" // the file that names the directory's rule
)

// Open returns the store of a directory with what the directory holds. What cannot be read is
// deleted. An error means that the directory cannot be used at all.
func Open(cfg Config) (*Store, error) {
	cfg.Window = cmp.Or(cfg.Window, 24*time.Hour)
	if cfg.Budget == nil {
		cfg.Budget = NewBudget(DefaultMemory)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Store{cfg: cfg}
	if err := s.openDir(); err != nil {
		return nil, fmt.Errorf("open dedup directory %q: %w", cfg.Dir, err)
	}
	cfg.Budget.stores.Add(1)
	s.load()
	s.live = newTable(0, minSlots)
	s.hold(s.live.bytes())
	return s, nil
}

// openDir reads the directory's seed, or empties the directory and creates a new seed.
func (s *Store) openDir() error {
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	path := filepath.Join(s.cfg.Dir, headerName)
	b, err := os.ReadFile(path)
	if err == nil {
		if seed, ok := s.parseHeader(string(b)); ok {
			s.seed = seed
			return s.readFloor()
		}
		s.cfg.Log.Info("dedup directory is of another kind, starting empty", "file", path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.RemoveAll(s.cfg.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.cfg.Dir, 0o700); err != nil {
		return err
	}
	s.seed = newSeed()
	return os.WriteFile(path, []byte(s.header()), 0o600)
}

// header has a checksum, too: if one bit of the seed is different, the key of a short message is
// that of another one.
func (s *Store) header() string {
	return withChecksum(fmt.Sprintf("%s %016x %q", format, s.seed, s.cfg.Rule))
}

// withChecksum returns the text with its checksum as a line.
func withChecksum(text string) string {
	return fmt.Sprintf("%s %08x\n", text, crc32.Checksum([]byte(text), castagnoli))
}

func (s *Store) parseHeader(text string) (seed uint64, ok bool) {
	rest, ok := strings.CutPrefix(text, format+" ")
	if !ok || len(rest) < 16 {
		return 0, false
	}
	if _, err := fmt.Sscanf(rest[:16], "%016x", &seed); err != nil {
		return 0, false
	}
	return seed, text == (&Store{seed: seed, cfg: s.cfg}).header()
}

// load opens the runs of the directory.
func (s *Store) load() {
	files, err := os.ReadDir(s.cfg.Dir)
	if err != nil {
		s.noteError("list dedup directory", err)
	}
	now := time.Now().UnixMilli()
	for _, f := range files {
		path := filepath.Join(s.cfg.Dir, f.Name())
		var seq uint64
		if _, err := fmt.Sscanf(f.Name(), "%016x.run", &seq); err != nil || f.Name() != runName(seq) {
			if strings.HasSuffix(f.Name(), tmpSuffix) { // left by a process that was killed
				_ = os.Remove(path)
			}
			continue
		}
		s.nextRun = max(s.nextRun, seq+1)
		r, err := openRun(path)
		if err != nil {
			s.noteError("open dedup run", err)
			_ = os.Remove(path)
			continue
		}
		s.clock = max(s.clock, min(r.newest, now)) // the clock may have been ahead when the run was written
		s.addRun(r)
	}
	// After a crash, a merge's inputs may still exist beside its output.
	for i := len(s.runs) - 1; i >= 0; i-- {
		in := s.runs[i]
		if slices.ContainsFunc(s.runs, func(r *run) bool {
			return r != in && r.covers(in) && (!in.covers(r) || r.seq > in.seq)
		}) {
			s.dropRun(in)
		}
	}
	for s.cfg.Budget.over(s.held) && s.dropOldest() {
	}
}

// addRun adds a run to the store.
func (s *Store) addRun(r *run) {
	i, _ := slices.BinarySearchFunc(s.runs, r, func(a, b *run) int { return cmp.Compare(a.low(), b.low()) })
	s.runs = slices.Insert(s.runs, i, r)
	s.hold(r.memory())
	s.stats.IDs += int64(r.count)
	s.stats.Bytes += r.size
}

// dropRun forgets a run and deletes its file.
func (s *Store) dropRun(r *run) {
	i := slices.Index(s.runs, r)
	s.runs = slices.Delete(s.runs, i, i+1)
	s.hold(-r.memory())
	s.stats.IDs -= int64(r.count)
	s.stats.Bytes -= r.size
	r.remove()
}

func (s *Store) hold(n int64) {
	s.held += n
	s.cfg.Budget.used.Add(n)
}

// noteError records an error that only makes the store forget messages.
func (s *Store) noteError(doing string, err error) {
	s.stats.Errors++
	s.fillPaused = true
	s.cfg.Log.Warn("some messages are forgotten: duplicates of them pass until they are read again", "doing", doing, "err", err)
}

// Close writes what is in memory and closes the store. The next Open finds all of it.
func (s *Store) Close() {
	s.flush(s.live)
	if s.backfill != nil {
		s.flush(s.backfill)
	}
	s.close()
}

// Discard closes the store and makes its directory forget all messages, like the function Discard.
func (s *Store) Discard() error {
	s.close()
	return Discard(s.cfg.Dir)
}

// Discard makes a directory, whose store is closed, forget all messages. What ForgetUncertain
// recorded stays.
func Discard(dir string) error {
	files, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("discard dedup directory: %w", err)
	}
	var errs []error
	for _, f := range files {
		if name := f.Name(); name != headerName && name != floorName {
			errs = append(errs, os.RemoveAll(filepath.Join(dir, name)))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) close() {
	s.abandon()
	for _, r := range s.runs {
		_ = r.file.Close()
	}
	s.hold(-s.held)
	s.cfg.Budget.stores.Add(-1)
}
