package spool

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
)

// segmentContent returns a segment of n entries, and the offset of each frame.
func segmentContent(t testing.TB, n int) (content []byte, begins []int) {
	t.Helper()
	dir := t.TempDir()
	s := open(t, Config{Dir: dir}, discardLog)
	appendAll(t, s, 0, n)
	require.NoError(t, s.Close())
	content, err := os.ReadFile(segments(t, dir)[0])
	require.NoError(t, err)
	at := headerBytes
	for i := range n {
		begins = append(begins, at)
		at += frameHeader + len(entry(i).Payload)
	}
	require.Len(t, content, at)
	return content, append(begins, at)
}

func placeSegment(t testing.TB, dir string, number int, content []byte) string {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf(nameFormat, number))
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// TestTornEndIsCutOff: a crash may leave any part of the last write, or garbage instead. All whole
// frames before it are kept, and the next start reports nothing.
func TestTornEndIsCutOff(t *testing.T) {
	content, begins := segmentContent(t, 4)
	for hazard, garbage := range map[string][]byte{
		"short": nil, "zeros": make([]byte, 40), "old_bytes": bytes.Repeat([]byte{0xf5, 'S', 'P', 0xff, 1}, 20),
	} {
		t.Run(hazard, func(t *testing.T) {
			for size := range len(content) + 1 {
				whole := 0
				for whole < 4 && begins[whole+1] <= size {
					whole++
				}
				if size < headerBytes && len(garbage) > 0 {
					continue // no header, and more bytes than one has: damage
				}
				dir := t.TempDir()
				placeSegment(t, dir, 7, append(content[:size:size], garbage...))
				for range 2 {
					var logged bytes.Buffer
					s := open(t, Config{Dir: dir}, slog.New(slog.NewTextHandler(&logged, nil)))
					torn := size+len(garbage) != begins[whole] && size+len(garbage) > 0
					require.Equal(t, torn, logged.Len() > 0, "%d: %s", size, &logged)
					require.Equal(t, whole == 0, s.Empty())
					require.NoError(t, s.Close())
					size, garbage = begins[whole], nil // the current content
					if whole == 0 {
						size = 0
					}
				}
				s := open(t, Config{Dir: dir}, discardLog)
				requireEntries(t, drain(t, s, 1), upTo(whole)...)
				require.NoError(t, s.Close())
			}
		})
	}
}

// TestHoleLeftByACrash: a disk may have written the last pages of a write but not the first. This
// cannot be told from damage, so nothing is reported as lost.
func TestHoleLeftByACrash(t *testing.T) {
	content, begins := segmentContent(t, 4)
	for hazard, hole := range map[string]struct {
		from, to int
		rest     []int
	}{
		"frame":  {begins[1], begins[2], []int{0, 2, 3}},
		"header": {0, headerBytes, nil},
		"both":   {0, begins[2], nil},
	} {
		t.Run(hazard, func(t *testing.T) {
			torn := bytes.Clone(content)
			clear(torn[hole.from:hole.to])
			dir := t.TempDir()
			path := placeSegment(t, dir, 7, torn)
			var logged bytes.Buffer
			s := open(t, Config{Dir: dir}, slog.New(slog.NewTextHandler(&logged, nil)))
			requireEntries(t, drain(t, s, 1), hole.rest...)
			require.True(t, s.Empty())
			require.EqualValues(t, 1, s.Stats().Damages)
			require.Contains(t, logged.String(), "or of a write that a crash cut short and that was never acknowledged")
			require.NotContains(t, logged.String(), "lost")
			kept, err := os.ReadFile(filepath.Join(dir, "damaged", filepath.Base(path)))
			require.NoError(t, err)
			require.Equal(t, torn, kept)
		})
	}
}

// TestDamageIsReportedAndTheRestDelivered flips each byte of a segment that is not the last one.
func TestDamageIsReportedAndTheRestDelivered(t *testing.T) {
	content, begins := segmentContent(t, 4)
	tail, _ := segmentContent(t, 1)
	for hazard, live := range map[string]bool{"at_rest": false, "while_open": true} {
		t.Run(hazard, func(t *testing.T) {
			for at := range content {
				bad := bytes.Clone(content)
				bad[at] ^= 0x40
				var want []int
				offset := 0
				for i := range 4 {
					if at >= begins[i] && at < begins[i+1] {
						offset = begins[i]
					} else if at >= headerBytes {
						want = append(want, i)
					}
				}
				dir := t.TempDir()
				path := placeSegment(t, dir, 7, bad)
				if live {
					placeSegment(t, dir, 7, content)
				}
				placeSegment(t, dir, 8, tail)
				var logged bytes.Buffer
				s := open(t, Config{Dir: dir}, slog.New(slog.NewTextHandler(&logged, nil)))
				if live {
					placeSegment(t, dir, 7, bad)
				}
				requireEntries(t, drain(t, s, int64(1+at%100)), append(want, 0)...)
				require.True(t, s.Empty(), "damaged entries count as undelivered")
				require.Contains(t, logged.String(), path)
				require.Contains(t, logged.String(), fmt.Sprintf("offset=%d ", offset))
				require.EqualValues(t, 1, s.Stats().Damages, logged.String())
				require.Zero(t, s.Stats().Records)
				require.NoError(t, s.Close())
				require.Empty(t, segments(t, dir))
				kept, err := os.ReadFile(filepath.Join(dir, "damaged", filepath.Base(path)))
				require.NoError(t, err)
				require.Equal(t, bad, kept)
			}
		})
	}
}

func TestShortenedSegment(t *testing.T) {
	content, begins := segmentContent(t, 4)
	dir := t.TempDir()
	path := placeSegment(t, dir, 7, content)
	s := open(t, Config{Dir: dir}, discardLog)
	require.NoError(t, os.Truncate(path, int64(begins[2]+5)))
	requireEntries(t, drain(t, s, 1), 0, 1)
	require.True(t, s.Empty())
	require.EqualValues(t, 1, s.Stats().Damages)
	require.FileExists(t, filepath.Join(dir, "damaged", filepath.Base(path)))
}

func TestUnreadableFileIsRetried(t *testing.T) {
	content, _ := segmentContent(t, 2)
	dir := t.TempDir()
	path := placeSegment(t, dir, 7, content)
	s := open(t, Config{Dir: dir}, discardLog)
	require.NoError(t, os.Rename(path, path+"x"))
	_, err := s.Read(t.Context(), 1)
	require.ErrorContains(t, err, path)
	require.False(t, s.Empty())
	require.NoError(t, os.Rename(path+"x", path))
	requireEntries(t, drain(t, s, 1), 0, 1)
}

func TestSegmentWithABadEntryIsSetAside(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Config{Dir: dir}, discardLog)
	appendAll(t, s, 0, 2)
	path := segments(t, dir)[0]
	_, err := s.Read(t.Context(), 1)
	require.NoError(t, err)
	s.MarkDelivered(errors.New("no such version"))
	requireEntries(t, drain(t, s, 1), 1)
	require.FileExists(t, filepath.Join(dir, "damaged", filepath.Base(path)))
	require.EqualValues(t, 1, s.Stats().Damages)
}

// TestPayloadCannotForgeAFrame: a sender may send what looks like a frame, inside of a frame that
// gets damaged.
func TestPayloadCannotForgeAFrame(t *testing.T) {
	forged := appendFrame(nil, salt{}, Entry{Payload: []byte("forged")}, 0)
	forged = append(forged, "forged"...)
	dir := t.TempDir()
	s := open(t, Config{Dir: dir}, discardLog)
	require.NoError(t, s.Append(Entry{Payload: bytes.Repeat(forged, 1000)}))
	appendAll(t, s, 0, 1)
	path := segments(t, dir)[0]
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	content[headerBytes+5] ^= 1 // damages its length
	placeSegment(t, dir, 7, nil)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	requireEntries(t, drain(t, s, 1), 0)
}

// TestNoForgedFrameWithoutAHeader: without a header, the salt must not become zeros, which
// senders know, because the segment may still grow.
func TestNoForgedFrameWithoutAHeader(t *testing.T) {
	forged := appendFrame(nil, salt{}, Entry{Payload: []byte("forged")}, checksum([]byte("forged")))
	forged = append(forged, "forged"...)
	dir := t.TempDir()
	s := open(t, Config{Dir: dir}, discardLog)
	appendAll(t, s, 0, 1)
	file, err := os.OpenFile(segments(t, dir)[0], os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(make([]byte, headerBytes), 0)
	require.NoError(t, errors.Join(err, file.Close()))

	writing, goOn, done := make(chan struct{}), make(chan struct{}), make(chan error)
	s.fsync = func(f *os.File) error {
		close(writing)
		<-goOn
		return f.Sync()
	}
	go func() { done <- s.Append(Entry{Payload: forged}) }()
	<-writing // so the segment is not finished at its end
	require.Empty(t, drain(t, s, 1))
	require.EqualValues(t, 1, s.Stats().Damages)
	close(goOn)
	require.NoError(t, <-done)
	require.Len(t, segments(t, dir), 1)
	require.Empty(t, drain(t, s, 1))
	require.True(t, s.Empty())
	require.EqualValues(t, 2, s.Stats().Damages)
}

// TestFormatIsStable: the format does not change, because a later release may have to empty a
// spool.
func TestFormatIsStable(t *testing.T) {
	made := headerWithSalt(salt{1, 2, 3, 4, 5, 6, 7, 8})
	for i := range 3 {
		made = appendFrame(made, salt{1, 2, 3, 4, 5, 6, 7, 8}, entry(i), checksum(entry(i).Payload))
		made = append(made, entry(i).Payload...)
	}
	dir := t.TempDir()
	placeSegment(t, dir, 1, goldentest.Equal(t, "testdata/golden.spool", made))
	s := open(t, Config{Dir: dir}, discardLog)
	requireEntries(t, drain(t, s, 1), 0, 1, 2)
}

// TestSegmentOfALaterRelease: it is refused, and stays as it is, unless its header is damaged.
func TestSegmentOfALaterRelease(t *testing.T) {
	content, _ := segmentContent(t, 2)
	later := bytes.Clone(content)
	later[len(fileMagic)-1]++
	binary.LittleEndian.PutUint32(later[headerBytes-4:], checksum(later[:headerBytes-4]))
	copy(later[headerBytes:], "frames that nobody can read yet")
	for place, last := range map[string]bool{"last": true, "before_others": false} {
		t.Run(place, func(t *testing.T) {
			dir := t.TempDir()
			path := placeSegment(t, dir, 7, later)
			placeSegment(t, dir, 6, content)
			if !last {
				placeSegment(t, dir, 8, content[:len(content)-1]) // torn
			}
			for range 2 {
				_, err := Open(Config{Dir: dir, MaxBytes: 64 << 20}, discardLog)
				require.ErrorContains(t, err, fmt.Sprintf("a later release wrote %q", path))
			}
			kept, err := os.ReadFile(path)
			require.NoError(t, err)
			require.Equal(t, later, kept)

			require.NoError(t, os.Rename(path, path+"-given-up"))
			s := open(t, Config{Dir: dir}, discardLog)
			requireEntries(t, drain(t, s, 1), map[bool][]int{true: {0, 1}, false: {0, 1, 0}}[last]...)
		})
	}
	for at := range headerBytes {
		bad := bytes.Clone(later)
		bad[at] ^= 0x40
		dir := t.TempDir()
		path := placeSegment(t, dir, 7, bad)
		s := open(t, Config{Dir: dir}, discardLog)
		require.Empty(t, drain(t, s, 1))
		require.FileExists(t, filepath.Join(dir, "damaged", filepath.Base(path)))
	}
}

// FuzzFrames: whatever a file holds, only whole frames are found in it, one after the other, each
// exactly as it would be written.
func FuzzFrames(f *testing.F) {
	content, begins := segmentContent(f, 3)
	f.Add(content)
	f.Add(append(content[:begins[1]:begins[1]], content[begins[2]:]...))
	f.Add(append([]byte("x"), content[headerBytes:]...))
	f.Add(binary.LittleEndian.AppendUint32(content[:begins[1]:begins[1]], 0xff5053f5))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, ok := parseHeader(b)
		at := headerBytes
		if !ok {
			at = 0
		}
		for {
			e, begin, end, ok := nextFrame(s, b, at)
			if !ok {
				break
			}
			if begin < at || end > len(b) {
				t.Fatalf("%d to %d of %d, from %d", begin, end, len(b), at)
			}
			again := append(appendFrame(nil, s, e, checksum(e.Payload)), e.Payload...)
			if !bytes.Equal(again, b[begin:end]) {
				t.Fatalf("%x became %x", b[begin:end], again)
			}
			at = end
		}
	})
}
