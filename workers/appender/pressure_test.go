package appender

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/progress"
)

// TestShortDiskSealsEarlyAndPauses: a disk that runs short costs early seals and delay, but no
// record.
func TestShortDiskSealsEarlyAndPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DiskFree: 1 << 30})
		var free atomic.Int64
		free.Store(10 << 30)
		r.pressure.space = func() (diskSpace, error) { return diskSpace{free: free.Load(), size: 100 << 30}, nil }
		var logged bytes.Buffer
		r.deps.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		r.run()
		r.produce("a", "b", "a")
		time.Sleep(5 * time.Second)
		require.Empty(t, r.written(), "sealed before the roll")

		free.Store(1 << 20)
		time.Sleep(5 * time.Second)
		require.Equal(t, [][]string{{"a/0-2", "b/1-1"}}, r.written(), "open files were not sealed for their space")
		require.EqualError(t, r.Ready(t.Context()), fmt.Sprintf(
			"partition 0: paused: disk is short: 1.0 MB free in %q, reading continues above 1.3 GB (appender.disk_free is 1.1 GB)", r.cfg.DataDir))
		r.produce("c", "d")
		time.Sleep(time.Minute)
		require.EqualValues(t, 3, r.RecordsForTesting(), "records read during the pause")
		require.EqualValues(t, 2, lag(r.Appender), "lag during the pause")

		free.Store(1<<30 + 1<<20) // less than a quarter above the minimum: it would be short again at once
		time.Sleep(time.Minute)
		require.Error(t, r.Ready(t.Context()))
		free.Store(2 << 30)
		time.Sleep(5 * time.Second)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-2", "b/1-1"}, {"c/3-3", "d/4-4"}}, r.written())
		r.stopAndWait()
		require.Equal(t, []string{
			fmt.Sprintf(`WARN "the disk is short: reading pauses until there is room; free some, use a larger disk, or lower appender.disk_free" dir=%s free_bytes=1048576 needed_bytes=1342177280`, r.cfg.DataDir),
			fmt.Sprintf(`INFO "the disk has room again: reading continues" dir=%s free_bytes=2147483648`, r.cfg.DataDir),
		}, linesWith(logged.String(), "the disk "))
	})
}

// linesWith returns the lines of a log that contain text, as their level, message and attributes.
func linesWith(logged, text string) (lines []string) {
	for line := range strings.Lines(logged) {
		if strings.Contains(line, text) {
			_, line, _ = strings.Cut(strings.TrimSpace(line), " level=")
			lines = append(lines, strings.Replace(line, "msg=", "", 1))
		}
	}
	return lines
}

// TestTakeoverWithAFullDisk: on a disk that others have filled, a new tenure reads nothing and has
// nothing to write. Otherwise it would fail at once, again and again, each time with another claim.
func TestTakeoverWithAFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{DiskFree: 1 << 30})
		var free atomic.Int64
		r.pressure.space = func() (diskSpace, error) { return diskSpace{free: free.Load(), size: 100 << 30}, nil }
		r.run()
		time.Sleep(2 * time.Second)
		r.assignPartitions()
		r.produce("a", "b")
		full := filepath.Join(r.spoolsDir(), "0", "00000000.journal") // no checkpoint can be written
		r.assignPartitions(0)
		synctest.Wait()
		require.NoError(t, os.Mkdir(full, 0o700))
		require.Zero(t, r.RecordsForTesting())
		time.Sleep(10 * time.Minute)
		require.Equal(t, 2, r.acquisitions())
		require.Zero(t, r.RecordsForTesting())

		require.NoError(t, os.Remove(full))
		free.Store(2 << 30)
		time.Sleep(5 * time.Second)
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0", "b/1-1"}}, r.written())
		r.stopAndWait()
	})
}

// TestDiskTooSmallForDiskFree: what is to stay free must not be more than the disk can ever have
// free, or reading would pause for good.
func TestDiskTooSmallForDiskFree(t *testing.T) {
	for hazard, c := range map[string]struct {
		minFree int64
		space   diskSpace
		err     error
		refused string
		warned  bool
	}{
		"larger_than_the_disk":  {minFree: 1 << 30, space: diskSpace{free: 500e6, size: 500e6}, refused: "less than 400.0 MB"},
		"would_never_continue":  {minFree: 1 << 30, space: diskSpace{free: 1200 << 20, size: 1200 << 20}, refused: "less than 1.0 GB"},
		"absurd":                {minFree: 1<<63 - 1, space: diskSpace{free: 1 << 40, size: 1 << 40}, refused: "appender.disk_free"},
		"full_disk_that_is_big": {minFree: 1 << 30, space: diskSpace{free: 0, size: 1 << 40}},
		"never_pauses":          {space: diskSpace{free: 1, size: 1}},
		"size_not_reported":     {minFree: 1 << 30, warned: true},
		"size_not_readable":     {minFree: 1 << 30, err: errTest, warned: true},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{DiskFree: c.minFree})
				r.pressure.space = func() (diskSpace, error) { return c.space, c.err }
				var logged bytes.Buffer
				r.deps.Logger = slog.New(slog.NewTextHandler(&logged, nil))
				if c.refused != "" {
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					err := r.Run(ctx)
					require.ErrorContains(t, err, c.refused)
					require.ErrorContains(t, err, fmt.Sprintf("the disk of appender.data_dir %q, which holds %s", r.cfg.DataDir, progress.Bytes(c.space.size)))
					return
				}
				r.run()
				r.stopAndWait()
				require.Equal(t, c.warned, strings.Contains(logged.String(), "the size of the disk is not known"))
			})
		})
	}
}

// TestSpaceOf: the real disk reports what it holds.
func TestSpaceOf(t *testing.T) {
	space, err := spaceOf(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, space.size)
	require.LessOrEqual(t, space.free, space.size)
	_, err = spaceOf(filepath.Join(t.TempDir(), "missing"))
	require.Error(t, err)
}

// TestShortDiskShrinksTheStoreLast: staging files frees more disk than forgetting messages,
// and a disk that is short for a moment is no reason to let duplicates pass.
func TestShortDiskShrinksTheStoreLast(t *testing.T) {
	for hazard, c := range map[string]struct {
		short time.Duration
		away  bool // staging is down meanwhile, so what is read could go nowhere
		want  string
	}{
		"briefly":                  {short: 50 * time.Second, want: "a/3-3"},
		"long":                     {short: 10 * time.Minute, want: "a/2-3"},
		"long_with_staging_behind": {short: 10 * time.Minute, away: true, want: "a/3-3"},
	} {
		t.Run(hazard, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{DiskFree: 1 << 30, DedupWindow: 24 * time.Hour})
				var free atomic.Int64
				free.Store(10 << 30)
				r.pressure.space = func() (diskSpace, error) { return diskSpace{free: free.Load(), size: 100 << 30}, nil }
				r.chain = append(r.chain, &ledger.Entry{})
				back := time.Now().Add(30*time.Second + c.short)
				r.onRotate = func(context.Context, int) error {
					if c.away {
						time.Sleep(time.Until(back))
					}
					return nil
				}
				r.run()
				r.produceMessages("m1", "m2")
				time.Sleep(30 * time.Second) // until there is a checkpoint
				free.Store(1 << 20)
				time.Sleep(c.short)
				require.ErrorContains(t, r.Ready(t.Context()), "disk is short")
				free.Store(10 << 30)
				time.Sleep(5 * time.Second)
				r.produceMessages("m1", "m3")
				time.Sleep(time.Second)
				require.NoError(t, r.seal())
				require.Equal(t, [][]string{{"a/0-1"}, {c.want}}, r.written())
				r.stopAndWait()
			})
		})
	}
}

// lag returns the value of the lag metric for partition 0.
func lag(a *Appender) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	v := &a.partitions[0].view
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.end - v.position
}

// TestStagingBehindPausesReading: the number of files that wait for the staging bucket is bounded,
// and reading resumes by itself.
func TestStagingBehindPausesReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxWaiting: 4, RollEvery: time.Minute})
		var logged bytes.Buffer
		r.deps.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		open := make(chan struct{})
		r.onRotate = func(context.Context, int) error { <-open; return nil }
		r.run()
		r.produce("a", "b", "c", "d")
		time.Sleep(2 * time.Minute)
		require.NoError(t, r.Ready(t.Context()), "as many waiting files as allowed")
		r.produce("a")
		time.Sleep(2 * time.Minute)
		require.EqualError(t, r.Ready(t.Context()), fmt.Sprintf(
			"partition 0: paused: staging takes files slower than they are sealed: 5 files waiting in %q, reading continues at 3; the log says if staging.bucket does not take them", r.cfg.DataDir))
		r.produce("a", "b")
		time.Sleep(time.Hour)
		require.EqualValues(t, 5, r.RecordsForTesting(), "records read during the pause")
		require.EqualValues(t, 2, lag(r.Appender), "lag during the pause")

		close(open)
		time.Sleep(2 * time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		var all []string
		for _, batch := range r.written() {
			all = append(all, batch...)
		}
		require.ElementsMatch(t, []string{"a/0-0", "b/1-1", "c/2-2", "d/3-3", "a/4-4", "a/5-5", "b/6-6"}, all)
		require.Zero(t, r.pressure.waiting.Load())
		r.stopAndWait()
		warned := linesWith(logged.String(), "staging takes files slower than they are sealed")
		require.Len(t, warned, 1)
		require.Regexp(t, `^WARN .*staging.bucket.* waiting_files=5 most_files=4$`, warned[0])
		require.Equal(t, []string{`INFO "staging has caught up: reading continues" waiting_files=0`}, linesWith(logged.String(), "staging has caught up"))
	})
}

// A partition pauses for sealed files only while some of them are its own: otherwise its reading is
// not what staging is behind with, and nothing of its own could end the pause.
func TestOnlyPartitionsWithWaitingFilesPause(t *testing.T) {
	for hazard, c := range map[string]struct {
		was          string
		waiting, own int
		want         string
	}{
		"few":                         {"", 100, 10, ""},
		"many":                        {"", 101, 10, pausedStaging},
		"none_of_its_own":             {"", 1000, 0, ""},
		"paused_and_still_many":       {pausedStaging, 76, 10, pausedStaging},
		"paused_and_few":              {pausedStaging, 75, 10, ""},
		"paused_and_its_own_are_gone": {pausedStaging, 1000, 0, ""},
	} {
		p := newPressure(t.TempDir(), 0, 100)
		p.waiting.Store(int64(c.waiting))
		require.Equal(t, c.want, p.pauseReason(c.was, c.own), hazard)
	}
}
