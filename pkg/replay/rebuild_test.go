package replay

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger"
)

// enqueueAndListCauses replays what is lost and returns the causes of failures.
func (r *rig) enqueueAndListCauses(o *delivery.Order) (causes []string) {
	_, err := r.run().Enqueue(r.t.Context(), o, false)
	require.NoError(r.t, err)
	require.NoError(r.t, EachFailure(r.t.Context(), r.staging, o.ID, func(p delivery.Parked) bool {
		causes = append(causes, p.Cause)
		return true
	}))
	return causes
}

// TestLostFilesAreRebuilt: every file is rebuilt with exactly the same lines, including files that
// were cut by size, whatever else is in the range.
func TestLostFilesAreRebuilt(t *testing.T) {
	r := newRig(t)
	for i := range 300 {
		r.write([]string{"web", "app", "shop"}[i%3], hour+int64(i)*30_000, fmt.Sprintf(`{"messageId":"%d"}`, i))
		if i%10 == 0 {
			r.write("web", hour, "poison")
		}
	}
	e := r.seal(17, nil)
	require.Greater(t, len(e.Files), 20)
	want := map[int]string{}
	for i := range e.Files {
		want[i] = r.lines(e.Files[i].StagedKey)
	}
	r.deleteStaged(e)
	require.Empty(t, r.enqueueAndListCauses(r.order("r", everything)))
	require.Len(t, r.jobs, len(e.Files))
	for i := range e.Files {
		require.Equal(t, want[i], r.lines(delivery.RebuiltKey("r", delivery.Ref(e, i))))
	}
	require.Equal(t, len(r.log), r.recordsFetched, "the range was read more than once")

	// In a second run, what was built is kept.
	_, err := r.run().Enqueue(t.Context(), r.readOrder("r"), true)
	require.NoError(t, err)
	require.Equal(t, len(r.log), r.recordsFetched)

	// That also holds after Kafka's retention has passed the file.
	r.first, r.jobs = int64(len(r.log)), nil
	tally, err := r.run().Enqueue(t.Context(), r.readOrder("r"), true)
	require.NoError(t, err)
	require.Zero(t, tally.Failed)
	require.EqualValues(t, len(e.Files), tally.Missing)
	require.Zero(t, tally.Lost)
	require.Len(t, r.jobs, len(e.Files))
}

// TestRebuildRetriesUnavailableBrokers: while brokers are away, what was read is kept, and nothing
// is read twice.
func TestRebuildRetriesUnavailableBrokers(t *testing.T) {
	r := newRig(t)
	for i := range 30 {
		r.write("web", hour+int64(i), fmt.Sprintf(`{"messageId":"%d"}`, i))
	}
	e := r.seal(17, nil)
	want := map[int]string{}
	for i := range e.Files {
		want[i] = r.lines(e.Files[i].StagedKey)
	}
	r.deleteStaged(e)
	r.failEvery = 3
	require.Empty(t, r.enqueueAndListCauses(r.order("r", everything)))
	for i := range e.Files {
		require.Equal(t, want[i], r.lines(delivery.RebuiltKey("r", delivery.Ref(e, i))))
	}
	require.Equal(t, len(r.log), r.recordsFetched)
}

func (r *rig) readOrder(id string) *delivery.Order {
	o, err := ReadOrder(r.t.Context(), r.staging, id)
	require.NoError(r.t, err)
	return o
}

// TestRebuildLeavesOutTheSameDuplicates: the records that the appender left out as duplicates are
// left out again, although the ledger does not say which they are.
func TestRebuildLeavesOutTheSameDuplicates(t *testing.T) {
	for name, c := range map[string]struct {
		before, within []string // messages of an earlier entry, and of this one
		drop           map[int64]bool
	}{
		"duplicate_in_the_file":         {[]string{"x"}, []string{"a", "b", "a", "c"}, map[int64]bool{3: true}},
		"duplicate_of_an_earlier_file":  {[]string{"x", "a"}, []string{"b", "a", "c"}, map[int64]bool{3: true}},
		"both":                          {[]string{"x", "a"}, []string{"b", "a", "c", "b"}, map[int64]bool{3: true, 5: true}},
		"duplicates_that_were_kept":     {[]string{"x"}, []string{"a", "b", "a", "c"}, nil},
		"numeric_message_ids":           {[]string{"x"}, []string{"7", "b", "7"}, map[int64]bool{3: true}},
		"records_without_message_id":    {[]string{"x"}, []string{"", "", "b"}, nil},
		"first_record_is_the_duplicate": {[]string{"a"}, []string{"a", "b"}, map[int64]bool{1: true}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			write := func(ids []string) *ledger.Entry {
				for _, id := range ids {
					value := `{"e":1}`
					switch {
					case id == "7":
						value = `{"messageId":7}`
					case id != "":
						value = fmt.Sprintf(`{"messageId":"%s"}`, id)
					}
					r.write("web", hour, value)
					r.write("app", hour, value) // the same id from another source is not a duplicate
				}
				return r.seal(1000, func(offset int64) bool { return offset%2 == 0 && c.drop[offset/2] })
			}
			write(c.before)
			e := write(c.within)
			want := r.lines(e.Files[0].StagedKey)
			r.deleteStaged(e)
			require.Empty(t, r.enqueueAndListCauses(r.order("r", everything)))
			require.Equal(t, want, r.lines(delivery.RebuiltKey("r", delivery.Ref(e, 0))))
		})
	}
}

// TestRebuildWithAnotherDedupWindow: a file depends on what the appender was configured to
// remember when it was made. Each entry is an hour after the one before.
func TestRebuildWithAnotherDedupWindow(t *testing.T) {
	var others [][]string // more than 25 hours of entries
	for i := range 30 {
		others = append(others, []string{fmt.Sprint("x", i)})
	}
	for name, c := range map[string]struct {
		lookBack time.Duration
		entries  [][]string
		forget   int            // the entry before which nothing is remembered
		drop     map[int64]bool // of the last entry, by offset
		most     int            // number of messages that can be remembered; 0: the default
	}{
		"window_is_shorter_now":   {time.Hour, [][]string{{"a"}, {"x"}, {"y"}, {"z"}, {"b", "a", "c"}}, 0, map[int64]bool{5: true}, 0},
		"window_was_and_is_short": {90 * time.Minute, [][]string{{"a"}, {"x"}, {"y"}, {"c"}, {"a", "c", "b"}}, 0, map[int64]bool{5: true}, 0},
		"window_is_longer_now":    {169 * time.Hour, append(others, []string{"a"}, []string{"b", "a", "c"}), 0, map[int64]bool{32: true}, 30},
		"router_rule_changed":     {0, [][]string{{"a"}, {"c"}, {"a", "c", "b"}}, 1, map[int64]bool{3: true}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			defer func(n int) { maxIDs = n }(maxIDs)
			maxIDs = cmp.Or(c.most, maxIDs)
			r := newRig(t)
			var e *ledger.Entry
			for i, ids := range c.entries {
				if i == c.forget {
					r.head.RouterFrom = r.head.LowWatermark
				}
				for _, id := range ids {
					r.write("web", hour, fmt.Sprintf(`{"messageId":"%s"}`, id))
				}
				e = r.seal(1000, func(offset int64) bool { return c.drop[offset] })
			}
			want := r.lines(e.Files[0].StagedKey)
			r.deleteStaged(e)
			run := r.run()
			run.Kafka.LookBack = c.lookBack
			tally, err := run.Enqueue(t.Context(), r.order("r", everything), false)
			require.NoError(t, err)
			require.Zero(t, tally.Failed)
			require.Equal(t, want, r.lines(delivery.RebuiltKey("r", delivery.Ref(e, 0))))
		})
	}
}

// TestTooManyMessagesFailOnlyTheirFile: too many messages to recognize duplicates by fail the
// files, and not the replay.
func TestTooManyMessagesFailOnlyTheirFile(t *testing.T) {
	defer func(n int) { maxIDs = n }(maxIDs)
	maxIDs = 3
	r := newRig(t)
	for _, id := range []string{"a", "b", "a", "c", "d"} {
		r.write("web", hour, fmt.Sprintf(`{"messageId":"%s"}`, id))
	}
	r.deleteStaged(r.seal(1000, func(offset int64) bool { return offset == 2 }))
	for _, id := range []string{"e", "f"} {
		r.write("web", next, fmt.Sprintf(`{"messageId":"%s"}`, id))
	}
	r.deleteStaged(r.seal(1000, nil))
	causes := r.enqueueAndListCauses(r.order("r", everything))
	require.Len(t, causes, 1)
	require.Contains(t, causes[0], "more than 3 messages")
	require.Len(t, r.jobs, 1, "only the other file is enqueued")
}

// TestFilesSealedBeforeTooManyMessagesAreKept: too many messages fail only the files not yet
// complete, and none that the same pass has already sealed.
func TestFilesSealedBeforeTooManyMessagesAreKept(t *testing.T) {
	defer func(n int) { maxIDs = n }(maxIDs)
	maxIDs = 3
	r := newRig(t)
	for _, id := range []string{"a", "a", "b", "c", "c", "d"} {
		r.write("web", hour, fmt.Sprintf(`{"messageId":"%s"}`, id))
	}
	e := r.seal(2, func(offset int64) bool { return offset == 1 || offset == 4 })
	require.Len(t, e.Files, 2)
	r.deleteStaged(e)
	causes := r.enqueueAndListCauses(r.order("r", everything))
	require.Len(t, causes, 1)
	require.Contains(t, causes[0], "more than 3 messages")
	require.Len(t, r.jobs, 1)
	require.Equal(t, delivery.Ref(e, 0), r.jobs[0].File)
}

// TestFilesThatKafkaLacksAreReported: a file that Kafka no longer has is reported, and others are
// still replayed.
func TestFilesThatKafkaLacksAreReported(t *testing.T) {
	r := newRig(t)
	first, second := r.fill()
	r.deleteStaged(first)
	r.deleteStaged(second)
	r.first = 5
	causes := r.enqueueAndListCauses(r.order("expired", everything))
	require.Len(t, causes, 3)
	require.Contains(t, causes[0], "partition 0 of the topic begins at offset 5")
	require.Len(t, slices.Compact(causes), 1, "causes of one kind have the same text")
	require.Len(t, r.jobs, 3, "the files of the second hour")

	// A record is not what it was.
	r.first, r.jobs = 0, nil
	r.log[31].Value = []byte(`{"messageId":"another"}`)
	causes = r.enqueueAndListCauses(r.order("changed", everything))
	require.Len(t, causes, 1)
	require.Contains(t, causes[0], "other records, or in another order, than the ledger says")
	require.Len(t, r.jobs, 5)

	// The topic was re-created.
	log := r.log
	r.log, r.jobs = r.log[:2], nil
	causes = r.enqueueAndListCauses(r.order("anew", everything))
	require.Len(t, causes, 6)
	require.Contains(t, causes[0], "partition 0 of the topic ends before its last record")
	require.Len(t, slices.Compact(causes), 1)
	r.log = log

	// There is no Kafka, or the order forbids using it.
	r.jobs = nil
	causes = r.enqueueAndListCauses(r.order("staging", func(o *delivery.Order) { o.From = delivery.FromStaging }))
	require.Len(t, causes, 6)
	require.Contains(t, causes[0], "is missing or damaged")
	require.Len(t, slices.Compact(causes), 1)
	require.Empty(t, r.jobs)
}

// A replay takes long, and Kafka deletes the oldest records meanwhile: only files that had them are lost.
func TestRetentionPassesDuringRebuild(t *testing.T) {
	r := newRig(t)
	for i := range 60 {
		r.write("web", hour+int64(i), fmt.Sprintf(`{"messageId":"%d"}`, i))
	}
	r.deleteStaged(r.seal(20, nil))
	r.onFetch = func(offset int64) {
		if offset > 0 {
			r.first = 25
		}
	}
	causes := r.enqueueAndListCauses(r.order("r", everything))
	require.Len(t, causes, 2)
	require.Contains(t, causes[0], "partition 0 of the topic begins at offset 25")
	require.Len(t, r.jobs, 1)
	require.Equal(t, 2, r.jobs[0].File.Index)
}

// TestFromKafkaRebuildsStagedFiles: with --from kafka, files that staging has are rebuilt as well.
func TestFromKafkaRebuildsStagedFiles(t *testing.T) {
	r := newRig(t)
	e, _ := r.fill()
	require.Empty(t, r.enqueueAndListCauses(r.order("r", func(o *delivery.Order) { o.From, o.Until = delivery.FromKafka, next })))
	require.Len(t, r.jobs, 3)
	require.Equal(t, r.lines(e.Files[0].StagedKey), r.lines(delivery.RebuiltKey("r", delivery.Ref(e, 0))))
}
