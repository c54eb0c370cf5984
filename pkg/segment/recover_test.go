package segment

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
)

// TestRecoverRejectsDamage: whatever was cut off, flipped or lost, a recovery returns one of
// the checkpoints or nothing.
func TestRecoverRejectsDamage(t *testing.T) {
	l := newSpoolDriver(t, 3, Config{blockBytes: 1 << 10, chunkBytes: 8 << 10})
	for range 250 {
		l.step()
	}
	l.checkpoint()
	for range 30 {
		l.append()
	}
	l.checkpoint()
	for range 30 {
		l.append()
	}
	require.NoError(t, l.s.writeChunk())
	l.s.Close()
	names, err := os.ReadDir(l.cfg.Dir)
	require.NoError(t, err)
	require.Greater(t, len(names), 3)
	files := map[string][]byte{}
	for _, name := range names {
		files[name.Name()], err = os.ReadFile(filepath.Join(l.cfg.Dir, name.Name()))
		require.NoError(t, err)
	}
	// outcomes counts the checkpoints that were recovered; -1: none.
	try := func(outcomes map[int]int, name string, b []byte) {
		dir := t.TempDir()
		for other, whole := range files {
			if other == name {
				whole = b
			}
			if whole != nil {
				require.NoError(t, os.WriteFile(filepath.Join(dir, other), whole, 0o600))
			}
		}
		checkpoint, s, sealed, err := l.recoverAndCompare(dir)
		if err != nil {
			outcomes[-1]++
			return
		}
		outcomes[checkpoint]++
		l.requireContent(checkpoint, s, sealed)
		s.Discard()
	}
	newest := len(l.saved) - 1
	for name, b := range files {
		cut, flipped := map[int]int{}, map[int]int{}
		for n := 0; n < len(b); n += 1 + len(b)/25 {
			try(cut, name, b[:n])
			bad := bytes.Clone(b)
			bad[n] ^= 1 << (n % 8)
			try(flipped, name, bad)
		}
		for n := len(b); n > len(b)-50; n-- { // cut the end byte by byte
			try(cut, name, b[:max(n, 0)])
		}
		lost := map[int]int{}
		try(lost, name, nil)
		t.Logf("%s, %d bytes: cut %v, flipped %v, lost %v", name, len(b), cut, flipped, lost)
		if filepath.Ext(name) == journalExt {
			require.Positive(t, cut[newest-1], "the previous checkpoint was never recovered")
			require.Equal(t, map[int]int{-1: 1}, lost)
			require.Zero(t, flipped[newest], "a damaged journal passed for the newest checkpoint")
		}
	}
	none := map[int]int{}
	try(none, "", nil)
	require.Equal(t, map[int]int{newest: 1}, none, "undamaged files")
}

// TestRecoverWithLowerMaxBytes: a file that was gathered under a larger limit stays valid but
// accepts no more.
func TestRecoverWithLowerMaxBytes(t *testing.T) {
	for name, sealed := range map[string]bool{"open_file": false, "sealed_file": true} {
		t.Run(name, func(t *testing.T) {
			cfg := Config{Dir: filepath.Join(t.TempDir(), "spool"), MaxBytes: 1 << 20}
			s, err := New(cfg)
			require.NoError(t, err)
			noise := make([]byte, 300<<10)
			for i := range noise {
				noise[i] = byte(rand.Uint32()) | 0x80
			}
			require.NoError(t, s.Append(stream(1), 1, 5, noise))
			if sealed {
				_, err = s.Seal(stream(1), ReasonTime)
				require.NoError(t, err)
			}
			_, err = s.Checkpoint([]byte("x"))
			require.NoError(t, err)
			s.Close()
			nothing := func(Meta) (bool, error) { return false, nil }
			for level, limit := range map[int]int64{1: 200 << 10, 9: 1 << 20} {
				cfg.MaxBytes, cfg.Level = limit, level
				r, err := Recover(t.Context(), cfg)
				require.NoError(t, err)
				s, files, err := r.Resume(nothing)
				require.NoError(t, err, "recovery at another gzip level")
				if !sealed {
					if err := s.Append(stream(1), 2, 5, []byte("{}")); limit < 300<<10 {
						require.ErrorIs(t, err, ErrFull)
					} else {
						require.NoError(t, err)
					}
					f, err := s.Seal(stream(1), ReasonTime)
					require.NoError(t, err)
					files = append(files, f)
				}
				require.Len(t, files, 1)
				require.True(t, bytes.HasPrefix(members(t, files[0].Reader()), noise))
				s.Close()
			}
		})
	}
}

// TestReleasedChunksStayUntilNextCheckpoint: a chunk that is released after a checkpoint is kept
// until the next one.
func TestReleasedChunksStayUntilNextCheckpoint(t *testing.T) {
	l := newSpoolDriver(t, 1, Config{blockBytes: 1 << 10, chunkBytes: 4 << 10})
	for range 100 {
		l.append()
	}
	l.checkpoint()
	chunks := chunkFiles(t, l.s)
	for n := range 6 {
		l.seal(stream(n), ReasonTime)
	}
	for len(l.sealed) > 0 {
		l.release()
	}
	require.GreaterOrEqual(t, chunkFiles(t, l.s), chunks)
	through := l.through
	l.through = map[ledger.Stream]int64{} // for this test, the entry was lost after all
	l.s.Close()
	checkpoint, s, sealed, err := l.recoverAndCompare(l.cfg.Dir)
	require.NoError(t, err)
	l.requireContent(checkpoint, s, sealed)
	s.Close()

	l.through = through
	_, l.s, _, err = l.recoverAndCompare(l.cfg.Dir)
	require.NoError(t, err)
	require.Zero(t, l.s.Len())
	l.saved[0] = nil
	l.checkpoint()
	require.Equal(t, 1, chunkFiles(t, l.s), "files other than the journal remain")
}

// brokenDisk is a file that cannot be read.
type brokenDisk struct{ err error }

func (d brokenDisk) ReadAt([]byte, int64) (int, error) { return 0, d.err }

// TestJournalReadErrorIsReturned: a read error is not taken for the end of the journal. A later try
// may succeed, and continuing from an earlier checkpoint would delete what this one names.
func TestJournalReadErrorIsReturned(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "spool")}
	s, err := New(cfg)
	require.NoError(t, err)
	_, err = s.Checkpoint([]byte("earlier"))
	require.NoError(t, err)
	s.Close()
	broken := errors.New("input/output error")
	_, err = scan(t.Context(), brokenDisk{broken}, 1<<10, func(frame, int64) error { return nil })
	require.ErrorIs(t, err, broken)
	require.NotErrorIs(t, err, errTorn)

	newest := chunkPath(cfg.Dir, 7, journalExt)
	require.NoError(t, os.Symlink(newest, newest))
	_, err = Recover(t.Context(), cfg)
	require.ErrorIs(t, err, syscall.ELOOP)
	require.NotErrorIs(t, err, ErrNoCheckpoint)
	require.NotErrorIs(t, err, ErrDamaged)
	require.NoError(t, os.Remove(newest))
	r, err := Recover(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, "earlier", string(r.State))
	r.Close()
}

// oneChunk leaves a spool with one chunk and a checkpoint, and returns the chunk's path.
func oneChunk(t *testing.T) (cfg Config, chunk string) {
	t.Helper()
	cfg = Config{Dir: filepath.Join(t.TempDir(), "spool"), Budget: NewBudget(1)}
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Append(stream(1), 1, 5, line(1, 600)))
	require.NoError(t, s.EnforceBudget())
	_, err = s.Checkpoint([]byte("state"))
	require.NoError(t, err)
	s.Close()
	chunks, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+chunkExt))
	require.NoError(t, err)
	require.Len(t, chunks, 1)
	return cfg, chunks[0]
}

// TestChunkStatErrorIsReturned: a chunk that cannot be examined is not taken for a missing one,
// because the caller deletes everything if there is no whole checkpoint.
func TestChunkStatErrorIsReturned(t *testing.T) {
	cfg, chunk := oneChunk(t)
	away := filepath.Join(t.TempDir(), "away")
	both := func(check func(err error)) {
		t.Helper()
		_, err := State(t.Context(), cfg.Dir)
		check(err)
		r, err := Recover(t.Context(), cfg)
		check(err)
		if r != nil {
			r.Close()
		}
	}

	require.NoError(t, os.Rename(chunk, away))
	both(func(err error) { require.ErrorIs(t, err, ErrNoCheckpoint, "missing chunk") })
	require.NoError(t, os.Symlink(chunk, chunk))
	both(func(err error) {
		require.ErrorIs(t, err, syscall.ELOOP)
		require.NotErrorIs(t, err, ErrNoCheckpoint)
		require.NotErrorIs(t, err, ErrDamaged)
	})
	require.NoError(t, os.Rename(away, chunk))
	both(func(err error) { require.NoError(t, err) })
	require.NoError(t, os.Truncate(chunk, 1))
	both(func(err error) { require.ErrorIs(t, err, ErrNoCheckpoint, "truncated chunk") })
}

// TestJournalSizeIsBounded: lines that are in blocks by now do not pile up in the journal.
func TestJournalSizeIsBounded(t *testing.T) {
	s := newSpool(t, Config{blockBytes: 64 << 10})
	l := line(1, 200)
	for i := range int64(500) { // through two journals
		for j := range int64(500) {
			require.NoError(t, s.Append(stream(int(j%3)), i*500+j, 5, l))
		}
		_, err := s.Checkpoint(nil)
		require.NoError(t, err)
		require.Less(t, s.journal.size, int64(journalSlack+2<<20), i)
	}
	require.LessOrEqual(t, chunkFiles(t, s), 3)
}

// TestRecoverSealedFileWithNewerNote: this is not taken for damage.
func TestRecoverSealedFileWithNewerNote(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "spool"), Budget: NewBudget(1)}
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Append(stream(1), 1, 5, line(1, 600)))
	s.Note(stream(1), 7)
	require.NoError(t, s.Append(stream(2), 2, 5, line(2, 600))) // makes room: the first line is in a block now
	s.Note(stream(1), 8)
	sealed, err := s.Seal(stream(1), ReasonTime)
	require.NoError(t, err)
	want := read(t, sealed)
	_, err = s.Checkpoint(nil)
	require.NoError(t, err)
	s.Close()

	r, err := Recover(t.Context(), cfg)
	require.NoError(t, err)
	again, files, err := r.Resume(func(Meta) (bool, error) { return false, nil })
	require.NoError(t, err)
	t.Cleanup(again.Discard)
	require.Len(t, files, 1)
	require.EqualValues(t, 8, files[0].Note)
	require.Equal(t, want, read(t, files[0]))
}

// TestStateReadsNoChunks: State works although a chunk is damaged.
func TestStateReadsNoChunks(t *testing.T) {
	_, err := State(t.Context(), filepath.Join(t.TempDir(), "spool"))
	require.ErrorIs(t, err, ErrNoCheckpoint)
	cfg, chunk := oneChunk(t)
	b, err := os.ReadFile(chunk)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(chunk, b, 0o600))
	_, err = Recover(t.Context(), cfg)
	require.ErrorIs(t, err, ErrDamaged)
	state, err := State(t.Context(), cfg.Dir)
	require.NoError(t, err)
	require.Equal(t, "state", string(state))
}

// TestLaterFile: a file whose first frame is whole and of a higher format is of a later release,
// whatever follows, and whatever the file is called. Nothing else is, however damaged.
func TestLaterFile(t *testing.T) {
	require.Empty(t, LaterFile(filepath.Join(t.TempDir(), "missing")))
	cfg, chunk := oneChunk(t)
	require.Empty(t, LaterFile(cfg.Dir))
	intact, err := os.ReadFile(chunk)
	require.NoError(t, err)
	write := func(b []byte) { require.NoError(t, os.WriteFile(chunk, b, 0o600)) }
	everyDamage := func(b []byte) {
		for n := range frameHeaderBytes + 8 {
			bad := bytes.Clone(b)
			bad[n] ^= 1 << (n % 8)
			write(bad)
			require.Empty(t, LaterFile(cfg.Dir), "byte %d flipped", n)
		}
		for n := int64(0); n < frameBytes(b); n += 9 {
			write(b[:n])
			require.Empty(t, LaterFile(cfg.Dir), "cut to %d bytes", n)
		}
		require.NoError(t, os.Remove(chunk))
		require.NoError(t, os.Symlink(chunk, chunk)) // cannot be opened
		require.Empty(t, LaterFile(cfg.Dir))
		require.NoError(t, os.Remove(chunk))
	}
	everyDamage(intact)

	later := bytes.Clone(intact)
	later[15]++
	later[12] = '?' // a kind that only the later release knows
	binary.LittleEndian.PutUint32(later[4:], crc32.Checksum(later[8:frameBytes(later)], castagnoli))
	everyDamage(later)
	write(append(later, "whatever"...))
	require.Equal(t, chunk, LaterFile(cfg.Dir))
	_, err = Recover(t.Context(), cfg)
	require.ErrorIs(t, err, errLater)
	require.NotErrorIs(t, err, ErrDamaged)
	require.NotErrorIs(t, err, ErrNoCheckpoint)
	other := filepath.Join(cfg.Dir, "00000009.other")
	require.NoError(t, os.Rename(chunk, other))
	require.Equal(t, other, LaterFile(cfg.Dir))
}

// cancelledAfter is a context that is cancelled after Err was called a given number of times.
type cancelledAfter struct {
	context.Context
	asks int
}

func (c *cancelledAfter) Err() error {
	if c.asks--; c.asks < 0 {
		return context.Canceled
	}
	return nil
}

// TestCancelledRecoveryReportsNoDamage: a cancelled recovery is never reported as damage, for which
// the caller would delete the files.
func TestCancelledRecoveryReportsNoDamage(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "spool"), blockBytes: 1 << 10, chunkBytes: 4 << 10}
	s, err := New(cfg)
	require.NoError(t, err)
	for o := range int64(100) {
		require.NoError(t, s.Append(ledger.Stream{Source: "a"}, o, 0, bytes.Repeat([]byte("x"), 200)))
		if o%10 == 9 {
			_, err = s.Checkpoint([]byte("state"))
			require.NoError(t, err)
		}
	}
	s.Close()
	for asks := 0; ; asks++ {
		ctx := &cancelledAfter{t.Context(), asks}
		r, err := Recover(ctx, cfg)
		if err == nil {
			r.Close()
			require.Greater(t, asks, 20, "ctx is not checked for each frame")
			require.Zero(t, ctx.asks)
			return
		}
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrDamaged)
		require.NotErrorIs(t, err, ErrNoCheckpoint)
		_, err = State(&cancelledAfter{t.Context(), min(asks, 3)}, cfg.Dir)
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, ErrNoCheckpoint)
	}
}

// TestJournalRotsAfterItWasChecked: the lines of open files are read again when the files are
// resumed, perhaps hours after the recovery checked them. Nothing that is computed later would
// reveal that they changed in between.
func TestJournalRotsAfterItWasChecked(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "spool")}
	s, err := New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Append(stream(1), 1, 5, line(1, 600)))
	_, err = s.Checkpoint(nil)
	require.NoError(t, err)
	s.Close()
	nothing := func(Meta) (bool, error) { return false, nil }

	r, err := Recover(t.Context(), cfg)
	require.NoError(t, err)
	journal := r.journal.path
	b, err := os.ReadFile(journal)
	require.NoError(t, err)
	rotten := bytes.Clone(b)
	rotten[frameHeaderBytes+300] ^= 1
	require.NoError(t, os.WriteFile(journal, rotten, 0o600))
	_, _, err = r.Resume(nothing)
	require.ErrorIs(t, err, ErrDamaged)

	require.NoError(t, os.WriteFile(journal, b, 0o600))
	r, err = Recover(t.Context(), cfg)
	require.NoError(t, err)
	s, _, err = r.Resume(nothing)
	require.NoError(t, err)
	require.Equal(t, 1, s.Len())
	s.Discard()
}
