package delivery

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/ledger"
)

const (
	sum    = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
	source = "qv5iYYMxd94DahFpRzm58y"
)

var (
	log  = ledger.Log{Topic: "sealift.events", Incarnation: "1", Partition: 3}
	file = ledger.File{
		Source: source, Hour: 1795356000000, Received: 1795357812345, First: 1000, Last: 4999, Records: 3200,
		SHA256: sum,
	}
	ref     = FileRef{Topic: "sealift.events", Incarnation: "1", Partition: 3, Seq: 42, Index: 7}
	job     = Job{Version: 1, File: ref, Destination: "ws_7Q2hTz9LkPq4Wc8B/acme-prod", Attempt: 2, NotBefore: 1795360000000, FirstTry: 1795359940000, LastError: "bucket not found"}
	receipt = Receipt{
		Version: 1, File: ref, Destination: job.Destination, Outcome: Delivered, Bucket: "acme-logs", Key: ObjectKey("path", log, &file),
		ETag: "d41d8cd98f00b204e9800998ecf8427e", SHA256: sum, Bytes: 123456, Records: 3200, Existed: true, Worker: "copier-1", Fence: 17, At: 1795360001000,
		Role: "arn:aws:iam::123456789012:role/segment-logs",
	}
	parked = Parked{Version: 1, Job: job, Reason: "no_bucket", Cause: "the bucket does not exist", Fix: "create bucket \"acme-logs\"", Since: 1795359940000, At: 1795360002000}
)

func TestGoldenJob(t *testing.T) {
	got, err := DecodeJob(goldentest.Equal(t, "testdata/job.v1.json", append(job.Encode(), '\n')))
	require.NoError(t, err)
	require.Equal(t, job, got)
	refused := job
	refused.Refused = 2
	got, err = DecodeJob(refused.Encode())
	require.NoError(t, err)
	require.Equal(t, refused, got)
}

func TestGoldenReceipt(t *testing.T) {
	got, err := DecodeReceipt(goldentest.Equal(t, "testdata/receipt.v1.json", receipt.Encode()))
	require.NoError(t, err)
	require.Equal(t, receipt, got)
}

func TestGoldenBatch(t *testing.T) {
	second := receipt
	second.File.Index++
	both := []Receipt{receipt, second}
	got, err := DecodeBatch(log, ref.Seq, goldentest.Equal(t, "testdata/batch.v1.json", EncodeBatch(both)))
	require.NoError(t, err)
	require.Equal(t, both, got)
}

// Each line of a batch counts by itself.
func TestDecodeBatchReturnsWhatItUnderstands(t *testing.T) {
	good := string(receipt.Encode())
	for hazard, c := range map[string]struct {
		batch string
		count int
	}{
		"empty":              {"", 0},
		"an_empty_line":      {good + "\n", 1},
		"cut_off":            {good + good[:len(good)/2], 1},
		"no_newline":         {good + "x", 1},
		"of_another_entry":   {strings.Replace(good, `"seq":42`, `"seq":43`, 1) + good, 1},
		"of_another_topic":   {strings.Replace(good, `"topic":"`+log.Topic, `"topic":"x`+log.Topic, 1) + good, 1},
		"given_up":           {strings.Replace(good, `"delivered"`, `"skipped"`, 1) + good, 1},
		"of_a_later_release": {strings.Replace(good, `"version":1`, `"version":2`, 1) + good, 1},
		"with_another_field": {strings.Replace(good, `{`, `{"x":1,`, 1) + good, 1},
		"two_on_one_line":    {strings.TrimSpace(good) + good + good, 1},
		"no_receipt":         {"hello\n", 0},
	} {
		rs, err := DecodeBatch(log, ref.Seq, []byte(c.batch))
		require.ErrorIs(t, err, ErrBadReceipt, hazard)
		require.Len(t, rs, c.count, hazard)
	}
}

func TestGoldenParked(t *testing.T) {
	got, err := DecodeParked(goldentest.Equal(t, "testdata/parked.v1.json", parked.Encode()))
	require.NoError(t, err)
	require.Equal(t, parked, got)
}

// Parked jobs of earlier releases, which have no reason, are still read.
func TestParkedWithoutReason(t *testing.T) {
	old := parked
	old.Reason = ""
	require.NotContains(t, string(old.Encode()), "reason")
	got, err := DecodeParked(old.Encode())
	require.NoError(t, err)
	require.Equal(t, old, got)
	require.False(t, got.ByCatalog())
	for reason, want := range map[string]bool{"disabled": true, "gone": true, "catalog_refused": true, "put_denied": false, "not_permitted": false} {
		require.Equal(t, want, Parked{Reason: reason}.ByCatalog(), reason)
	}
}

// The length of a receipt shows whether its file was delivered.
func TestReceiptsOfUndeliveredFilesAreShorter(t *testing.T) {
	for _, l := range []ledger.Log{log, {Topic: "e", Incarnation: "1"}} {
		for _, f := range []ledger.File{file, {Source: "a", Records: 1, SHA256: sum}, {Source: strings.Repeat("s", 64), Hour: 1795356000000, Records: 1e12, SHA256: sum}} {
			ref := FileRef{Topic: l.Topic, Incarnation: l.Incarnation, Partition: l.Partition, Seq: 42, Index: 7}
			for _, dest := range []string{job.Destination, "a/b"} {
				least := MinDeliveredSize(ref, dest, &f)
				shortest := Receipt{File: ref, Destination: dest, Outcome: Delivered, Bucket: "abc", Key: ObjectKey("", l, &f), SHA256: f.SHA256,
					Bytes: 1, Records: f.Records, At: 1795360001000}
				require.EqualValues(t, len(shortest.Encode()), least)
				longest := Receipt{File: ref, Destination: dest, Outcome: Skipped, Worker: strings.Repeat("w", MaxWorker), At: 9999999999999}
				require.Less(t, len(longest.Encode()), int(least))
			}
		}
	}
}

func TestGoldenKeys(t *testing.T) {
	keys, err := json.MarshalIndent(map[string]string{
		"staged": StagedKey(log, &file), "pack": PackKey(log, 42, 1000, 4999, sum), "object": ObjectKey("", log, &file), "object_with_prefix": ObjectKey("path/prefix", log, &file),
		"receipt": ReceiptKey(ref, job.Destination), "parked": ParkedKey(ref, job.Destination), "job": string(job.RecordKey()),
		"batch": BatchKey(log, 42, []byte("receipts")),
	}, "", "  ")
	require.NoError(t, err)
	goldentest.Equal(t, "testdata/keys.v1.json", append(keys, '\n'))
}

func TestKeysRoundTrip(t *testing.T) {
	s, ok := ParseStagedKey(StagedKey(log, &file))
	require.True(t, ok)
	require.Equal(t, StagedObject{Log: log, Stream: file.Stream(), First: 1000, Last: 4999, Sum: sum[:16]}, s)
	require.True(t, strings.HasPrefix(StagedKey(log, &file), StagedPrefix(log)))

	s, ok = ParseStagedKey(PackKey(log, 42, 1000, 4999, sum))
	require.True(t, ok)
	require.Equal(t, StagedObject{Log: log, Pack: true, Seq: 42, First: 1000, Last: 4999, Sum: sum[:16]}, s)
	require.True(t, strings.HasPrefix(PackKey(log, 42, 1000, 4999, sum), StagedPrefix(log)))

	r, dest, ok := ParseParkedKey(ParkedKey(ref, job.Destination))
	require.True(t, ok)
	require.Equal(t, ref, r)
	require.Equal(t, job.Destination, dest)
	require.True(t, strings.HasPrefix(ParkedKey(ref, dest), ParkedPrefix(dest)))

	i, dest, ok := ParseReceiptKey(ReceiptPrefix(log, 42), ReceiptKey(ref, job.Destination))
	require.True(t, ok)
	require.Equal(t, ref.Index, i)
	require.Equal(t, job.Destination, dest)
	require.False(t, IsBatchKey(ReceiptPrefix(log, 42), ReceiptKey(ref, job.Destination)))

	batch := BatchKey(log, 42, receipt.Encode())
	require.True(t, IsBatchKey(ReceiptPrefix(log, 42), batch))
	require.True(t, strings.HasPrefix(batch, BatchPrefix(log, 42)))
	require.Greater(t, batch, ReceiptKey(FileRef{Topic: log.Topic, Incarnation: log.Incarnation, Partition: log.Partition, Seq: 42, Index: 99999}, "z/z"))
	for _, key := range []string{BatchKey(log, 43, receipt.Encode()), batch + ".json", strings.ToUpper(batch), batch[:len(batch)-6] + ".json", BatchPrefix(log, 42)} {
		require.False(t, IsBatchKey(ReceiptPrefix(log, 42), key), key)
	}
	_, _, ok = ParseReceiptKey(ReceiptPrefix(log, 42), batch)
	require.False(t, ok)
}

// Any name that a store accepts in a key can be examined, tried again and given up, whatever other
// rule for names it breaks.
func TestNamesRefusedOnlyByTheCatalog(t *testing.T) {
	for _, dest := range []string{"ws/My Dest", "ws/*", "ws/Zürich", "Acme Inc./a,b", "ws/..."} {
		j, err := DecodeJob(Job{File: ref, Destination: dest}.Encode())
		require.NoError(t, err, dest)
		require.Equal(t, dest, j.Destination)
		for _, key := range []string{ParkedKey(ref, dest), ReplayFailedKey("r", ref, dest)} {
			p, err := NoteAt(key, []byte("damaged"), nil, time.UnixMilli(5))
			require.NoError(t, err, key)
			require.Equal(t, dest, p.Job.Destination)
		}
	}
}

func TestParseStagedKeyRefuses(t *testing.T) {
	good := PackKey(log, 42, 1000, 4999, sum)
	for hazard, key := range map[string]string{
		"short_number":    strings.Replace(good, "/0000000000000000042/", "/42/", 1),
		"no_number":       strings.Replace(good, "/0000000000000000042/", "/web/", 1),
		"last_first":      strings.Replace(good, "1000-4999", "4999-1000", 1),
		"a_sum_too_short": strings.Replace(good, sum[:16], sum[:15], 1),
		"no_gzip":         strings.TrimSuffix(good, ".gz"),
		"neither":         strings.Replace(good, "/packs/", "/pack/", 1),
	} {
		require.NotEqual(t, good, key, hazard)
		_, ok := ParseStagedKey(key)
		require.False(t, ok, hazard)
	}
}

// Invariant: I11. An object is settled only when no entry can name it any more, or one does.
func TestSettled(t *testing.T) {
	head := &ledger.Entry{Seq: 42, LowWatermark: 2000, SealedThrough: []ledger.SealedStream{{Source: source, Hour: file.Hour, Offset: 4999}}}
	settled := func(key string) bool {
		s, ok := ParseStagedKey(key)
		require.True(t, ok)
		return s.Settled(head)
	}
	ahead := file
	ahead.Last++
	require.True(t, settled(StagedKey(log, &file)))
	require.False(t, settled(StagedKey(log, &ahead)), "settled although its owner may still be writing")
	require.True(t, settled(PackKey(log, 42, 1000, 9999, sum)), "the entry exists and names another pack")
	require.True(t, settled(PackKey(log, 1, 1000, 4999, sum)))
	require.False(t, settled(PackKey(log, 43, 1000, 1001, sum)), "settled although its entry does not exist yet")
}

// Two logs never share a prefix, or the garbage of one would be that of the other. Topic and
// incarnation may contain any of the characters that join names.
func TestKeysOfDifferentLogsNeverMeet(t *testing.T) {
	logs := []ledger.Log{
		{Topic: "a", Incarnation: "b-c", Partition: 1},
		{Topic: "a-b", Incarnation: "c", Partition: 1},
		{Topic: "a", Incarnation: "b", Partition: 1},
		{Topic: "a", Incarnation: "b", Partition: 11},
		{Topic: "a", Incarnation: "b-00001", Partition: 1},
	}
	for i, a := range logs {
		for j, b := range logs {
			if i != j {
				require.False(t, strings.HasPrefix(StagedPrefix(a), StagedPrefix(b)), "%s, %s", a, b)
				require.False(t, strings.HasPrefix(ReceiptPrefix(a, 1), ReceiptPrefix(b, 1)), "%s, %s", a, b)
				require.NotEqual(t, FileName(a, &file), FileName(b, &file), "%s, %s", a, b)
			}
		}
	}
}

// Invariant: I8. A file's name changes with anything that the file is, and with nothing else.
func TestFileNameIsAFunctionOfTheFile(t *testing.T) {
	base := FileName(log, &file)
	require.Equal(t, base, FileName(log, &file))
	for what, change := range map[string]func(*ledger.File){
		"first":    func(f *ledger.File) { f.First++ },
		"last":     func(f *ledger.File) { f.Last++ },
		"received": func(f *ledger.File) { f.Received++ },
		"sha256":   func(f *ledger.File) { f.SHA256 = strings.Repeat("0", 64) },
	} {
		f := file
		change(&f)
		require.NotEqual(t, base, FileName(log, &f), what)
	}
	f := file
	f.Owed, f.StagedKey, f.Reason = []string{"x/y"}, "elsewhere", "size"
	require.Equal(t, base, FileName(log, &f))
}

func TestDecodersRefuse(t *testing.T) {
	good := string(job.Encode())
	for hazard, b := range map[string]string{
		"empty":         "",
		"not_json":      "hello",
		"two_objects":   good + good,
		"closing_brace": good + "}",
		"unknown_field": strings.Replace(good, `"attempt"`, `"atempt"`, 1),
		"version_2":     strings.Replace(good, `"version":1`, `"version":2`, 1),
		"no_dest":       strings.Replace(good, job.Destination, "", 1),
		"negative_seq":  strings.Replace(good, `"seq":42`, `"seq":-1`, 1),
		"neg_refused":   strings.Replace(good, `"attempt"`, `"refused":-1,"attempt"`, 1),
		"wrong_type":    strings.Replace(good, `"seq":42`, `"seq":"42"`, 1),
		"long_dest":     strings.Replace(good, job.Destination, strings.Repeat("d", 250), 1),
		"long_topic":    strings.Replace(good, job.File.Topic, strings.Repeat("t", 250), 1),
		"topic_path":    strings.Replace(good, job.File.Topic, "../../x", 1),
		"topic_up":      strings.Replace(good, job.File.Topic, "..", 1),
		"incarnation":   strings.Replace(good, `"incarnation":"`, `"incarnation":"a/`, 1),
		"dest_path":     strings.Replace(good, job.Destination, "ws/../one", 1),
		"dest_up":       strings.Replace(good, job.Destination, "../one", 1),
		"dest_up_space": strings.Replace(good, job.Destination, "ws/.. ", 1),
		"dest_slash":    strings.Replace(good, job.Destination, "ws/a/b", 1),
		"dest_back":     strings.Replace(good, job.Destination, `ws/a\\..\\b`, 1),
		"dest_blank":    strings.Replace(good, job.Destination, "ws/ ", 1),
		"no_workspace":  strings.Replace(good, job.Destination, "/one", 1),
		"no_name":       strings.Replace(good, job.Destination, "ws", 1),
		"control":       strings.Replace(good, job.Destination, `ws/o\u0001`, 1),
		"large":         strings.Replace(good, `{`, `{"last_error":"`+strings.Repeat("x", 17_000)+`",`, 1),
	} {
		_, err := DecodeJob([]byte(b))
		require.ErrorIs(t, err, ErrBadJob, hazard)
	}
	_, err := DecodeReceipt([]byte(strings.Replace(string(receipt.Encode()), `"delivered"`, `"perhaps"`, 1)))
	require.ErrorIs(t, err, ErrBadReceipt)
	_, err = DecodeParked(job.Encode())
	require.ErrorIs(t, err, ErrBadJob)
}

func FuzzDecodeJob(f *testing.F) {
	f.Add(job.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if j, err := DecodeJob(b); err == nil {
			again, err := DecodeJob(j.Encode())
			require.NoError(t, err)
			require.Equal(t, j, again)
		}
	})
}

func FuzzDecodeReceipt(f *testing.F) {
	f.Add(receipt.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := DecodeReceipt(b); err == nil {
			again, err := DecodeReceipt(r.Encode())
			require.NoError(t, err)
			require.Equal(t, r, again)
		}
	})
}

func FuzzDecodeBatch(f *testing.F) {
	f.Add(EncodeBatch([]Receipt{receipt, receipt}))
	f.Fuzz(func(t *testing.T, b []byte) {
		rs, err := DecodeBatch(log, ref.Seq, b)
		if err == nil || len(rs) > 0 {
			again, err := DecodeBatch(log, ref.Seq, EncodeBatch(rs))
			require.NoError(t, err)
			require.Equal(t, rs, again)
		}
	})
}

func FuzzDecodeParked(f *testing.F) {
	f.Add(parked.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if p, err := DecodeParked(b); err == nil {
			again, err := DecodeParked(p.Encode())
			require.NoError(t, err)
			require.Equal(t, p, again)
		}
	})
}

func FuzzParseStagedKey(f *testing.F) {
	f.Add(StagedKey(log, &file))
	f.Add("data/a/b/00001/-1/c/0-0-0123456789abcdef.gz")
	f.Add(PackKey(log, 42, 1000, 4999, sum))
	f.Fuzz(func(t *testing.T, key string) {
		s, ok := ParseStagedKey(key)
		switch {
		case ok && s.Pack:
			require.Equal(t, key, PackKey(s.Log, s.Seq, s.First, s.Last, s.Sum))
		case ok:
			require.Equal(t, key, StagedKey(s.Log, &ledger.File{Source: s.Stream.Source, Hour: s.Stream.Hour, First: s.First, Last: s.Last, SHA256: s.Sum}))
		}
	})
}

func FuzzParseParkedKey(f *testing.F) {
	f.Add(ParkedKey(ref, job.Destination))
	f.Fuzz(func(t *testing.T, key string) {
		if r, dest, ok := ParseParkedKey(key); ok {
			require.Equal(t, key, ParkedKey(r, dest))
		}
	})
}

func FuzzParseReplayCopyKey(f *testing.F) {
	f.Add(ReplayReceiptKey("r", ref, job.Destination))
	f.Add(ReplayFailedKey("r", ref, job.Destination))
	f.Add(ReplayFailuresPrefix("r") + "receipts/a/b/1/2/3/c.json")
	f.Fuzz(func(t *testing.T, key string) {
		j, failed, ok := ParseReplayCopyKey(key)
		switch {
		case !ok:
		case failed:
			require.Equal(t, key, ReplayFailedKey(j.Replay, j.File, j.Destination))
		default:
			require.Equal(t, key, ReplayReceiptKey(j.Replay, j.File, j.Destination))
		}
	})
	for failed, key := range map[bool]string{false: ReplayReceiptKey("r", ref, job.Destination), true: ReplayFailedKey("r", ref, job.Destination)} {
		j, is, ok := ParseReplayCopyKey(key)
		require.True(f, ok)
		require.Equal(f, failed, is)
		require.Equal(f, Job{File: ref, Destination: job.Destination, Replay: "r"}, j)
	}
}

// A readable note says the same as its key, and an unreadable one is replaced by what its key says.
func FuzzNoteAt(f *testing.F) {
	f.Add(ParkedKey(ref, job.Destination), parked.Encode())
	f.Add(ReplayFailedKey("r", ref, job.Destination), parked.Encode())
	f.Add(ReplayFailuresPrefix("r")+"a/b/1/2/3/c.json", []byte("x"))
	f.Add(ReplayReceiptKey("r", ref, job.Destination), receipt.Encode())
	f.Fuzz(func(t *testing.T, key string, b []byte) {
		if !utf8.ValidString(key) {
			return // neither the store nor JSON takes such a key
		}
		p, err := NoteAt(key, b, nil, time.UnixMilli(5))
		if err != nil {
			require.ErrorIs(t, err, ErrBadJob)
			return
		}
		at := ParkedKey(p.Job.File, p.Job.Destination)
		if p.Job.Replay != "" {
			at = ReplayFailedKey(p.Job.Replay, p.Job.File, p.Job.Destination)
		}
		require.Equal(t, key, at)
		again, err := NoteAt(key, p.Encode(), nil, time.UnixMilli(6))
		require.NoError(t, err)
		p.Version, p.Job.Version = FormatVersion, FormatVersion
		require.Equal(t, p, again, "the returned note does not round-trip")
	})
}

func FuzzParseReceiptKey(f *testing.F) {
	f.Add(ReceiptKey(ref, job.Destination))
	prefix := ReceiptPrefix(log, ref.Seq)
	for _, rest := range []string{"7/a/b.json", "+0007/a/b.json", "000007/a/b.json", "-0001/a/b.json", "00007/.json", "100000/a/b.json"} {
		f.Add(prefix + rest)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if i, dest, ok := ParseReceiptKey(prefix, key); ok {
			r := ref
			r.Index = i
			require.Equal(t, key, ReceiptKey(r, dest))
		}
	})
}
