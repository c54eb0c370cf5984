package ledger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/objstore/objstoretest"
)

var testLog = Log{Topic: "events", Incarnation: "1", Partition: 3}

// entryAt returns a valid entry of testLog.
func entryAt(seq int64, attempt string) *Entry {
	kind := KindSeal
	if seq == 0 {
		kind = KindInit
	}
	return &Entry{
		Version: EntryVersion, Seq: seq, Kind: kind, Attempt: attempt, Owner: "worker-" + attempt,
		Cluster: "c", Topic: testLog.Topic, Incarnation: testLog.Incarnation, Partition: testLog.Partition,
		Files: []File{}, LowWatermark: seq * 10, DispatchedThrough: max(seq-1, 0),
	}
}

func TestHeadIsTheNewestEntry(t *testing.T) {
	ctx := context.Background()
	c := NewChain(objstore.NewMemory("staging"), testLog)
	_, err := c.Head(ctx)
	require.ErrorIs(t, err, ErrEmpty)
	for seq := range int64(12) {
		require.NoError(t, c.Append(ctx, entryAt(seq, "a")))
		head, err := c.Head(ctx)
		require.NoError(t, err)
		require.Equal(t, entryAt(seq, "a"), head)
	}
	e, err := c.Entry(ctx, 4)
	require.NoError(t, err)
	require.EqualValues(t, 40, e.LowWatermark)
	_, err = c.Entry(ctx, 12)
	require.ErrorIs(t, err, ErrNotFound)
}

// TestAppendResolvesItsOutcome: Append finds out what became of its PUT in every way in which a
// create-if-absent PUT can end over a network.
func TestAppendResolvesItsOutcome(t *testing.T) {
	first := func(f objstore.Fault) func(objstore.Op) objstore.Fault {
		return func(op objstore.Op) objstore.Fault {
			if op.Name == "put" && op.N == 1 {
				return f
			}
			return objstore.Fault{}
		}
	}
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		rival bool // another worker has already written the entry
		fault func(objstore.Op) objstore.Fault
		want  error
	}{
		"won":                      {},
		"lost":                     {rival: true, want: ErrLost},
		"not_applied":              {fault: first(objstore.Fault{Before: broken})},
		"applied_reply_lost":       {fault: first(objstore.Fault{After: broken})},
		"conflict":                 {fault: first(objstore.Fault{Before: objstore.ErrConflict})},
		"throttled":                {fault: first(objstore.Fault{Before: objstore.ErrUnavailable})},
		"lost_and_reply_lost":      {rival: true, fault: first(objstore.Fault{Before: broken}), want: ErrLost},
		"denied_is_returned":       {fault: first(objstore.Fault{Before: objstore.ErrDenied}), want: objstore.ErrDenied},
		"own_success_reported_412": {fault: first(objstore.Fault{After: objstore.ErrExists})},
		"read_back_fails_at_first": {fault: func(op objstore.Op) objstore.Fault {
			if (op.Name == "put" && op.N == 1) || (op.Name == "get" && op.N <= 3) {
				return objstore.Fault{After: broken}
			}
			return objstore.Fault{}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := objstore.NewMemory("staging")
				chain := NewChain(store, testLog)
				if c.rival {
					require.NoError(t, chain.Append(t.Context(), entryAt(0, "rival")))
				}
				if c.fault != nil {
					store.SetFault(c.fault)
				}
				err := chain.Append(t.Context(), entryAt(0, "mine"))
				if c.want != nil {
					require.ErrorIs(t, err, c.want)
				} else {
					require.NoError(t, err)
				}
				applied := 0
				for _, put := range store.Puts("ledger/") {
					if put.Applied {
						applied++
					}
				}
				require.LessOrEqual(t, applied, 1, "entry 0 was written more than once")
			})
		})
	}
}

// TestAppendReturnsAnOutage: Append returns the error to its caller, who counts, logs and tries
// again.
func TestAppendReturnsAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objstore.NewMemory("staging")
		chain := NewChain(store, testLog)
		store.SetFault(func(objstore.Op) objstore.Fault { return objstore.Fault{Before: objstore.ErrUnavailable} })
		require.ErrorIs(t, chain.Append(t.Context(), entryAt(0, "mine")), objstore.ErrUnavailable)
		store.SetFault(nil)
		require.NoError(t, chain.Append(t.Context(), entryAt(0, "mine")))
	})
}

// TestAppendSurvivesUnansweredRequests: Append survives requests that are never answered on a
// connection that stays up.
func TestAppendSurvivesUnansweredRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		left := 3
		store := objstoretest.Before{Store: objstore.NewMemory("staging"), Do: func(ctx context.Context, _, _ string) error {
			if left--; left < 0 {
				return nil
			}
			<-ctx.Done()
			return objstore.ErrUnavailable
		}}
		chain := NewChain(store, testLog)
		require.NoError(t, chain.Append(t.Context(), entryAt(0, "mine")))
	})
}

// TestSlowAppendIsNotCutOff: a PUT that makes progress is not cut off, for instance that of a large
// entry behind files that are being staged.
func TestSlowAppendIsNotCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &objstoretest.SlowUpload{Store: objstore.NewMemory("staging")}
		require.NoError(t, NewChain(store, testLog).Append(t.Context(), entryAt(0, "mine")))
		require.Equal(t, 1, store.Puts)
	})
}

func TestGhostOfAnAbandonedEntryDecidesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := objstore.NewMemory("staging")
		chain := NewChain(store, testLog)
		require.NoError(t, chain.Append(t.Context(), entryAt(0, "mine")))
		// The PUT of entry 1 is under way when its author gives up.
		store.SetFault(func(op objstore.Op) objstore.Fault {
			if op.Name == "put" {
				return objstore.Fault{Before: errors.New("timeout"), Ghost: true}
			}
			return objstore.Fault{}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		require.ErrorIs(t, chain.Append(ctx, entryAt(1, "ghost")), context.DeadlineExceeded)
		store.SetFault(nil)
		require.Positive(t, store.ReleaseGhosts())
		require.ErrorIs(t, chain.Append(t.Context(), entryAt(1, "later")), ErrLost)
		head, err := chain.Head(t.Context())
		require.NoError(t, err)
		require.Equal(t, "ghost", head.Attempt)
	})
}

func TestLogsFindsEveryChain(t *testing.T) {
	ctx := context.Background()
	store := objstore.NewMemory("staging")
	var want []Log
	for _, p := range []int{0, 3, 10, 99_999} {
		l := Log{Topic: "events", Incarnation: "1", Partition: p}
		for seq := range int64(3) {
			e := entryAt(seq, "a")
			e.Partition = p
			require.NoError(t, NewChain(store, l).Append(ctx, e))
		}
		want = append(want, l)
	}
	other := entryAt(0, "a")
	other.Incarnation = "10"
	require.NoError(t, NewChain(store, other.Log()).Append(ctx, other))
	var strays []string
	for _, key := range []string{"1/readme", "1/00003/!", "1/00003/{}.json", "1/1/a", "1/1/b", "1/backup/00000/a", "1/backup/00000/b"} {
		strays = append(strays, "ledger/events/"+key)
		_, err := store.Put(ctx, "ledger/events/"+key, strings.NewReader("stray"), objstore.PutOptions{})
		require.NoError(t, err)
	}
	got, err := Logs(ctx, store, "events", "1")
	require.NoError(t, err)
	require.Equal(t, want, got)
	var strayKeys []string
	got, err = FindLogs(ctx, store, "", "", func(key string) { strayKeys = append(strayKeys, key) })
	require.NoError(t, err)
	require.Equal(t, append(want, other.Log()), got)
	require.ElementsMatch(t, []string{strays[0], strays[1], strays[3], strays[5]}, strayKeys, "want one key per folder, and none after the entries")
	seq, err := NewChain(store, want[1]).HeadSeq(ctx)
	require.NoError(t, err)
	require.EqualValues(t, 2, seq, "a stray object hid the head")
}

// A folder of foreign files costs one request, however many there are; for instance deliveries by a
// destination that is this very bucket.
func TestListingsSkipForeignFolders(t *testing.T) {
	ctx := t.Context()
	store := objstore.NewMemory("staging")
	chain := NewChain(store, Log{Topic: "events", Incarnation: "1", Partition: 3})
	require.NoError(t, chain.Append(ctx, entryAt(0, "a")))
	for i := range 200 {
		for _, folder := range []string{"ledger", "ledger/events/1", "ledger/events/1/00003", "ledger/events/1/00002"} {
			key := fmt.Sprintf("%s/segment-logs/web/1795824000000/%d.gz", folder, i)
			_, err := store.Put(ctx, key, strings.NewReader("x"), objstore.PutOptions{})
			require.NoError(t, err)
		}
	}
	listings := 0
	store.SetFault(func(objstore.Op) objstore.Fault { listings++; return objstore.Fault{} })
	strays := 0
	logs, err := FindLogs(ctx, store, "", "", func(string) { strays++ })
	require.NoError(t, err)
	require.Equal(t, []Log{chain.Log()}, logs)
	require.Equal(t, 3, strays, "want one each: other folder, no partition, partition without a chain")
	require.Equal(t, 5, listings)

	listings = 0
	_, err = NewChain(store, Log{Topic: "events", Incarnation: "1", Partition: 2}).HeadSeq(ctx)
	require.ErrorIs(t, err, ErrEmpty)
	require.Equal(t, 2, listings)
}

func TestEntryGolden(t *testing.T) {
	e := entryAt(5, "7d0f6f9e-8a38-4d2b-8f5c-0a1b2c3d4e5f")
	e.Generation, e.WrittenAt, e.LowWatermark = 4, 1_700_000_000_000, 900
	e.Files = []File{{
		Source: "web", Hour: 1_699_999_200_000, Received: 1_699_999_200_123, First: 700, Last: 899, Records: 150,
		RawBytes: 150_000, GzipBytes: 30_000, RawCRC64: "00ab54a98ceb1f0a", SHA256: strings.Repeat("ab", 32),
		StagedKey: "data/web/x.gz", Reason: "time", Owed: []string{"ws_1/prod"},
	}}
	e.Skipped = map[string]int64{"not_a_json_object": 2}
	e.SealedThrough = []SealedStream{{Source: "app", Hour: 1_699_999_200_000, Offset: 950}}
	got, err := e.Encode()
	require.NoError(t, err)
	back, err := Decode(goldentest.Equal(t, "testdata/entry-v1.json", got))
	require.NoError(t, err)
	require.Equal(t, e, back)
}

// A file in a pack, as later releases of version 1 write it, matches its golden file.
func TestPackedEntryGolden(t *testing.T) {
	e := entryAt(5, "7d0f6f9e-8a38-4d2b-8f5c-0a1b2c3d4e5f")
	e.WrittenAt = 1_700_000_000_000
	e.Files = []File{{
		Source: "web", Hour: 1_699_999_200_000, Received: 1_699_999_200_123, First: 700, Last: 899, Records: 150,
		RawBytes: 150_000, GzipBytes: 30_000, RawCRC64: "00ab54a98ceb1f0a", SHA256: strings.Repeat("ab", 32),
		StagedKey: "data/packs/x.gz", StagedAt: 12_000, PackBytes: 70_000, Reason: "time", Owed: []string{"ws_1/prod"},
	}}
	got, err := e.Encode()
	require.NoError(t, err)
	back, err := Decode(goldentest.Equal(t, "testdata/entry-v1-packed.json", got))
	require.NoError(t, err)
	require.Equal(t, e, back)

	for hazard, change := range map[string]func(*File){
		"before_its_pack":       func(f *File) { f.StagedAt = -1 },
		"after_its_pack":        func(f *File) { f.StagedAt = 40_001 },
		"larger_than_its_pack":  func(f *File) { f.StagedAt, f.PackBytes = 1, 29_999 },
		"larger_from_its_begin": func(f *File) { f.StagedAt, f.PackBytes = 0, f.GzipBytes-1 },
		"empty":                 func(f *File) { f.GzipBytes = 0 },
		"at_an_offset_alone":    func(f *File) { f.PackBytes = 0 },
		"in_a_negative_pack":    func(f *File) { f.StagedAt, f.PackBytes = 0, -1 },
		"before_the_log":        func(f *File) { f.First = -1 },
		"ends_before_it_begins": func(f *File) { f.Last = f.First - 1 },
		"length_that_overflows": func(f *File) { f.Last = math.MinInt64 },
		"without_records":       func(f *File) { f.Records = 0 },
		"more_than_its_offsets": func(f *File) { f.Records = 201 },
		"not_staged":            func(f *File) { f.StagedKey = "" },
		"half_a_sha256":         func(f *File) { f.SHA256 = f.SHA256[:32] },
		"half_a_crc":            func(f *File) { f.RawCRC64 = f.RawCRC64[:8] },
	} {
		bad := *e
		bad.Files = slices.Clone(e.Files)
		change(&bad.Files[0])
		_, err := bad.Encode()
		require.ErrorIs(t, err, ErrCorrupt, hazard)
	}
	for hazard, change := range map[string]func(*Entry){
		"negative_seq":            func(e *Entry) { e.Seq = -1 },
		"negative_partition":      func(e *Entry) { e.Partition = -1 },
		"negative_complete":       func(e *Entry) { e.CompleteThrough = -1 },
		"negative_router_from":    func(e *Entry) { e.RouterFrom = -1 },
		"router_from_the_future":  func(e *Entry) { e.RouterFrom = e.LowWatermark + 1 },
		"unknown_router":          func(e *Entry) { e.Router = "dice" },
		"no_topic":                func(e *Entry) { e.Topic = "" },
		"no_incarnation":          func(e *Entry) { e.Incarnation = "" },
		"claim_with_files":        func(e *Entry) { e.Kind = KindClaim },
		"sealed_through_unsorted": func(e *Entry) { e.SealedThrough = []SealedStream{{Source: "b"}, {Source: "a"}} },
	} {
		bad := *e
		change(&bad)
		_, err := bad.Encode()
		require.ErrorIs(t, err, ErrCorrupt, hazard)
	}
}

// Of a pack, only the file's bytes are read; of a single file, everything, so that a file that is
// too long is noticed.
func TestOpenReadsTheFilesBytes(t *testing.T) {
	store := objstore.NewMemory("staging")
	_, err := store.Put(t.Context(), "pack", strings.NewReader("aaabbbcc"), objstore.PutOptions{})
	require.NoError(t, err)
	for want, f := range map[string]File{
		"bbb":      {StagedKey: "pack", StagedAt: 3, GzipBytes: 3, PackBytes: 8},
		"aaa":      {StagedKey: "pack", GzipBytes: 3, PackBytes: 8},
		"aaabbbcc": {StagedKey: "pack", GzipBytes: 3},
	} {
		r, err := f.Open(t.Context(), store)
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	require.EqualValues(t, 8, (&File{GzipBytes: 3, PackBytes: 8}).StagedBytes())
	require.EqualValues(t, 3, (&File{GzipBytes: 3}).StagedBytes())
}

// An entry under another one's key, as a mistaken restore leaves it, is not taken for that one.
func TestEntryUnderAnotherKeyIsCorrupt(t *testing.T) {
	body, err := entryAt(4, "a").Encode()
	require.NoError(t, err)
	neighbour := testLog
	neighbour.Partition++
	for _, at := range []struct {
		log Log
		seq int64
	}{{testLog, 5}, {neighbour, 4}} {
		store := objstore.NewMemory("staging")
		_, err = store.Put(t.Context(), EntryKey(at.log, at.seq), bytes.NewReader(body), objstore.PutOptions{})
		require.NoError(t, err)
		_, err = NewChain(store, at.log).Entry(t.Context(), at.seq)
		require.ErrorIs(t, err, ErrCorrupt)
	}
}

func TestDecodeRefuses(t *testing.T) {
	good, err := entryAt(5, "a").Encode()
	require.NoError(t, err)
	for name, b := range map[string]string{
		"empty":          "",
		"cut_short":      string(good[:len(good)-5]),
		"unknown_field":  strings.Replace(string(good), `"seq"`, `"sequel"`, 1),
		"no_version":     strings.Replace(string(good), `"version":1`, `"version":0`, 1),
		"bytes_after_it": string(good) + "{}",
		"a_brace_after":  string(good) + "}",
		"no_attempt":     strings.Replace(string(good), `"attempt":"a"`, `"attempt":""`, 1),
		"own_dispatch":   strings.Replace(string(good), `"dispatched_through":4`, `"dispatched_through":5`, 1),
		"negative":       strings.Replace(string(good), `"low_watermark":50`, `"low_watermark":-1`, 1),
		"init_not_first": strings.Replace(string(good), `"seal"`, `"init"`, 1),
		"half_a_file":    strings.Replace(string(good), `"files":[]`, `"files":[{"first":2,"last":1}]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEqual(t, string(good), b)
			_, err := Decode([]byte(b))
			require.ErrorIs(t, err, ErrCorrupt)
			require.NotErrorIs(t, err, ErrTooNew)
		})
	}
}

// An entry of a later release is refused as well, but nobody is told to restore it.
func TestDecodeTellsWhatIsTooNew(t *testing.T) {
	good, err := entryAt(5, "a").Encode()
	require.NoError(t, err)
	later := strings.Replace(string(good), `"version":1`, `"version":2`, 1)
	for name, b := range map[string]string{
		"known_fields":  later,
		"unknown_field": strings.Replace(later, `"seq"`, `"color":"red","seq"`, 1),
		"other_type":    strings.Replace(later, `"files":[]`, `"files":{}`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(b))
			require.ErrorIs(t, err, ErrTooNew)
			require.ErrorIs(t, err, ErrCorrupt)
			require.ErrorContains(t, err, "version 2")
			require.NotContains(t, err.Error(), "corrupt")
		})
	}
}

// Invariant: I2. A filter keeps only what may be read again, sorted as Covers expects.
func TestFilterHoldsOnlyWhatMayBeReadAgain(t *testing.T) {
	stream := func(source string, hour int64) Stream { return Stream{Source: source, Hour: hour} }
	e := &Entry{LowWatermark: 10, SealedThrough: []SealedStream{{Source: "old", Offset: 99}}}
	e.SetFilter(map[Stream]int64{stream("b", 1): 10, stream("a", 2): 30, stream("c", 1): 20, stream("a", 1): 9})
	require.Equal(t, []SealedStream{{Source: "b", Hour: 1, Offset: 10}, {Source: "c", Hour: 1, Offset: 20}, {Source: "a", Hour: 2, Offset: 30}}, e.SealedThrough)
	require.True(t, e.Covers(stream("c", 1), 20))
	require.False(t, e.Covers(stream("c", 1), 21))

	got := e.Filter()
	require.Equal(t, map[Stream]int64{stream("b", 1): 10, stream("c", 1): 20, stream("a", 2): 30}, got)
	clear(got)
	require.Len(t, e.Filter(), 3)
	e.SetFilter(nil)
	require.Nil(t, e.SealedThrough, "want nil, as Decode returns it")
}

func TestStreamOf(t *testing.T) {
	const midnight = 1_700_006_400_000
	for name, c := range map[string]struct{ received, hour, day int64 }{
		"first_ms_of_a_day":   {midnight, midnight, midnight},
		"last_ms_of_an_hour":  {midnight + 3_599_999, midnight, midnight},
		"first_ms_of_an_hour": {midnight + 3_600_000, midnight + 3_600_000, midnight},
		"last_ms_of_a_day":    {midnight - 1, midnight - 3_600_000, midnight - 86_400_000},
		"before_1970":         {-1, -3_600_000, -86_400_000},
	} {
		t.Run(name, func(t *testing.T) {
			s := StreamOf("a", c.received)
			require.Equal(t, c.hour, s.Hour)
			require.Equal(t, c.day, s.Day())
		})
	}
}

func FuzzDecode(f *testing.F) {
	good, err := entryAt(5, "a").Encode()
	require.NoError(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		again, err := e.Encode()
		require.NoError(t, err)
		back, err := Decode(again)
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%+v", e), fmt.Sprintf("%+v", back))
	})
}

func TestRouterRules(t *testing.T) {
	require.Empty(t, RouterRule("header", "header"))
	for _, want := range [][2]string{{"header", "header"}, {"key", "header"}, {"json:a.b", "json:c"}} {
		source, received, ok := ParseRouterRule(RouterRule(want[0], want[1]))
		require.True(t, ok)
		require.Equal(t, want[0], source)
		require.Equal(t, want[1], received)
	}
	for _, bad := range []string{"header", ";", "key;", ";key", "header;header", "key;header;", "a;b;c"} {
		e := entryAt(1, "a")
		e.Router = bad
		_, err := e.Encode()
		require.ErrorIs(t, err, ErrCorrupt, bad)
	}
	e := entryAt(1, "a")
	e.Router = "key;record"
	b, err := e.Encode()
	require.NoError(t, err)
	got, err := Decode(b)
	require.NoError(t, err)
	require.Equal(t, e, got)
}

// slowDownload is a store whose first bodies break off early and whose other bodies arrive slowly.
type slowDownload struct {
	objstore.Store
	broken int
}

func (s *slowDownload) Get(ctx context.Context, key string) (io.ReadCloser, objstore.Info, error) {
	r, info, err := s.Store.Get(ctx, key)
	if err != nil {
		return nil, info, err
	}
	s.broken--
	return &slowDownloadBody{r, ctx, s.broken >= 0}, info, nil
}

type slowDownloadBody struct {
	io.ReadCloser
	ctx    context.Context //nolint:containedctx // of the request
	broken bool
}

func (b *slowDownloadBody) Read(p []byte) (int, error) {
	time.Sleep(10 * time.Second)
	if err := context.Cause(b.ctx); err != nil {
		return 0, errors.Join(objstore.ErrUnavailable, err)
	}
	if b.broken {
		return 0, objstore.ErrUnavailable
	}
	return b.ReadCloser.Read(p[:min(len(p), 32)])
}

// TestSlowEntryIsReadToTheEnd: a read continues as long as bytes arrive, and is repeated if they
// break off early.
func TestSlowEntryIsReadToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := objstore.NewMemory("staging")
		require.NoError(t, NewChain(m, testLog).Append(t.Context(), entryAt(0, "a")))
		got, err := NewChain(objstore.WithReadRetries(&slowDownload{Store: m, broken: 2}), testLog).Entry(t.Context(), 0)
		require.NoError(t, err)
		require.Equal(t, entryAt(0, "a"), got)
	})
}

// A partition that is asked for and is not there is told with those that are.
func TestNoPartitionError(t *testing.T) {
	var logs []Log
	for _, p := range []int{0, 1, 2, 5, 7, 8} {
		logs = append(logs, Log{Topic: "events", Incarnation: "1", Partition: p})
	}
	logs = append(logs, Log{Topic: "events", Incarnation: "2", Partition: 99})
	for hazard, c := range map[string]struct {
		incarnation string
		partition   int
		want        string
	}{
		"another":        {"1", 99, `partition 99: the ledger of topic "events", incarnation "1" has 0 to 2, 5, 7 to 8`},
		"one":            {"2", 3, `partition 3: the ledger of topic "events", incarnation "2" has 99`},
		"none":           {"3", 3, `topic "events", incarnation "3" has no ledger in this bucket`},
		"all":            {"3", -1, `topic "events", incarnation "3" has no ledger in this bucket`},
		"lost_its_chain": {"1", 5, `partition 5 of topic "events", incarnation "1" has lost its whole ledger`},
	} {
		t.Run(hazard, func(t *testing.T) {
			require.EqualError(t, NoPartitionError(logs, "events", c.incarnation, c.partition), c.want)
		})
	}
}
