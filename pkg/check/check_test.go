package check

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/sealift/sealift/pkg/gziptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts are a report's figures, without its examples.
type counts struct{ lost, duplicated, foreign, misplaced, malformed int64 }

func (r *Report) counts() counts {
	return counts{r.Lost, r.Duplicated, r.Foreign, r.Misplaced, r.Malformed}
}

func TestGoodBucketPasses(t *testing.T) {
	for _, dump := range []bool{false, true} {
		for _, prefix := range []string{"", "acme/logs/"} {
			t.Run(fmt.Sprintf("dump=%v prefix=%s", dump, prefix), func(t *testing.T) {
				b, e := goodBucket(prefix, dump)
				b = append(b, stored{key: "other/segment-logs/readme.txt"})
				for range 2 { // Check starts over
					r, err := e.Check(b.objects(), Rules{Prefix: strings.TrimSuffix(prefix, "/")})
					require.NoError(t, err)
					require.True(t, r.OK(), r.String())
					require.Equal(t, int64(sources*filesPer*perFile), r.Lines)
					require.Equal(t, int64(sources*filesPer), r.Objects)
					require.Equal(t, int64(1), r.Ignored)
				}
			})
		}
	}
}

// TestEveryDamageIsFound is the mutation test of the judge itself. want is for acknowledgements
// alone; wantDump, if set, is for when the topic's records are known as well.
func TestEveryDamageIsFound(t *testing.T) {
	tests := map[string]struct {
		damage   func(t *testing.T, b bucket) bucket
		want     counts
		wantDump *counts
	}{
		"object_dropped": {
			damage: func(_ *testing.T, b bucket) bucket { return b[1:] },
			want:   counts{lost: perFile},
		},
		"bucket_empty": {
			damage: func(*testing.T, bucket) bucket { return nil },
			want:   counts{lost: sources * filesPer * perFile},
		},
		"line_dropped": {
			damage: edit(func(l []string) []string { return slices.Delete(l, 4, 5) }),
			want:   counts{lost: 1},
		},
		"line_doubled": {
			damage: edit(func(l []string) []string { return append(l, l[4]) }),
			want:   counts{duplicated: 1},
		},
		"line_doubled_three_times": {
			damage: edit(func(l []string) []string { return append(l, l[4], l[4], l[4]) }),
			want:   counts{duplicated: 3},
		},
		"object_copied_to_another_name": {
			damage: func(_ *testing.T, b bucket) bucket {
				c := b[0]
				c.key = strings.Replace(c.key, ".0123456789ab.", ".ba9876543210.", 1)
				return append(b, c)
			},
			want: counts{duplicated: perFile},
		},
		"line_altered_in_its_id": {
			damage: edit(func(l []string) []string { l[4] = strings.Replace(l[4], `"m-`, `"n-`, 1); return l }),
			want:   counts{lost: 1, foreign: 1},
		},
		"line_altered_elsewhere": {
			damage:   edit(func(l []string) []string { l[4] = strings.Replace(l[4], `"n":1`, `"n":2`, 1); return l }),
			want:     counts{}, // ids alone cannot tell
			wantDump: &counts{lost: 1, foreign: 1},
		},
		"line_from_nowhere": {
			damage: edit(func(l []string) []string { return append(l, line("m-x", day1+20)) }),
			want:   counts{foreign: 1},
		},
		"line_without_id": {
			damage: edit(func(l []string) []string { l[4] = strings.Replace(l[4], "messageId", "MessageId", 1); return l }),
			want:   counts{lost: 1, foreign: 1, malformed: 1}, wantDump: &counts{lost: 1, foreign: 1},
		},
		"line_without_time": {
			damage: edit(func(l []string) []string { l[4] = strings.Replace(l[4], "receivedAt", "when", 1); return l }),
			want:   counts{malformed: 1}, wantDump: &counts{lost: 1, foreign: 1},
		},
		"line_not_json": {
			damage: edit(func(l []string) []string { l[4] = l[4][:len(l[4])-1]; return l }),
			want:   counts{lost: 1, malformed: 1},
		},
		"line_not_an_object": {
			damage: edit(func(l []string) []string { return append(l, `["a"]`) }),
			want:   counts{malformed: 1},
		},
		"line_null": {
			damage: edit(func(l []string) []string { return append(l, `null`) }),
			want:   counts{malformed: 2, foreign: 1}, wantDump: &counts{malformed: 1, foreign: 1},
		},
		"empty_line": {
			damage: edit(func(l []string) []string { return append(l, "") }),
			want:   counts{malformed: 1},
		},
		"no_final_newline": {
			damage: raw(func(s string) string { return strings.TrimSuffix(s, "\n") }),
			want:   counts{malformed: 1},
		},
		"no_lines": {
			damage: raw(func(string) string { return "" }),
			want:   counts{lost: perFile, malformed: 1},
		},
		"no_bytes": {
			damage: body(func([]byte) []byte { return nil }),
			want:   counts{lost: perFile, malformed: 1},
		},
		"not_gzip": {
			damage: body(func([]byte) []byte { return []byte(`{"messageId":"m-0-0-0"}` + "\n") }),
			want:   counts{lost: perFile, malformed: 1},
		},
		"truncated_by_a_byte": {
			damage: body(func(b []byte) []byte { return b[:len(b)-1] }),
			want:   counts{malformed: 1},
		},
		"checksum_wrong": {
			damage: body(func(b []byte) []byte { b[len(b)-8] ^= 1; return b }),
			want:   counts{malformed: 1},
		},
		"second_member": {
			damage: body(func(b []byte) []byte { return append(b, gziptest.Zip("")...) }),
			want:   counts{malformed: 1},
		},
		"split_into_two_members": {
			damage: func(t *testing.T, b bucket) bucket {
				all := strings.SplitAfter(gziptest.Unzip(t, bytes.NewReader(b[0].body)), "\n")
				b[0].body = append(gziptest.Zip(strings.Join(all[:4], "")), gziptest.Zip(strings.Join(all[4:], ""))...)
				return b
			},
			want: counts{lost: perFile - 4, malformed: 1},
		},
		"trailing_garbage": {
			damage: body(func(b []byte) []byte { return append(b, 0) }),
			want:   counts{malformed: 1},
		},
		"moved_to_another_source": {
			damage: rename("src_0", "src_1"),
			want:   counts{misplaced: perFile},
		},
		"moved_to_an_unknown_source": {
			damage: rename("src_0", "src_9"),
			want:   counts{misplaced: perFile},
		},
		"moved_to_another_day": {
			damage: func(_ *testing.T, b bucket) bucket {
				first := day1 + dayMs + 17
				b[0].key = fmt.Sprintf("segment-logs/src_0/%d/%s", day1+dayMs, name(first, 99))
				return b
			},
			want: counts{misplaced: perFile},
		},
		"name_begins_with_another_day": {
			damage: rename(fmt.Sprint(day1)+"/", fmt.Sprint(day1+dayMs)+"/"),
			want:   counts{lost: perFile, malformed: 1},
		},
		"name_with_another_time": {
			damage: rename(fmt.Sprintf("/%d.", day1+17), fmt.Sprintf("/%d.", day1+18)),
			want:   counts{malformed: 1},
		},
		"day_not_midnight":    {damage: rename(fmt.Sprint(day1)+"/", fmt.Sprint(day1+1)+"/"), want: counts{lost: perFile, malformed: 1}},
		"day_in_seconds":      {damage: rename(fmt.Sprint(day1)+"/", fmt.Sprint(day1/1000)+"/"), want: counts{lost: perFile, malformed: 1}},
		"day_with_a_sign":     {damage: rename(fmt.Sprint(day1)+"/", "+"+fmt.Sprint(day1)+"/"), want: counts{lost: perFile, malformed: 1}},
		"malformed_source_id": {damage: rename("src_0", "src~0"), want: counts{lost: perFile, malformed: 1}},
		"malformed_file_name": {damage: rename(".0123456789ab.", ".0123456789AB."), want: counts{lost: perFile, malformed: 1}},
		"uuid_not_v5":         {damage: rename("-5cde-", "-4cde-"), want: counts{lost: perFile, malformed: 1}},
		"stray_test_object":   {damage: add(stored{key: "segment-logs/dummy-object.txt"}), want: counts{malformed: 1}},
		"folder_marker":       {damage: add(stored{key: "segment-logs/src_0/"}), want: counts{malformed: 1}},
		"one_file_name_twice": {
			damage: func(_ *testing.T, b bucket) bucket {
				c := b[0]
				c.key = strings.Replace(c.key, "src_0", "src_1", 1)
				return append(b, c)
			},
			want: counts{misplaced: perFile, malformed: 1},
		},
		"content_type": {
			damage: func(_ *testing.T, b bucket) bucket { b[0].contentType = "application/gzip"; return b },
			want:   counts{malformed: 1},
		},
		"content_encoding": {
			damage: func(_ *testing.T, b bucket) bucket { b[0].contentEncoding = ""; return b },
			want:   counts{malformed: 1},
		},
		"metadata_true":               {damage: metadata(perFile, 0), want: counts{}},
		"metadata_with_other_records": {damage: metadata(perFile+1, 0), want: counts{malformed: 1}},
		"metadata_with_another_sum":   {damage: metadata(perFile, 1), want: counts{malformed: 1}},
		"metadata_without_both": {
			damage: func(_ *testing.T, b bucket) bucket { b[0].metadata = map[string]string{"topic": "events"}; return b },
			want:   counts{malformed: 2},
		},
		"too_large": {
			damage: func(t *testing.T, b bucket) bucket {
				var out bytes.Buffer
				w, err := gzip.NewWriterLevel(&out, gzip.NoCompression)
				require.NoError(t, err)
				_, _ = io.WriteString(w, gziptest.Unzip(t, bytes.NewReader(b[0].body)))
				_ = w.Close()
				b[0].body = out.Bytes()
				return b
			},
			want: counts{malformed: 1},
		},
	}
	for hazard, test := range tests {
		for _, dump := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/dump=%v", hazard, dump), func(t *testing.T) {
				b, e := goodBucket("", dump)
				// One after the other: which of two copies is the wrong one may depend on which is seen
				// first.
				r, err := e.Check(test.damage(t, b).objects(), Rules{MaxBytes: 900, Workers: 1})
				require.NoError(t, err)
				want := test.want
				if dump && test.wantDump != nil {
					want = *test.wantDump
				}
				require.Equal(t, want, r.counts(), r.String())
				require.Equal(t, want == counts{}, r.OK())
				if !r.OK() && r.Lost == 0 {
					require.NotEmpty(t, r.Examples)
				}
			})
		}
	}
}

func TestIsPack(t *testing.T) {
	for key, want := range map[string]bool{
		"data/t/1/00000/packs/0000000000000000007/1-2-0123456789abcdef.gz":   true,
		"data/packs/packs/00000/1795356000000/packs/1-2-0123456789abcdef.gz": false,
		"data/t/1": false,
	} {
		require.Equal(t, want, isPack(key), key)
	}
}

func TestProducerRetryIsNoDuplicate(t *testing.T) {
	l := line("m-1", day1+5)
	twice := bucket{
		{key: fmt.Sprintf("segment-logs/a/%d/%s", day1, name(day1+5, 1)), contentType: "text/plain", contentEncoding: "gzip", body: gziptest.Zip(l + "\n" + l + "\n")},
	}
	e := new(Expected)
	e.Acknowledge("a", "m-1")
	e.Record("a", day1+5, []byte(l))
	r, err := e.Check(twice.objects(), Rules{})
	require.NoError(t, err)
	require.Equal(t, counts{duplicated: 1}, r.counts(), "one record in the topic, two lines in the bucket")

	e.Record("a", day1+5, []byte(l))
	r, err = e.Check(twice.objects(), Rules{})
	require.NoError(t, err)
	require.True(t, r.OK(), "two records in the topic, two lines in the bucket: %s", r)

	once := bucket{twice[0]}
	once[0].body = gziptest.Zip(l + "\n")
	r, err = e.Check(once.objects(), Rules{})
	require.NoError(t, err)
	require.Equal(t, counts{lost: 1}, r.counts(), "two records in the topic, one line in the bucket")
}

func TestAcknowledgedButNotInTheTopicIsLost(t *testing.T) {
	b, e := goodBucket("", true)
	e.Acknowledge("src_0", "never-written")
	r, err := e.Check(b.objects(), Rules{})
	require.NoError(t, err)
	require.Equal(t, counts{lost: 1}, r.counts())
}

func TestAcknowledgedTwiceMayBeThereOnceOrTwice(t *testing.T) {
	b, e := goodBucket("", false)
	e.Acknowledge("src_0", "m-0-0-0")
	for _, copies := range []int{0, 1} {
		r, err := e.Check(edit(func(l []string) []string { return append(l, slices.Repeat(l[:1], copies)...) })(t, slices.Clone(b)).objects(), Rules{})
		require.NoError(t, err)
		require.True(t, r.OK(), "%d more copies: %s", copies, r)
	}
}

func TestUnreadableBucketIsAnErrorNotAVerdict(t *testing.T) {
	cut := errors.New("connection reset")
	b, e := goodBucket("", false)
	for name, objects := range map[string]iter.Seq2[Object, error]{
		"list": func(yield func(Object, error) bool) {
			for o := range b[:2].objects() {
				if !yield(o, nil) {
					return
				}
			}
			yield(Object{}, cut)
		},
		"open": func(yield func(Object, error) bool) {
			for o := range b.objects() {
				o.Open = func() (io.ReadCloser, error) { return nil, cut }
				if !yield(o, nil) {
					return
				}
			}
		},
		"read": func(yield func(Object, error) bool) {
			for o := range b.objects() {
				open := o.Open
				o.Open = func() (io.ReadCloser, error) {
					r, err := open()
					return io.NopCloser(io.MultiReader(io.LimitReader(r, 40), iotest.ErrReader(cut))), err
				}
				if !yield(o, nil) {
					return
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := e.Check(objects, Rules{})
			require.ErrorIs(t, err, cut)
			require.Nil(t, r)
		})
	}
}

func TestExamplesAreBounded(t *testing.T) {
	b, e := goodBucket("", false)
	r, err := e.Check(rename("src_0", "src_1")(t, b).objects(), Rules{MaxExamples: 3})
	require.NoError(t, err)
	require.Len(t, r.Examples, 3)
	require.Contains(t, r.String(), "misplaced: segment-logs/src_1/")
}
