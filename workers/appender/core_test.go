package appender

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/gziptest"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/segment"
)

const hour = int64(time.Hour / time.Millisecond)

// t0 is the beginning of an hour.
const t0 = 1_700_000_400_000 - 1_700_000_400_000%hour

func newTestCore(t *testing.T, base *ledger.Entry) *core {
	t.Helper()
	spool, err := segment.New(segment.Config{Dir: filepath.Join(t.TempDir(), "spool"), MaxBytes: segment.MinMaxBytes})
	require.NoError(t, err)
	t.Cleanup(spool.Discard)
	return newCore(coreConfig{rollEvery: time.Hour, grace: 10 * time.Second, maxFiles: 100, maxRuns: 50_000}, base, spool)
}

// feed adds records "source@minutes" at consecutive offsets. The clock is far ahead, as for a
// reader that catches up.
func feed(t *testing.T, c *core, records ...string) {
	t.Helper()
	for _, r := range records {
		source, at, _ := strings.Cut(r, "@")
		var minutes int64
		_, err := fmt.Sscan(at, &minutes)
		require.NoError(t, err)
		add(t, c, fateFiled, c.position, source, t0+minutes*60_000, t0+1000*hour, fmt.Appendf(nil, `{"o":%d}`, c.position))
		require.NoError(t, c.sealDue())
	}
}

// add adds a record and checks its fate.
func add(t *testing.T, c *core, want fate, offset int64, source string, received, now int64, line []byte) {
	t.Helper()
	got, err := c.add(offset, source, received, now, line)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// files returns the names of a batch's files, as source/first-last.
func files(b *segment.Batch) []string {
	var names []string
	if b != nil {
		for _, f := range b.Files {
			names = append(names, fmt.Sprintf("%s/%d-%d", f.Stream.Source, f.First, f.Last))
		}
	}
	return names
}

func entry(low int64, through ...ledger.SealedStream) *ledger.Entry {
	return &ledger.Entry{Seq: 7, LowWatermark: low, SealedThrough: through}
}

func TestGraceDefaults(t *testing.T) {
	for grace, want := range map[time.Duration]time.Duration{0: 10 * time.Second, -1: 0, time.Millisecond: time.Millisecond, time.Hour: time.Minute} {
		a, err := New(Config{DataDir: t.TempDir(), RollEvery: time.Minute, Grace: grace}, Deps{Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		require.Equal(t, want, a.coreConfig(0).grace, grace)
	}
}

func TestCatchingUpSealsFullHours(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@1", "b@2", "a@59", "a@61") // one minute past the roll: both files of the first hour are due
	require.Equal(t, []string{"a/0-2", "b/1-1"}, files(c.cut()))
}

// The files of a partition are due at the same moment, and partitions one after the other, so that
// entries are full and their PUTs do not all come at once.
func TestPartitionsAreSpreadOverTheJitter(t *testing.T) {
	const partitions, jitter = 32, 3 * time.Minute
	var eighths [8]int
	for p := range partitions {
		c := newTestCore(t, entry(0))
		c.cfg.partition, c.cfg.jitter = p, jitter
		feed(t, c, "a@1", "b@2", "c@59")
		first := c.open[ledger.StreamOf("a", t0)]
		for stream, deadline := range c.open {
			require.Equal(t, first, deadline, stream)
		}
		late := first - t0 - hour - c.cfg.grace.Milliseconds()
		require.GreaterOrEqual(t, late, int64(0))
		require.Less(t, late, jitter.Milliseconds())
		eighths[late*8/jitter.Milliseconds()]++
	}
	for _, n := range eighths {
		require.InDelta(t, partitions/8, n, 1, "%v", eighths)
	}
}

func TestStragglersWithinTheGraceGoIntoTheirFile(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@59")
	add(t, c, fateFiled, 1, "b", t0+hour+5_000, t0+1000*hour, []byte("{}")) // within the grace
	require.NoError(t, c.sealDue())
	feed(t, c, "a@59", "b@61")
	require.Equal(t, []string{"a/0-2"}, files(c.cut()))
}

// A record that opens its source's first file of an hour within the grace after the hour's end does
// not wait for the next roll.
func TestStragglerThatOpensAFileIsSealedWithItsRoll(t *testing.T) {
	c := newTestCore(t, entry(0))
	c.cfg.partition, c.cfg.jitter = 1, 3*time.Minute
	feed(t, c, "a@59")
	over := c.open[ledger.StreamOf("a", t0)]
	require.Greater(t, over, t0+hour+61_000, "deadline without the jitter")
	feed(t, c, "b@61", "c@59")
	require.Equal(t, over, c.open[ledger.StreamOf("c", t0)])
	feed(t, c, "b@64")
	b := c.cut()
	require.Equal(t, []string{"a/0-0", "c/2-2"}, files(b))
	require.Equal(t, t0+hour, b.CompleteThrough, "the hour is incomplete")
}

func TestLateRecordsWaitForTheNextRoll(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@30", "b@121")
	require.Equal(t, []string{"a/0-0"}, files(c.cut()))
	c.won(entry(1))
	feed(t, c, "a@31", "b@130", "a@32", "b@150")
	require.Nil(t, c.cut(), "late records were sealed before the next roll")
	feed(t, c, "b@181")
	require.Equal(t, []string{"b/1-5", "a/2-4"}, files(c.cut()))
}

func TestIdleSourceIsSealedAtTheLogsEnd(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@30")
	c.advanceTo(1, true, t0+hour+9_000)
	require.NoError(t, c.sealDue())
	require.Nil(t, c.cut(), "sealed before the grace was over")
	c.advanceTo(1, false, t0+hour+11_000)
	require.NoError(t, c.sealDue())
	require.Nil(t, c.cut(), "sealed although the log's end was not reached")
	c.advanceTo(1, true, t0+hour+11_000)
	require.NoError(t, c.sealDue())
	require.Equal(t, []string{"a/0-0"}, files(c.cut()))
}

func TestFastCollectorClockSealsNothing(t *testing.T) {
	c := newTestCore(t, entry(0))
	now := t0 + 30*60_000
	add(t, c, fateFiled, 0, "a", t0+1_000, now, []byte("{}"))
	add(t, c, fateFiled, 1, "fast", t0+50*hour, now, []byte("{}"))
	require.NoError(t, c.sealDue())
	require.Nil(t, c.cut())
}

func TestWatermarkStaysBelowFilesInNoEntry(t *testing.T) {
	c := newTestCore(t, entry(0))
	c.cfg.maxFiles = 1
	feed(t, c, "a@1", "b@2", "c@3", "c@63")
	b := c.cut()
	require.Equal(t, []string{"a/0-0"}, files(b))
	require.EqualValues(t, 1, b.LowWatermark, "watermark passes b, which is in no entry")
	c.won(entry(1))
	b = c.cut()
	require.Equal(t, []string{"b/1-1"}, files(b))
	require.EqualValues(t, 2, b.LowWatermark)
	c.won(entry(2))
	b = c.cut()
	require.Equal(t, []string{"c/2-2"}, files(b))
	require.EqualValues(t, 3, b.LowWatermark, "watermark passes c's open file")
}

func TestRecordsCoveredByTheFilterAreNotFiledAgain(t *testing.T) {
	c := newTestCore(t, entry(10, ledger.SealedStream{Source: "a", Hour: t0, Offset: 12}))
	feed(t, c, "a@1", "b@1", "a@2", "a@3", "a@61") // offsets 10 to 14
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	require.Equal(t, []string{"b/11-11", "a/13-13", "a/14-14"}, files(c.cut()))
}

func TestOffsetsNeverGoBack(t *testing.T) {
	c := newTestCore(t, entry(10))
	feed(t, c, "a@1")
	_, err := c.add(10, "a", t0, t0, []byte("{}"))
	require.ErrorIs(t, err, errOffsetWentBack)
	require.ErrorIs(t, c.skip(9, route.ReasonJSON), errOffsetWentBack)
	add(t, c, fateFiled, 15, "a", t0, t0, []byte("{}")) // gaps are normal
}

func TestSkippedRecordsAreCountedOnceTheWatermarkPassesThem(t *testing.T) {
	c := newTestCore(t, entry(0))
	require.NoError(t, c.skip(0, route.ReasonJSON))
	feed(t, c, "a@1")
	require.NoError(t, c.skip(2, route.ReasonSource))
	feed(t, c, "b@61")
	b := c.cut()
	require.Equal(t, []string{"a/1-1"}, files(b))
	require.EqualValues(t, 3, b.LowWatermark)
	require.Equal(t, map[string]int64{route.ReasonJSON: 1, route.ReasonSource: 1}, b.Skipped)
	c.won(entry(3))
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	require.Empty(t, c.cut().Skipped)
}

func TestEntryWithoutFilesAtMostOnceARoll(t *testing.T) {
	c := newTestCore(t, entry(0))
	require.NoError(t, c.skip(0, route.ReasonJSON))
	b := c.cut()
	require.Empty(t, b.Files)
	require.EqualValues(t, 1, b.LowWatermark)
	c.won(entry(1))
	require.NoError(t, c.skip(1, route.ReasonJSON))
	require.Nil(t, c.cut())
	c.advanceTo(2, true, t0+2*hour)
	require.NotNil(t, c.cut())
}

// TestFloodOfSkippedRecordsTakesLittleMemory: while an open file holds the watermark back,
// remembering what was skipped above it takes little memory.
func TestFloodOfSkippedRecordsTakesLittleMemory(t *testing.T) {
	c := newTestCore(t, entry(0))
	flood := func(n int) {
		for range n {
			require.NoError(t, c.skip(c.position, []string{route.ReasonJSON, route.ReasonSource}[c.position%2]))
		}
	}
	flood(10)
	feed(t, c, "a@1") // at offset 10
	flood(100_000)
	require.LessOrEqual(t, len(c.skipped), 4)

	require.NoError(t, c.seal(ledger.StreamOf("a", t0+60_000), segment.ReasonSize))
	feed(t, c, "b@2") // at offset 100,011; stays open
	flood(10)
	b := c.cut()
	require.EqualValues(t, 100_011, b.LowWatermark)
	require.Equal(t, map[string]int64{route.ReasonJSON: 50_005, route.ReasonSource: 50_005}, b.Skipped)
	flood(10) // read while the entry is being written
	c.won(entry(b.LowWatermark))

	require.NoError(t, c.sealAll(segment.ReasonRequest))
	b = c.cut()
	flood(10)
	require.Equal(t, map[string]int64{route.ReasonJSON: 10, route.ReasonSource: 10}, b.Skipped)
	c.won(entry(b.LowWatermark))
	c.advanceTo(c.position, true, t0+3*hour)
	require.Equal(t, map[string]int64{route.ReasonJSON: 5, route.ReasonSource: 5}, c.cut().Skipped, "skipped after the cut")
}

func TestUnfitLineIsSkipped(t *testing.T) {
	c := newTestCore(t, entry(0))
	add(t, c, fateUnfit, 0, "a", t0, t0, []byte("{\n}"))
	require.Equal(t, []skippedRun{{Reason: reasonLine, Records: 1}}, c.skipped)
}

func TestFullFileIsSealedForItsSize(t *testing.T) {
	c := newTestCore(t, entry(0))
	noise := make([]byte, 900<<10)
	for i := range noise {
		noise[i] = byte(i*i>>3) | 0x80
	}
	for o := range int64(6) {
		add(t, c, fateFiled, o, "a", t0+1, t0+1, noise)
	}
	for _, f := range c.sealed {
		require.Equal(t, segment.ReasonSize, f.Reason)
		require.LessOrEqual(t, f.GzipBytes, int64(segment.MinMaxBytes))
	}
	c.spool.Files(func(m segment.Meta) { require.EqualValues(t, 5, m.Last) })
}

// TestOldestReceivedIgnoresLatenessAndTheFuture: a redriven dead letter, or a producer whose clock
// is wrong, must not look like an appender that is days behind.
func TestOldestReceivedIgnoresLatenessAndTheFuture(t *testing.T) {
	for name, received := range map[string]int64{"late": t0 - 100*hour, "future": t0 + 100*hour} {
		t.Run(name, func(t *testing.T) {
			c := newTestCore(t, entry(0))
			now := t0 + 5*60_000
			c.advanceTo(0, true, now)
			add(t, c, fateFiled, 0, "a", received, now, []byte("{}"))
			oldest, ok := c.oldestReceived()
			require.True(t, ok)
			require.Equal(t, t0, oldest)
			c.advanceTo(1, true, now+3*hour) // the entry cannot be written for hours
			require.NoError(t, c.sealDue())
			oldest, _ = c.oldestReceived()
			require.Equal(t, t0, oldest)
		})
	}
}

func TestOldestReceivedIgnoresWhatIsInAnEntry(t *testing.T) {
	c := newTestCore(t, entry(0))
	_, ok := c.oldestReceived()
	require.False(t, ok)
	feed(t, c, "b@5", "a@1", "a@61")
	require.NotNil(t, c.cut())
	oldest, ok := c.oldestReceived()
	require.True(t, ok, "a file in flight does not count")
	require.Equal(t, t0+60_000, oldest)
	c.won(entry(2))
	oldest, _ = c.oldestReceived()
	require.Equal(t, t0+61*60_000, oldest)
}

// lines returns the lines of a sealed file.
func lines(t *testing.T, f *segment.Sealed) []string {
	t.Helper()
	return strings.Split(strings.TrimSuffix(gziptest.Unzip(t, f.Reader()), "\n"), "\n")
}

// TestAnyScheduleFilesEveryRecordOnce drives cores through random records, cuts, checkpoints,
// kills, losses of ownership, and restarts from the ledger and from local files, including foreign
// and damaged ones. It verifies I2, I5 and I6: every record is in exactly one file of the ledger,
// or counted once under the right reason; and the first copy of a message is always filed, whether
// the store is ahead, behind, lost, damaged or foreign.
func TestAnyScheduleFilesEveryRecordOnce(t *testing.T) {
	var resumed, duplicates, copies int
	for seed := range uint64(100) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			s := newSchedule(t, seed)
			s.run()
			resumed, duplicates, copies = resumed+s.resumed, duplicates+s.duplicates, copies+s.copies
		})
	}
	require.Greater(t, resumed, 100)
	require.Greater(t, duplicates, 1000)
	require.Greater(t, copies, 10)
}

// TestCompleteThroughOfEntries: the time never passes a record that is in no entry, unless its hour
// was already complete, and does not go back for a late record.
func TestCompleteThroughOfEntries(t *testing.T) {
	c := newTestCore(t, entry(0))
	feed(t, c, "a@30", "b@59", "b@61") // b's record of the second hour is in an open file
	b := c.cut()
	require.Equal(t, []string{"a/0-0", "b/1-1"}, files(b))
	require.Equal(t, t0+hour, b.CompleteThrough)
	next := entry(2)
	next.CompleteThrough = b.CompleteThrough
	c.won(next)

	feed(t, c, "a@40", "b@121") // a late record, and the end of the next hour
	b = c.cut()
	require.Equal(t, []string{"b/2-2", "a/3-3"}, files(b))
	require.Equal(t, t0+2*hour, b.CompleteThrough)
}

// TestStragglersDoNotDelayCompleteness: a file that is open when an hour ends does not keep that
// hour from being complete if its own was complete before. Otherwise a few late records at each
// turn, from various sources, would keep all later hours incomplete.
func TestStragglersDoNotDelayCompleteness(t *testing.T) {
	base := entry(0)
	base.CompleteThrough = t0 + hour
	c := newTestCore(t, base)
	feed(t, c, "a@61")
	late := t0 + 2*hour + 5_000
	c.advanceTo(1, true, late)
	add(t, c, fateFiled, 1, "late", t0+60_000, late, []byte("{}"))
	c.advanceTo(2, true, t0+2*hour+10_000)
	require.NoError(t, c.sealDue())
	b := c.cut()
	require.Equal(t, []string{"a/0-0"}, files(b))
	require.Equal(t, t0+2*hour, b.CompleteThrough)
	require.EqualValues(t, 1, b.LowWatermark)
}

// TestIdlePartitionWritesOneEntryAnHour: otherwise a partition without records could not be
// told from one that is not read.
func TestIdlePartitionWritesOneEntryAnHour(t *testing.T) {
	base := entry(5)
	base.CompleteThrough = t0 + 10_000
	c := newTestCore(t, base)
	c.advanceTo(5, true, t0+hour+9_000)
	require.Nil(t, c.cut(), "entry before the grace was over")
	c.advanceTo(5, true, t0+hour+10_000)
	b := c.cut()
	require.NotNil(t, b)
	require.Empty(t, b.Files)
	require.Equal(t, t0+hour, b.CompleteThrough)
	require.EqualValues(t, 5, b.LowWatermark)
	next := entry(5)
	next.CompleteThrough = b.CompleteThrough
	c.won(next)
	c.advanceTo(5, true, t0+2*hour)
	require.Nil(t, c.cut())
}

// TestHourOfSkippedRecordsIsComplete: records that are in no file move the watermark. The entry that
// says so waits for the grace, and so says that the hour is complete, too.
func TestHourOfSkippedRecordsIsComplete(t *testing.T) {
	c := newTestCore(t, entry(0))
	c.advanceTo(0, true, t0+hour+10_000)
	c.won(follow(c.base, c.cut()))
	require.NoError(t, c.skip(0, reasonLine))
	c.advanceTo(1, true, t0+2*hour+9_000)
	require.Nil(t, c.cut(), "entry before the grace was over")
	c.advanceTo(1, true, t0+2*hour+10_000)
	b := c.cut()
	require.NotNil(t, b)
	require.EqualValues(t, 1, b.LowWatermark)
	require.Equal(t, map[string]int64{reasonLine: 1}, b.Skipped)
	require.Equal(t, t0+2*hour, b.CompleteThrough)
	c.won(follow(c.base, b))
	require.NoError(t, c.skip(1, reasonLine))
	c.advanceTo(2, true, t0+3*hour+9_000)
	require.Nil(t, c.cut())
}

// TestHourIsCompleteAfterAnEarlyFile: an entry between the turn and the end of the grace, as after a
// file that is full, does not put off until the next turn what it cannot say yet.
func TestHourIsCompleteAfterAnEarlyFile(t *testing.T) {
	c := newTestCore(t, entry(0))
	received := t0 + 2*hour + 5_000
	add(t, c, fateFiled, 0, "a", received, received, []byte("{}"))
	require.NoError(t, c.sealAll(segment.ReasonSize))
	b := c.cut()
	require.Equal(t, t0+2*hour-5_000, b.CompleteThrough)
	c.won(follow(c.base, b))
	c.advanceTo(1, true, t0+2*hour+10_000)
	b = c.cut()
	require.NotNil(t, b)
	require.Equal(t, t0+2*hour, b.CompleteThrough)
}

// TestHourWithoutFilesIsComplete: when an hour ends of which a partition got nothing, it is reported
// complete at its turn, although a file of the next hour, or of a straggler, is already open.
func TestHourWithoutFilesIsComplete(t *testing.T) {
	for name, received := range map[string]int64{"next_hour": t0 + 2*hour + 5_000, "straggler": t0 + 60_000} {
		t.Run(name, func(t *testing.T) {
			c := newTestCore(t, entry(0))
			c.advanceTo(0, true, t0+hour+10_000)
			c.won(follow(c.base, c.cut()))
			now := t0 + 2*hour + 5_000
			c.advanceTo(0, true, now)
			require.Nil(t, c.cut())
			add(t, c, fateFiled, 0, "a", received, now, []byte("{}"))
			require.Nil(t, c.cut())
			c.advanceTo(1, true, t0+2*hour+10_000)
			b := c.cut()
			require.NotNil(t, b)
			require.Empty(t, b.Files)
			require.Equal(t, t0+2*hour, b.CompleteThrough)
			c.won(follow(c.base, b))
			c.advanceTo(1, true, t0+3*hour)
			require.Nil(t, c.cut(), "another entry before the next turn")
		})
	}
}

// Invariant: I2. A line that fits no file may lie between the lines of a file that the filter
// covers, without being in that file. It is skipped again.
func TestUnfitLinesCoveredByTheFilterAreSkippedAgain(t *testing.T) {
	c := newTestCore(t, entry(10, ledger.SealedStream{Source: "a", Hour: t0, Offset: 20}))
	feed(t, c, "a@1")
	add(t, c, fateUnfit, 11, "a", t0, t0, []byte("{\n}"))
	feed(t, c, "a@2", "b@1")
	require.NoError(t, c.sealAll(segment.ReasonRequest))
	b := c.cut()
	require.Equal(t, []string{"b/13-13"}, files(b))
	require.Equal(t, map[string]int64{reasonLine: 1}, b.Skipped)
}

// TestMaxBytesChangesBelowTheFilter: below the filter, whether a record is in a file of the ledger
// is judged again, possibly under another appender.max_bytes. Invariant: I2.
func TestMaxBytesChangesBelowTheFilter(t *testing.T) {
	large := []byte(`{"x":"` + strings.Repeat("x", 3<<20) + `"}`)
	for name, limits := range map[string][2]int64{
		"lowered": {100_000_000, segment.MinMaxBytes},
		"raised":  {segment.MinMaxBytes, 100_000_000},
	} {
		t.Run(name, func(t *testing.T) {
			under := func(limit int64, base *ledger.Entry) *core {
				c := newTestCore(t, base)
				spool, err := segment.New(segment.Config{Dir: filepath.Join(t.TempDir(), "spool"), MaxBytes: limit})
				require.NoError(t, err)
				t.Cleanup(spool.Discard)
				c.spool = spool
				feed(t, c, "b@1", "a@1")
				_, err = c.add(2, "a", t0, t0, large)
				require.NoError(t, err)
				feed(t, c, "a@2")
				return c
			}
			first := under(limits[0], entry(0))
			require.NoError(t, first.seal(ledger.Stream{Source: "a", Hour: t0}, segment.ReasonRequest))
			head := follow(first.base, first.cut())
			require.Equal(t, []ledger.SealedStream{{Source: "a", Hour: t0, Offset: 3}}, head.SealedThrough)
			inFiles := int64(0)
			for _, f := range append(first.inFlight, first.sealed...) {
				inFiles += f.Records
			}
			skipped := int64(0)
			for _, s := range under(limits[1], head).skipped {
				skipped += s.Records
			}
			require.EqualValues(t, 3, inFiles+skipped, "records in files or counted as skipped")
		})
	}
}

// TestClockSetBackDelaysFilesByOneRoll: if the clock was far ahead for a moment and the reader at
// the log's end believed it, that delays files by one roll, not until the clock has caught up; also
// after a restart.
func TestClockSetBackDelaysFilesByOneRoll(t *testing.T) {
	for name, restart := range map[string]bool{"same_process": false, "restarts": true} {
		t.Run(name, func(t *testing.T) {
			s := newSchedule(t, 1)
			w := s.workers[0]
			s.takeOver(w)
			w.core.advanceTo(0, true, t0+9000*hour)
			feed(t, w.core, "a@1")
			w.core.cfg.jitter = 0
			if restart {
				_, err := w.core.save()
				require.NoError(t, err)
				s.kill(w)
				s.takeOver(w)
				w.core.cfg.jitter = 0
			}
			w.core.setClock(t0 + 2*60_000)
			w.core.advanceTo(1, true, t0+hour)
			require.NoError(t, w.core.sealDue())
			require.Empty(t, w.core.sealed)
			w.core.advanceTo(1, true, t0+hour+w.core.cfg.grace.Milliseconds())
			require.NoError(t, w.core.sealDue())
			require.Len(t, w.core.sealed, 1)
			s.kill(w)
		})
	}
}

// TestClockSetBackTakesCompletenessBack: if the completeness of an entry lies in the future, the
// next entry takes it back, also for an idle partition and under another owner.
func TestClockSetBackTakesCompletenessBack(t *testing.T) {
	for name, another := range map[string]bool{"same_process": false, "another_owner": true} {
		t.Run(name, func(t *testing.T) {
			c := newTestCore(t, entry(0))
			c.setClock(t0 + 9000*hour)
			c.advanceTo(0, true, t0+9000*hour)
			said := follow(c.base, c.cut())
			require.Equal(t, t0+9000*hour-10_000, said.CompleteThrough)
			c.won(said)
			if another {
				c = newTestCore(t, claim(said, "w2"))
			}
			c.setClock(t0 + 60_000)
			require.Nil(t, c.cut(), "entry although nothing was read")
			c.advanceTo(0, true, t0+2*hour)
			c.setClock(t0 + 2*hour)
			b := c.cut()
			require.NotNil(t, b)
			require.Equal(t, t0+2*hour-10_000, b.CompleteThrough)
			c.won(follow(c.base, b))
			feed(t, c, "a@1")
			require.NoError(t, c.sealAll(segment.ReasonRequest))
			c.advanceTo(1, true, t0+hour)
			require.Equal(t, b.CompleteThrough, c.cut().CompleteThrough, "completeness went back although the clock did not")
		})
	}
}

// TestClockSetBackBySecondsChangesNothing: setting the clock by seconds makes no tiny files.
func TestClockSetBackBySecondsChangesNothing(t *testing.T) {
	c := newTestCore(t, entry(0))
	c.advanceTo(0, true, t0+hour)
	feed(t, c, "a@60")
	c.setClock(t0 + hour - 1)
	c.advanceTo(1, true, t0+hour+c.cfg.grace.Milliseconds())
	require.NoError(t, c.sealDue())
	require.Empty(t, c.sealed)
}
