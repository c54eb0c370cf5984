package segment

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
)

// spoolDriver drives a spool and keeps track of what it must hold.
type spoolDriver struct {
	t       *testing.T
	r       *rand.Rand
	cfg     Config
	s       *Spool
	next    int64
	through map[ledger.Stream]int64 // released files; they are in the ledger
	open    map[ledger.Stream]*wantFile
	sealed  []*wantFile
	saved   [][]wantFile // at each checkpoint
}

// wantFile is what a file is expected to hold.
type wantFile struct {
	stream      ledger.Stream
	first, last int64
	lines       string
	reason      Reason // "": open
	file        *Sealed
}

func newSpoolDriver(t *testing.T, seed uint64, cfg Config) *spoolDriver {
	cfg.Dir = filepath.Join(t.TempDir(), "spool")
	s, err := New(cfg)
	require.NoError(t, err)
	l := &spoolDriver{t: t, r: rand.New(rand.NewPCG(seed, 9)), cfg: cfg, s: s, through: map[ledger.Stream]int64{}, open: map[ledger.Stream]*wantFile{}}
	t.Cleanup(func() { l.s.Discard() })
	return l
}

func (l *spoolDriver) append() {
	st, line := stream(l.r.IntN(6)), line(int(l.next), 20+l.r.IntN(600))
	l.next += 1 + l.r.Int64N(3)
	err := l.s.Append(st, l.next, 5, line)
	if errors.Is(err, ErrFull) {
		l.seal(st, ReasonSize)
		err = l.s.Append(st, l.next, 5, line)
	}
	require.NoError(l.t, err)
	f := l.open[st]
	if f == nil {
		f = &wantFile{stream: st, first: l.next}
		l.open[st] = f
		l.s.Note(st, -l.next)
	}
	f.last = l.next
	f.lines += string(line) + "\n"
}

func (l *spoolDriver) seal(st ledger.Stream, reason Reason) {
	f := l.open[st]
	if f == nil {
		return
	}
	var err error
	f.file, err = l.s.Seal(st, reason)
	require.NoError(l.t, err)
	f.reason = reason
	delete(l.open, st)
	l.sealed = append(l.sealed, f)
}

// release does what happens after a ledger entry is won: it releases files in the order in which
// they were sealed.
func (l *spoolDriver) release() {
	for n := l.r.IntN(len(l.sealed) + 1); n > 0; n-- {
		f := l.sealed[0]
		l.sealed = l.sealed[1:]
		l.through[f.stream] = f.last
		f.file.Release()
	}
}

func (l *spoolDriver) checkpoint() {
	var save []wantFile
	for _, f := range l.open {
		save = append(save, *f)
	}
	for _, f := range l.sealed {
		save = append(save, *f)
	}
	l.saved = append(l.saved, save)
	n, err := l.s.Checkpoint([]byte(strconv.Itoa(len(l.saved) - 1)))
	require.NoError(l.t, err)
	require.Positive(l.t, n)
}

func (l *spoolDriver) step() {
	switch n := l.r.IntN(100); {
	case n < 85:
		l.append()
	case n < 91:
		l.seal(stream(l.r.IntN(6)), ReasonTime)
	case n < 95:
		l.release()
	default:
		l.checkpoint()
	}
}

// done reports whether the ledger has a file.
func (l *spoolDriver) done(m Meta) (bool, error) {
	through, ok := l.through[m.Stream]
	switch {
	case ok && m.Last <= through:
		return true, nil
	case ok && m.First <= through:
		return false, errors.New("file is in the ledger in part")
	}
	return false, nil
}

// recoverAndCompare recovers a directory and compares it with the checkpoint that it claims to be,
// whose number it returns.
func (l *spoolDriver) recoverAndCompare(dir string) (checkpoint int, s *Spool, sealed []*Sealed, err error) {
	cfg := l.cfg
	cfg.Dir = dir
	r, err := Recover(l.t.Context(), cfg)
	if err != nil {
		return 0, nil, nil, err
	}
	checkpoint, err = strconv.Atoi(string(r.State))
	require.NoError(l.t, err)
	s, sealed, err = r.Resume(l.done)
	if err != nil {
		return 0, nil, nil, err
	}
	var want, got []string
	for _, f := range l.saved[checkpoint] {
		if l.through[f.stream] < f.last {
			want = append(want, fmt.Sprintf("%s %d-%d %q", f.stream.Source, f.first, f.last, f.reason))
		}
	}
	s.Files(func(m Meta) {
		got = append(got, fmt.Sprintf("%s %d-%d %q", m.Stream.Source, m.First, m.Last, ""))
		require.Equal(l.t, -m.First, m.Note)
	})
	for _, f := range sealed {
		got = append(got, fmt.Sprintf("%s %d-%d %q", f.Stream.Source, f.First, f.Last, f.Reason))
	}
	require.ElementsMatch(l.t, want, got)
	return checkpoint, s, sealed, nil
}

// requireContent compares a recovered spool's bytes with the checkpoint's.
func (l *spoolDriver) requireContent(checkpoint int, s *Spool, sealed []*Sealed) {
	var streams []ledger.Stream
	s.Files(func(m Meta) { streams = append(streams, m.Stream) })
	for _, st := range streams {
		f, err := s.Seal(st, ReasonTime)
		require.NoError(l.t, err)
		sealed = append(sealed, f)
	}
	for _, f := range sealed {
		i := slices.IndexFunc(l.saved[checkpoint], func(h wantFile) bool { return h.stream == f.Stream && h.first == f.First })
		l.requireIntact(f, l.saved[checkpoint][i].lines)
	}
}

func (l *spoolDriver) requireIntact(f *Sealed, lines string) {
	object := read(l.t, f)
	require.Equal(l.t, lines, string(members(l.t, bytes.NewReader(object))))
	require.Equal(l.t, sha256.Sum256(object), f.SHA256)
	require.Equal(l.t, crc64nvme.Checksum([]byte(lines)), f.RawCRC64)
	require.EqualValues(l.t, len(object), f.GzipBytes)
	require.EqualValues(l.t, len(lines), f.RawBytes)
	require.EqualValues(l.t, bytes.Count([]byte(lines), []byte("\n")), f.Records)
	require.LessOrEqual(l.t, f.GzipBytes, cmp.Or(l.cfg.MaxBytes, 100_000_000))
}

// TestRecoverRandomHistories: after append, seal, release, checkpoint and kill in any order, a
// recovery restores the last checkpoint and continues from there.
func TestRecoverRandomHistories(t *testing.T) {
	for name, cfg := range map[string]Config{
		"large_blocks":  {},
		"small_blocks":  {blockBytes: 1 << 10, chunkBytes: 8 << 10},
		"small_files":   {blockBytes: 4 << 10, chunkBytes: 8 << 10, MaxBytes: 6 << 10},
		"little_memory": {blockBytes: 4 << 10, chunkBytes: 16 << 10, Budget: NewBudget(3 << 10)},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(8) {
				l := newSpoolDriver(t, seed, cfg)
				for range 6 {
					for range l.r.IntN(400) {
						l.step()
					}
					l.s.Close() // writes nothing, so it is as good as a kill
					checkpoint, s, sealed, err := l.recoverAndCompare(l.cfg.Dir)
					if len(l.saved) == 0 {
						require.ErrorIs(t, err, ErrNoCheckpoint)
						l = newSpoolDriver(t, seed, cfg)
						continue
					}
					require.NoError(t, err)
					require.Equal(t, len(l.saved)-1, checkpoint)
					l.s = s
					l.resume(checkpoint, sealed)
				}
				l.checkpoint()
				for _, f := range l.sealed {
					l.requireIntact(f.file, f.lines)
				}
				var streams []ledger.Stream
				l.s.Files(func(m Meta) { streams = append(streams, m.Stream) })
				require.Len(t, streams, len(l.open))
				for _, st := range streams {
					lines := l.open[st].lines
					l.seal(st, ReasonTime)
					l.requireIntact(l.sealed[len(l.sealed)-1].file, lines)
				}
				for len(l.sealed) > 0 {
					l.release()
				}
				l.checkpoint()
				require.LessOrEqual(t, chunkFiles(t, l.s), 2, "files other than the current chunk and journal remain")
				l.s.Discard()
				require.Zero(t, l.s.cfg.Budget.Used())
			}
		})
	}
}

// resume makes the checkpoint the current state; reading continues after it.
func (l *spoolDriver) resume(checkpoint int, sealed []*Sealed) {
	l.open, l.sealed = map[ledger.Stream]*wantFile{}, nil
	for _, f := range l.saved[checkpoint] {
		switch {
		case l.through[f.stream] >= f.last:
		case f.reason == "":
			l.open[f.stream] = &f
		default:
			i := slices.IndexFunc(sealed, func(s *Sealed) bool { return s.Stream == f.stream && s.First == f.first })
			f.file = sealed[i]
			l.sealed = append(l.sealed, &f)
		}
	}
	slices.SortFunc(l.sealed, func(a, b *wantFile) int { return cmp.Compare(a.first, b.first) })
}
