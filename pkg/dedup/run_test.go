package dedup

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// runBytes returns the bytes of a run with that many messages.
func runBytes(t testing.TB, messages int) []byte {
	t.Helper()
	dir := t.TempDir()
	s, err := Open(Config{Dir: dir})
	require.NoError(t, err)
	s.Start(0)
	for i := range int64(messages) {
		s.Remember(s.Key("source", fmt.Append(nil, i)), i, day, day)
	}
	s.flush(s.live)
	b, err := os.ReadFile(s.runs[0].path)
	require.NoError(t, err)
	s.Close()
	return b
}

func openBytes(t testing.TB, dir string, b []byte) (*run, error) {
	t.Helper()
	path := filepath.Join(dir, runName(7))
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return openRun(path)
}

func TestRunTornAtEveryByte(t *testing.T) {
	whole, dir := runBytes(t, 150), t.TempDir()
	for n := range whole {
		_, err := openBytes(t, dir, whole[:n])
		require.Error(t, err, "%d of %d bytes", n, len(whole))
	}
	r, err := openBytes(t, dir, whole)
	require.NoError(t, err)
	require.Equal(t, 150, r.count)
	require.NoError(t, r.file.Close())
}

func TestEveryByteOfARunIsVerified(t *testing.T) {
	whole, dir := runBytes(t, 150), t.TempDir()
	for i := range whole {
		whole[i] ^= 0x10
		r, err := openBytes(t, dir, whole)
		if err == nil {
			next := r.each(&err)
			for ok := true; ok; {
				_, ok = next()
			}
			require.NoError(t, r.file.Close())
		}
		require.Error(t, err, "byte %d of %d", i, len(whole))
		whole[i] ^= 0x10
	}
}

// Whatever lies in a directory is opened, used and dropped without a panic.
func FuzzOpenRun(f *testing.F) {
	for _, n := range []int{1, 2, 300} {
		f.Add(runBytes(f, n))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := openBytes(t, t.TempDir(), b)
		if err != nil {
			return
		}
		defer func() { require.NoError(t, r.file.Close()) }()
		var buf []byte
		for _, k := range []Key{{}, {hi: 1 << 63}, {hi: 1<<64 - 1, lo: 1<<32 - 1}} {
			r.filter.has(k)
			_, _, _ = r.find(k, &buf)
		}
		next := r.each(&err)
		for ok := true; ok; {
			_, ok = next()
		}
	})
}

func TestTableIsInOrder(t *testing.T) {
	s := &Store{seed: 1}
	tab := newTable(0, minSlots)
	want := map[Key]int64{}
	for i := range int64(5000) {
		if tab.full() {
			tab.grow()
		}
		k := s.Key("source", fmt.Append(nil, i%4000))
		require.True(t, tab.put(k, 10_000-i, day))
		want[k] = 10_000 - i
	}
	for k, offset := range want {
		got, ok := tab.find(k)
		require.True(t, ok)
		require.Equal(t, offset, got)
	}
	var last Key
	n := 0
	next := tab.each()
	for e, ok := next(); ok; e, ok = next() {
		require.True(t, n == 0 || last.less(e.key))
		require.Equal(t, want[e.key], e.offset)
		last = e.key
		n++
	}
	require.Len(t, want, n)
	_, ok := tab.find(s.Key("source", []byte("none")))
	require.False(t, ok)
}

func TestTableWithoutRoom(t *testing.T) {
	tab := newTable(0, minSlots)
	n := 0
	for ; tab.put(Key{hi: 1<<64 - 1, lo: uint32(n)}, int64(n), day); n++ { // all with the last home
	}
	require.Equal(t, overflowSlots, n)
	_, ok := tab.find(Key{hi: 1<<64 - 1, lo: 1 << 31})
	require.False(t, ok)
}
