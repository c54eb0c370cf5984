package progress

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUnits(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1234: "-1,234"} {
		require.Equal(t, want, Count(n))
	}
	for n, want := range map[int64]string{0: "0 B", 999: "999 B", 1000: "1.0 kB", 1_250_000: "1.2 MB", 999_999: "1.0 MB", 3_000_000_000: "3.0 GB"} {
		require.Equal(t, want, Bytes(n))
	}
}

func TestPlural(t *testing.T) {
	require.Equal(t, "1 file", Plural(1, "file"))
	require.Equal(t, "2,000 files", Plural(2000, "file"))
	require.Equal(t, "0 copies", Plural(0, "copy"))
	require.Equal(t, "1 copy", Plural(1, "copy"))
	require.Equal(t, "2 days", Plural(2, "day"))
}

func TestSilentWithoutTerminal(t *testing.T) {
	var out bytes.Buffer
	b := Start(&out, "sending", 10, Count)
	b.Add(5)
	b.Grow(1)
	b.Finish()
	require.Nil(t, b)
	require.Empty(t, out.String())
	require.False(t, IsTerminal(&out))

	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer f.Close()
	require.False(t, IsTerminal(f))
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer null.Close()
	require.False(t, IsTerminal(null))
	// The standard input of a job of cron or systemd is /dev/null under another name.
	name := filepath.Join(t.TempDir(), "stdin")
	require.NoError(t, os.Symlink(os.DevNull, name))
	stdin, err := os.Open(name)
	require.NoError(t, err)
	defer stdin.Close()
	require.False(t, IsTerminal(stdin))
}

func TestLine(t *testing.T) {
	b := newBar(nil, "sending", 1_000_000, Count)
	b.Add(250_000)
	require.Equal(t, "sending [#####...............]  25%  250,000 of 1,000,000  25,000/s  30s left", b.line(10*time.Second))
	b.Add(750_000)
	require.Equal(t, "sending [####################] 100%  1,000,000 of 1,000,000  50,000/s", b.line(20*time.Second))
	b = newBar(nil, "reading", 0, Bytes)
	b.Add(2_000_000)
	require.Equal(t, "reading  2.0 MB  1.0 MB/s", b.line(2*time.Second))
	b = newBar(nil, "odd", 10, Count)
	b.Add(20) // more than announced
	require.Contains(t, b.line(time.Second), "100%")
}

func TestFinishClearsTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := newBar(&out, "x", 10, Count)
		b.draw()
		b.Finish()
		b.Finish()
		require.Regexp(t, `\r +\r$`, out.String())
	})
}

func TestDuration(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0s": 0, "10s": 10 * time.Second, "1m30s": 90 * time.Second, "20m": 20 * time.Minute, "1h": time.Hour, "1h10m": 70 * time.Minute, "24h": 24 * time.Hour, "1h0m30s": time.Hour + 30*time.Second,
	} {
		require.Equal(t, want, Duration(d))
	}
}

// A line that is written over the bar covers all of it.
func TestAbove(t *testing.T) {
	require.Equal(t, "a file\n", (*Bar)(nil).Above("a file"))
	b := newBar(nil, "download", 1<<40, Bytes)
	b.Add(1 << 39)
	line := b.Above("a file")
	require.Regexp(t, "^\ra file +\n$", line)
	require.Greater(t, len(line), len(b.line(time.Hour)))
}
