package appender

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/deadletter"
	"github.com/sealift/sealift/pkg/ledger"
	"github.com/sealift/sealift/pkg/route"
	"github.com/sealift/sealift/pkg/stream"
)

// TestSpoolsOfOthersPartitionsAreDeleted: the spools of partitions that now belong to others are
// deleted. Nobody else would, and a full disk stops all reading.
func TestSpoolsOfOthersPartitionsAreDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		left := filepath.Join(dir, "spool", "sealift.events", "1", "99", "00000000.spool")
		require.NoError(t, os.MkdirAll(filepath.Dir(left), 0o700))
		require.NoError(t, os.WriteFile(left, []byte("x"), 0o600))
		r := newRig(t, Config{DataDir: dir})
		r.run()
		time.Sleep(leftoverInterval)
		require.NoFileExists(t, left)
		r.stopAndWait()
	})
}

// TestUnavailableDeadLettersAreRetried: while dead letters cannot be written, what was read stays
// valid; retries write no claims and read nothing again.
func TestUnavailableDeadLettersAreRetried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.onBury = func(nth int, _ []stream.Record) error {
			if nth < 20 {
				return errTest
			}
			return nil
		}
		r.run()
		r.produce("a", "", "b")
		require.Eventually(t, func() bool { return r.Ready(t.Context()) != nil }, time.Minute, time.Second)
		require.ErrorContains(t, r.Ready(t.Context()), "dead letters")
		require.ErrorIs(t, r.seal(), errTest, "seal request while dead letters are unavailable")
		time.Sleep(10 * time.Minute)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0", "b/2-2"}}, r.written())
		require.Len(t, r.buried, 1)
		require.Equal(t, 1, r.acquisitions())
		r.stopAndWait()
	})
}

// TestStopWhileDeadLettersAreUnavailable: a worker that is stopped while dead letters cannot be
// written does not read again what came before them, whether or not the log still has it.
func TestStopWhileDeadLettersAreUnavailable(t *testing.T) {
	for name, gone := range map[string]bool{"the_log_holds_all": false, "retention_passed": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				r.onBury = func(int, []stream.Record) error { return errTest }
				r.runToCheckpoint("a", "b")
				r.produce("a", "")
				time.Sleep(time.Minute)
				require.ErrorIs(t, r.Ready(t.Context()), errTest)
				r.stopAndWait()
				next := r.restarted(Config{})
				if gone {
					next.retainFrom(2)
				}
				next.produce("b")
				next.run()
				time.Sleep(time.Minute)
				require.NoError(t, next.Ready(t.Context()))
				require.NoError(t, next.seal())
				require.EqualValues(t, 3, next.RecordsForTesting())
				require.Len(t, next.buried, 1)
				if gone {
					require.Equal(t, []string{"a/0-0", "b/1-1"}, next.written()[0], "records that the log lost are not written at once")
					require.Len(t, next.written(), 2)
				} else {
					require.Equal(t, [][]string{{"a/0-2", "b/1-4"}}, next.written())
				}
				next.stopAndWait()
			})
		})
	}
}

// TestDeadLetterIsACopy: Kafka's client may still be reading it, for a try that timed out, when
// the next fetch reuses the buffers that the record lay in.
func TestDeadLetterIsACopy(t *testing.T) {
	key, value, header := []byte("key"), []byte("value"), []byte("header")
	r := stream.Record{Key: key, Value: value, Headers: []stream.Header{{Key: "a", Value: header}, {Key: "b"}}}
	letter := deadLetter(&r, "reason")
	for _, b := range [][]byte{key, value, header} {
		clear(b)
	}
	require.Equal(t, "key", string(letter.Key))
	require.Equal(t, "value", string(letter.Value))
	require.Equal(t, "header", string(letter.Headers[0].Value))
	require.Nil(t, letter.Headers[1].Value)
	r.Headers = []stream.Header{{Key: deadletter.HeaderSent}, {Key: "b"}, {Key: deadletter.HeaderReason, Value: []byte("made up")}}
	letter = deadLetter(&r, "reason")
	require.Equal(t, "b", letter.Headers[0].Key, "a dead-letter header of the record was kept")
	require.Len(t, letter.Headers, 6)
	letter = deadLetter(&stream.Record{}, "reason")
	require.True(t, letter.Key == nil && letter.Value == nil, "key or value of an empty record")
}

// TestDeadLetterTooLargeForItsTopic: a single record, for instance of a producer that compresses,
// may be larger than the dead-letter topic accepts.
func TestDeadLetterTooLargeForItsTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		const most = 100 << 10
		r.onBury = func(_ int, records []stream.Record) error {
			u := &stream.Unwritten{Err: stream.ErrRecordTooLarge}
			for _, d := range records {
				size := len(d.Key) + len(d.Value)
				for _, h := range d.Headers {
					size += len(h.Value)
				}
				if size > most {
					u.TooLarge = append(u.TooLarge, d)
				}
			}
			if u.TooLarge != nil {
				return u
			}
			return nil
		}
		r.produce("a", "", "", "", "a")
		r.records[1].Value = make([]byte, 80<<10) // fits alone, but not together with others
		r.records[2].Value = make([]byte, 3<<20)
		r.records[3].Headers = append(r.records[3].Headers, stream.Header{Key: "x", Value: make([]byte, 3<<20)})
		r.run()
		time.Sleep(time.Minute)
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-4"}}, r.written())
		require.Equal(t, 1, r.acquisitions())
		var offsets, cut []string
		for i := range r.buried {
			offset, _ := r.buried[i].Header("sealift-offset")
			offsets = append(offsets, string(offset))
			if size, ok := r.buried[i].Header("sealift-cut"); ok {
				cut = append(cut, string(offset)+":"+string(size))
			}
			reason, _ := r.buried[i].Header("sealift-reason")
			require.Equal(t, route.ReasonSource, string(reason))
		}
		require.Equal(t, []string{"1", "2", "3"}, offsets)
		require.Equal(t, []string{"2:3145728", "3:2"}, cut)
		require.Len(t, r.buried[0].Value, 80<<10)
		r.stopAndWait()
	})
}

// TestStopFinishesTheEntryInFlight: its files are already staged, and the successor would stage
// them again.
func TestStopFinishesTheEntryInFlight(t *testing.T) {
	for name, sealOnStop := range map[string]bool{"drop_open_files": false, "seal_open_files": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{SealOnStop: sealOnStop})
				r.onRotate = func(ctx context.Context, nth int) error {
					select {
					case <-ctx.Done():
						return ctx.Err()
					case <-time.After(5 * time.Second):
						return nil
					}
				}
				r.run()
				r.produce("a")
				synctest.Wait()
				go func() { _ = r.seal() }()
				synctest.Wait() // until the entry is in flight
				r.produce("b")
				time.Sleep(time.Second)
				r.stopAndWait()
				want := [][]string{{"a/0-0"}}
				if sealOnStop {
					want = append(want, []string{"b/1-1"})
				}
				require.Equal(t, want, r.written())
			})
		})
	}
}

// TestSealOnStopPassesSkippedRecords: records that are in no file move the watermark at a stop as
// well. Otherwise a disk that is lost afterwards would have them read again, and if retention had
// passed them by then, would halt the partition.
func TestSealOnStopPassesSkippedRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{SealOnStop: true})
		r.run()
		r.produce("a", "")
		require.NoError(t, r.seal())
		r.produce("")
		synctest.Wait()
		r.stopAndWait()
		require.EqualValues(t, 3, r.head.LowWatermark)
		require.EqualValues(t, 2, r.skipped)
	})
}

// TestStopIsBounded: stopping takes limited time, even while the staging bucket is down.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{SealOnStop: true, DrainTimeout: 7 * time.Second})
		r.onRotate = func(ctx context.Context, nth int) error {
			<-ctx.Done()
			return ctx.Err()
		}
		r.run()
		r.produce("a")
		synctest.Wait()
		go func() { _ = r.seal() }()
		synctest.Wait()
		require.Equal(t, 7*time.Second, r.stopAndWait())
		require.Empty(t, r.written())
	})
}

// TestRevokedPartitionIsLeftAtOnce: its new owner is already at work.
func TestRevokedPartitionIsLeftAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{SealOnStop: true})
		r.onRotate = func(ctx context.Context, nth int) error {
			<-ctx.Done()
			return ctx.Err()
		}
		r.run()
		r.produce("a")
		synctest.Wait()
		asked := make(chan error, 1)
		go func() { asked <- r.seal() }()
		synctest.Wait()
		begin := time.Now()
		r.assignPartitions()
		r.assignPartitions() // received only once the former has been carried out
		require.Zero(t, time.Since(begin))
		require.Error(t, <-asked)
		require.Empty(t, r.Partitions())
		r.stopAndWait()
	})
}

// TestNoTakeoverInAnEndedGeneration: a worker that is cut off from the group must not
// keep claiming a partition that was given to another.
func TestNoTakeoverInAnEndedGeneration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		over := make(chan struct{})
		p := r.start(t.Context(), 0, &ledger.Tenure{Owner: "w", Done: over})
		r.partitions[0] = p
		r.produce("a")
		synctest.Wait()
		require.Equal(t, 1, r.acquisitions())
		close(over)
		time.Sleep(time.Minute)
		require.NoError(t, r.Ready(t.Context()), "partition whose generation has ended")

		r.mu.Lock()
		other := *r.head
		other.Seq++
		r.head = &other // claimed by another worker
		r.mu.Unlock()
		require.ErrorIs(t, r.seal(), ledger.ErrLost)
		time.Sleep(time.Hour)
		require.Equal(t, 1, r.acquisitions())
		require.ErrorContains(t, r.Ready(t.Context()), "generation")

		p.tenure.Store(&ledger.Tenure{Owner: "w", Generation: 2})
		time.Sleep(time.Second)
		require.Equal(t, 2, r.acquisitions())
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0"}}, r.written())
		p.cancel()
		<-p.done
	})
}

// TestEndlessTakeoverIsNotReady: the steps that a takeover retries, such as enqueueing copy
// jobs and writing a claim, may fail for hours; readiness must show it.
func TestEndlessTakeoverIsNotReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		back := time.Now().Add(3 * time.Hour)
		r.onAcquire = func(ctx context.Context) error { // retries, like the rotator
			select {
			case <-ctx.Done():
				return fmt.Errorf("%w: %w", ctx.Err(), errTest)
			case <-time.After(time.Until(back)):
				return nil
			}
		}
		r.run()
		r.produce("a")
		require.NoError(t, r.Ready(t.Context()), "takeover that has just begun")
		time.Sleep(3 * time.Minute)
		require.ErrorIs(t, r.Ready(t.Context()), errTest)
		asked, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		require.ErrorIs(t, r.SealAll(asked), errTest, "seal request during the takeover")
		time.Sleep(2 * time.Hour)
		require.ErrorIs(t, r.Ready(t.Context()), errTest)
		time.Sleep(time.Hour)
		require.NoError(t, r.Ready(t.Context()))
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0"}}, r.written())
		r.stopAndWait()
	})
}

// TestSealRequestIgnoresLaterRecords: a request is answered although more files are sealed all
// the time.
func TestSealRequestIgnoresLaterRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{RollEvery: time.Second, Grace: time.Millisecond})
		r.onRotate = func(ctx context.Context, nth int) error {
			r.produce("a") // sealed at the next roll, before this entry is written
			time.Sleep(3 * time.Second)
			return nil
		}
		r.run()
		r.produce("a")
		synctest.Wait()
		require.NoError(t, r.seal())
		r.mu.Lock()
		r.onRotate = nil
		r.mu.Unlock()
		r.stopAndWait()
	})
}

// TestSealRequestIgnoresOtherPartitions: another partition may have no leader.
func TestSealRequestIgnoresOtherPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.boundsErr = errors.New("partition 7 has no leader")
		r.run()
		r.produce("a")
		require.NoError(t, r.seal())
		require.Equal(t, [][]string{{"a/0-0"}}, r.written())
		r.stopAndWait()
	})
}

// TestTakeoversBackOffFromARival: when two owners keep taking a partition from each other, for
// instance two groups on one topic by mistake, each gets the time to write an entry.
func TestTakeoversBackOffFromARival(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.rival = true
		r.run()
		time.Sleep(time.Hour)
		require.Less(t, r.acquisitions(), 300)
		r.stopAndWait()
	})
}

// TestLowerHighWatermarkOfANewLeaderCompletesNothing: a new leader may report a lower high
// watermark than the one before. That must not complete the hour.
func TestLowerHighWatermarkOfANewLeaderCompletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{RollEvery: time.Hour})
		r.run()
		r.produce("a", "a")
		time.Sleep(49 * time.Minute)
		r.mu.Lock()
		r.uncommitted = 2 // of three records: one of those already read, and the new one
		r.mu.Unlock()
		r.produce("a")
		time.Sleep(20 * time.Minute)
		require.Empty(t, r.written())
		r.mu.Lock()
		r.uncommitted = 0
		r.mu.Unlock()
		time.Sleep(20 * time.Minute)
		require.Equal(t, [][]string{{"a/0-2"}}, r.written())
		r.stopAndWait()
	})
}

// TestLeavingTheGroupIsBounded: a worker ends even if no broker answers.
func TestLeavingTheGroupIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		r.leaveHangs = true
		r.run()
		r.produce("a")
		synctest.Wait()
		require.LessOrEqual(t, r.stopAndWait(), leaveTimeout)
	})
}
