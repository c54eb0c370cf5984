package segment

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/iotest"

	"github.com/minio/crc64nvme"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
)

func stream(n int) ledger.Stream {
	return ledger.Stream{Source: fmt.Sprintf("source-%d", n), Hour: 1_700_000_400_000}
}

// line returns a compressible line of n bytes that depends on seed.
func line(seed, n int) []byte {
	b := fmt.Appendf(make([]byte, 0, n+32), `{"messageId":"%d","n":"`, seed)
	r := rand.NewPCG(uint64(seed), 1)
	for bits, left := uint64(0), 0; len(b) < n-2; bits, left = bits>>3, left-1 {
		if left == 0 {
			bits, left = r.Uint64(), 21
		}
		b = append(b, 'a'+byte(bits&7))
	}
	return append(b, `"}`...)
}

// members reads an object strictly: it must be exactly one gzip member.
func members(t *testing.T, r io.Reader) []byte {
	t.Helper()
	raw, err := io.ReadAll(r)
	require.NoError(t, err)
	in := bytes.NewReader(raw)
	z, err := gzip.NewReader(in)
	require.NoError(t, err)
	z.Multistream(false)
	lines, err := io.ReadAll(z)
	require.NoError(t, err)
	require.Zero(t, in.Len(), "bytes after the first gzip member")
	return lines
}

func newSpool(t *testing.T, cfg Config) *Spool {
	t.Helper()
	cfg.Dir = filepath.Join(t.TempDir(), "spool")
	s, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(s.Discard)
	return s
}

func TestSealedFileHoldsTheLinesInOrder(t *testing.T) {
	for name, cfg := range map[string]Config{
		"one_block":          {},
		"many_blocks":        {blockBytes: 1 << 10},
		"many_chunks":        {blockBytes: 4 << 10, chunkBytes: 8 << 10},
		"level_1":            {blockBytes: 4 << 10, Level: 1},
		"level_9":            {blockBytes: 4 << 10, Level: 9},
		"blocks_of_one_line": {blockBytes: 1 << 10, Budget: NewBudget(1)},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpool(t, cfg)
			want := map[ledger.Stream][]byte{}
			r := rand.New(rand.NewPCG(1, 2))
			for i := range 2_000 {
				st, l := stream(r.IntN(7)), line(i, 100+r.IntN(900))
				require.NoError(t, s.Append(st, int64(10+i), int64(1_700_000_400_000+i), l))
				want[st] = append(append(want[st], l...), '\n')
			}
			require.Equal(t, 7, s.Len())
			for st, lines := range want {
				f, err := s.Seal(st, ReasonTime)
				require.NoError(t, err)
				require.NoError(t, iotest.TestReader(f.Reader(), read(t, f)))
				require.Equal(t, lines, members(t, f.Reader()))
				require.Equal(t, sha256.Sum256(read(t, f)), f.SHA256)
				require.Equal(t, crc64nvme.Checksum(lines), f.RawCRC64)
				require.EqualValues(t, len(read(t, f)), f.GzipBytes)
				require.EqualValues(t, len(lines), f.RawBytes)
				require.EqualValues(t, bytes.Count(lines, []byte("\n")), f.Records)
			}
			require.Zero(t, s.Len())
		})
	}
}

func read(t *testing.T, f *Sealed) []byte {
	t.Helper()
	b, err := io.ReadAll(f.Reader())
	require.NoError(t, err)
	return b
}

// TestSpoolsShareCompressors: partitions take turns with the compressors, and none of them leaves
// anything of its own in another one's files.
func TestSpoolsShareCompressors(t *testing.T) {
	t.Parallel()
	for n := range 4 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			t.Parallel()
			s := newSpool(t, Config{blockBytes: 2 << 10})
			var want []byte
			for i := range 2_000 {
				l := line(i*4+n, 300)
				require.NoError(t, s.Append(stream(n), int64(i), 5, l))
				want = append(append(want, l...), '\n')
			}
			f, err := s.Seal(stream(n), ReasonTime)
			require.NoError(t, err)
			require.Equal(t, want, members(t, f.Reader()))
		})
	}
}

// TestConcatReadsFilesTogether: what is read ahead changes nothing, wherever the blocks lie.
func TestConcatReadsFilesTogether(t *testing.T) {
	s := newSpool(t, Config{blockBytes: 8 << 10, chunkBytes: 256 << 10})
	r := rand.New(rand.NewPCG(5, 6))
	var streams []ledger.Stream
	for n := range 300 {
		streams = append(streams, stream(n))
	}
	for i := range 6_000 {
		n := r.IntN(300) * r.IntN(300) / 300 // skewed, so that some have many blocks
		require.NoError(t, s.Append(streams[n], int64(i), 5, line(i, 100+r.IntN(900))))
	}
	sealed, err := s.SealAll(streams, ReasonTime)
	require.NoError(t, err)
	var all []byte
	for _, f := range sealed {
		all = append(all, read(t, f)...)
	}
	require.NoError(t, iotest.TestReader(Concat(sealed...), all))
	shuffled, want := slices.Clone(sealed), []byte(nil)
	r.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	for _, f := range shuffled {
		want = append(want, read(t, f)...)
	}
	require.NoError(t, iotest.TestReader(Concat(shuffled...), want))

	// A file that is cut short does not take those before it with it.
	require.NoError(t, s.chunk.file.Truncate(s.chunk.size-1))
	got, err := io.ReadAll(Concat(sealed...))
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, all[:len(all)-trailerBytes-1], got)
}

// TestSealAllSealsInOrderOfFirstOffsets, and leaves out streams without a file.
func TestSealAllSealsInOrderOfFirstOffsets(t *testing.T) {
	s := newSpool(t, Config{})
	for i := range 30 {
		require.NoError(t, s.Append(stream(2-i%3), int64(i), 5, line(i, 300)))
	}
	sealed, err := s.SealAll([]ledger.Stream{stream(0), stream(7), stream(1), stream(2)}, ReasonTime)
	require.NoError(t, err)
	require.Len(t, sealed, 3)
	for i, f := range sealed {
		require.Equal(t, stream(2-i), f.Stream)
		require.EqualValues(t, i, f.First)
		require.Equal(t, sha256.Sum256(read(t, f)), f.SHA256)
		require.Len(t, bytes.Split(members(t, f.Reader()), []byte("\n")), 11)
	}
	require.Zero(t, s.Len())
}

func TestObjectNeverExceedsItsLimit(t *testing.T) {
	const limit = 64 << 10
	for name, c := range map[string]struct {
		compressible bool
		cfg          Config
	}{
		"text":          {true, Config{blockBytes: 16 << 10}},
		"noise":         {false, Config{blockBytes: 16 << 10}},
		"text_level_1":  {true, Config{blockBytes: 16 << 10, Level: 1}},
		"noise_level_1": {false, Config{blockBytes: 16 << 10, Level: 1}},
		"text_level_9":  {true, Config{blockBytes: 16 << 10, Level: 9}},
		"noise_level_9": {false, Config{Level: 9}},
	} {
		t.Run(name, func(t *testing.T) {
			compressible := c.compressible
			c.cfg.MaxBytes = limit
			s := newSpool(t, c.cfg)
			r := rand.New(rand.NewPCG(3, 4))
			sealed := 0
			lines := 3_000
			if c.cfg.Level == 9 { // slow, and as full with the first blocks
				lines = 1_000
			}
			for i := range lines {
				l := line(i, 1+r.IntN(3_000))
				if !compressible {
					for j := range l {
						if l[j] = byte(r.Uint32()); l[j] == '\n' {
							l[j] = 'x'
						}
					}
				}
				err := s.Append(stream(1), int64(i), 5, l)
				if err != nil {
					require.ErrorIs(t, err, ErrFull)
					f, err := s.Seal(stream(1), ReasonSize)
					require.NoError(t, err)
					require.LessOrEqual(t, f.GzipBytes, int64(limit))
					require.Greater(t, f.GzipBytes, int64(limit*8/10), "file was sealed well below its limit")
					members(t, f.Reader())
					sealed++
					require.NoError(t, s.Append(stream(1), int64(i), 5, l))
				}
			}
			require.Positive(t, sealed)
		})
	}
}

func TestAppendRejects(t *testing.T) {
	s := newSpool(t, Config{MaxBytes: 4 << 10})
	require.NoError(t, s.Append(stream(1), 7, 5, []byte("{}")))
	for name, c := range map[string]struct {
		offset int64
		line   []byte
		want   error
	}{
		"same_offset":  {7, []byte("{}"), ErrOrder},
		"lower_offset": {6, []byte("{}"), ErrOrder},
		"empty":        {8, nil, ErrLine},
		"newline":      {8, []byte("{\n}"), ErrLine},
		"next_file":    {8, make([]byte, 4<<10), ErrFull},
		"too_large":    {8, make([]byte, 100_000_000), ErrLine},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, s.Append(stream(1), c.offset, 5, c.line), c.want)
		})
	}
	f, err := s.Seal(stream(1), ReasonTime)
	require.NoError(t, err)
	require.Equal(t, "{}\n", string(members(t, f.Reader())))
}

// TestLineAboveMaxBytes: such a line becomes a file of its own, because what can be a line does
// not depend on the configuration.
func TestLineAboveMaxBytes(t *testing.T) {
	s := newSpool(t, Config{MaxBytes: 4 << 10})
	noise := make([]byte, 9<<10)
	for i := range noise {
		noise[i] = byte(rand.Uint32()) | 0x80
	}
	require.True(t, s.Fits(noise))
	require.NoError(t, s.Append(stream(1), 7, 5, noise))
	require.ErrorIs(t, s.Append(stream(1), 8, 5, []byte("{}")), ErrFull)
	f, err := s.Seal(stream(1), ReasonSize)
	require.NoError(t, err)
	require.Equal(t, string(noise)+"\n", string(members(t, f.Reader())))
	require.NoError(t, s.Append(stream(1), 8, 5, []byte("{}")))
}

func TestBudgetIsKept(t *testing.T) {
	budget := NewBudget(1 << 20)
	one, two := newSpool(t, Config{Budget: budget}), newSpool(t, Config{Budget: budget})
	for i := range 6_000 { // three times the budget
		s := one
		if i%10 == 0 {
			s = two
		}
		require.NoError(t, s.Append(stream(i%3_000), int64(i), 5, line(i, 600)))
		require.LessOrEqual(t, budget.Used(), budget.limit+64<<10)
	}
	one.Discard()
	two.Discard()
	require.Zero(t, budget.Used())
}

// TestIdleSpoolReleasesMemory: an idle spool gives back what it took while the others held
// nothing.
func TestIdleSpoolReleasesMemory(t *testing.T) {
	budget := NewBudget(1 << 20)
	idle, busy := newSpool(t, Config{Budget: budget}), newSpool(t, Config{Budget: budget})
	for i := 0; idle.Held() < budget.limit*3/4; i++ {
		require.NoError(t, idle.Append(stream(i%500), int64(i), 5, line(i, 600)))
	}
	for i := range 5_000 {
		require.NoError(t, busy.Append(stream(i%500), int64(i), 5, line(i, 600)))
		require.NoError(t, idle.EnforceBudget())
		require.LessOrEqual(t, budget.Used(), budget.limit+64<<10)
	}
	require.LessOrEqual(t, idle.Held(), budget.limit/2)
}

// TestWindowsAreDroppedWhenTheShareShrinks: when more spools come, windows that were a quarter of a
// share may be more than the share. Emptying buffers would then never make enough room, and each
// line would be a block of its own until its file is sealed.
func TestWindowsAreDroppedWhenTheShareShrinks(t *testing.T) {
	const streams = 256
	budget := NewBudget(8 << 20)
	s := newSpool(t, Config{Budget: budget, blockBytes: 1 << 10})
	offset := int64(0)
	add := func(n int) {
		offset++
		require.NoError(t, s.Append(stream(int(offset)%streams), offset, 5, line(int(offset), n)))
	}
	blocks := func() (n int) {
		for _, a := range s.open {
			n += len(a.extents)
		}
		return n
	}
	for range 3 * streams {
		add(900)
	}
	require.EqualValues(t, streams*windowBytes, s.windows)
	require.Equal(t, budget.limit/4, s.windows)

	for range 7 {
		newSpool(t, Config{Budget: budget})
	}
	s.cfg.Budget.used.Add(budget.limit) // as if held by other spools
	before := blocks()
	for range 4 * streams {
		add(100)
	}
	require.Less(t, blocks()-before, 2*streams, "blocks hold fewer than two lines")
	require.LessOrEqual(t, s.windows, budget.share()/4)
	require.LessOrEqual(t, s.held, budget.share())
	for i := range streams {
		_, err := s.Seal(stream(i), ReasonTime)
		require.NoError(t, err)
	}
	require.Zero(t, s.windows)
	require.Zero(t, s.held)
}

func TestReleaseFreesDisk(t *testing.T) {
	s := newSpool(t, Config{blockBytes: 1 << 10, chunkBytes: 16 << 10})
	var sealed []*Sealed
	for i := range 4_000 {
		require.NoError(t, s.Append(stream(i%4), int64(i), 5, line(i, 300)))
		if i%500 == 499 {
			f, err := s.Seal(stream(i%4), ReasonTime)
			require.NoError(t, err)
			sealed = append(sealed, f)
		}
	}
	for n := range 4 {
		f, err := s.Seal(stream(n), ReasonTime)
		require.NoError(t, err)
		if f != nil {
			sealed = append(sealed, f)
		}
	}
	require.Greater(t, chunkFiles(t, s), 5)
	for _, f := range sealed {
		f.Release()
	}
	require.Equal(t, 1, chunkFiles(t, s), "chunks other than the current one remain")
	s.Discard()
	require.Zero(t, chunkFiles(t, s))
}

func chunkFiles(t *testing.T, s *Spool) int {
	t.Helper()
	names, err := os.ReadDir(s.cfg.Dir)
	require.NoError(t, err)
	return len(names)
}

func TestDiskErrorBreaksTheSpool(t *testing.T) {
	s := newSpool(t, Config{blockBytes: 1 << 10})
	require.NoError(t, s.Append(stream(1), 1, 5, line(1, 2_000)))
	require.NoError(t, s.Append(stream(1), 2, 5, line(2, 2_000)))
	require.NoError(t, s.chunk.file.Close())
	_, err := s.Seal(stream(1), ReasonTime)
	require.ErrorIs(t, err, os.ErrClosed)
	require.ErrorIs(t, s.Append(stream(1), 3, 5, []byte("{}")), os.ErrClosed)
	s.Discard()
	require.Zero(t, s.cfg.Budget.Used())
}

func TestEqualContentGivesEqualBytes(t *testing.T) {
	var objects [][]byte
	for range 2 {
		s := newSpool(t, Config{blockBytes: 4 << 10})
		for i := range 500 {
			require.NoError(t, s.Append(stream(1), int64(i), 5, line(i, 400)))
		}
		f, err := s.Seal(stream(1), ReasonTime)
		require.NoError(t, err)
		objects = append(objects, read(t, f))
	}
	require.Equal(t, objects[0], objects[1])
}

func TestAppendDoesNotAllocate(t *testing.T) {
	s := newSpool(t, Config{})
	l := line(1, 900)
	offset := int64(0)
	add := func() {
		offset++
		if err := s.Append(stream10[offset%10], offset, 5, l); err != nil {
			t.Fatal(err)
		}
	}
	for range 20_000 { // fill pools and spans first
		add()
	}
	require.Less(t, testing.AllocsPerRun(20_000, add), 0.05, "allocations per record, those of blocks included")
}

var stream10 = func() (s [10]ledger.Stream) {
	for i := range s {
		s[i] = stream(i)
	}
	return s
}()

func FuzzReadFrame(f *testing.F) {
	good := appendFrame(nil, frame{
		Meta: Meta{Stream: stream(1), First: 1, Last: 9, Received: 5, Records: 7, RawBytes: 10, Note: 4},
		kind: kindBlock, inFrame: 3, sha: []byte("state"), payload: []byte("payload"),
	})
	f.Add(good)
	f.Add(appendFrame(nil, frame{kind: kindCheckpoint, payload: []byte("{}")}))
	f.Add(good[:len(good)-1])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		fr, n, err := readFrame(b)
		if err != nil {
			require.ErrorIs(t, err, errTorn)
			return
		}
		require.Equal(t, b[:n], appendFrame(nil, fr))
	})
}

func FuzzCompress(f *testing.F) {
	for level := range 9 {
		f.Add([]byte("aaaa"), []byte("bbbb"), level)
	}
	f.Fuzz(func(t *testing.T, window, raw []byte, level int) {
		level = 1 + (level%9+9)%9
		c := getCodec(level)
		defer putCodec(level, c)
		object := bytes.Clone(gzipHeader)
		var crc uint32
		for _, block := range [][]byte{window, raw} {
			var w []byte
			if crc != 0 {
				w = window
			}
			b, err := c.compress(slices.Concat(w, block), len(w))
			require.NoError(t, err)
			require.LessOrEqual(t, int64(len(b)), blockBound(len(block)))
			object = append(object, b...)
			crc = crc32.Update(crc, crc32.IEEETable, block)
		}
		object = append(object, finalBlock...)
		n := uint32(len(window) + len(raw))
		object = append(object, byte(crc), byte(crc>>8), byte(crc>>16), byte(crc>>24), byte(n), byte(n>>8), byte(n>>16), byte(n>>24))
		require.Equal(t, append(bytes.Clone(window), raw...), append([]byte{}, members(t, bytes.NewReader(object))...))
	})
}

// TestRejectedLinesUseNoBudget: a flood of refused lines does not use up the budget, which would
// put every later line into a block of its own.
func TestRejectedLinesUseNoBudget(t *testing.T) {
	budget := NewBudget(64 << 10)
	s := newSpool(t, Config{Budget: budget})
	for o := range int64(1000) {
		require.ErrorIs(t, s.Append(stream(int(o)), o, 1, []byte("{\n}")), ErrLine)
	}
	require.Zero(t, s.Held())
	require.Zero(t, budget.Used())
	require.Zero(t, s.Len())
}
