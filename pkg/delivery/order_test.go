package delivery

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
	"github.com/sealift/sealift/pkg/ledger"
)

var order = Order{
	Version: 1, ID: "20261122-141530-a1b2c3", Topic: "sealift.events", Incarnation: "1", Heads: map[int]int64{0: 41, 3: 42},
	Sources: []string{source}, Since: 1795356000000, Until: 1795363200000, Offsets: []Range{{Partition: 3, First: 1000, Last: 1999}},
	Destinations: []string{job.Destination}, Force: true, View: "second", From: FromAuto, FilesPerSecond: 2.5, BytesPerSecond: 1_000_000,
	Copies: 14, CreatedAt: 1795360000000, CreatedBy: "host-replay-1",
}

func TestGoldenOrder(t *testing.T) {
	got, err := DecodeOrder(goldentest.Equal(t, "testdata/order.v1.json", order.Encode()))
	require.NoError(t, err)
	require.Equal(t, &order, got)
	plan := Plan{Version: 1, Files: 7, Records: 22_400, Bytes: 864_192, Copies: 14, At: 1795360001000}
	back, err := DecodePlan(goldentest.Equal(t, "testdata/plan.v1.json", plan.Encode()))
	require.NoError(t, err)
	require.Equal(t, plan, back)
	keys, err := json.MarshalIndent(map[string]string{
		"order": OrderKey(order.ID), "plan": PlanKey(order.ID), "receipt": ReplayReceiptKey(order.ID, ref, job.Destination),
		"failed": ReplayFailedKey(order.ID, ref, job.Destination), "rebuilt": RebuiltKey(order.ID, ref),
		"object_in_view": ObjectKey(order.Prefix("path"), log, &file), "lease": ReplayLeaseName(order.ID, ref, job.Destination),
	}, "", "  ")
	require.NoError(t, err)
	goldentest.Equal(t, "testdata/replay-keys.v1.json", append(keys, '\n'))
}

func TestOrderRefuses(t *testing.T) {
	good := string(order.Encode())
	for hazard, b := range map[string]string{
		"empty":         "",
		"unknown_field": strings.Replace(good, `"force"`, `"farce"`, 1),
		"version_2":     strings.Replace(good, `"version":1`, `"version":2`, 1),
		"two_objects":   good + good,
		"path_as_id":    strings.Replace(good, order.ID, "../x", 1),
		"view_of_path":  strings.Replace(good, `"second"`, `"a/b"`, 1),
		"destination":   strings.Replace(good, job.Destination, "one", 1),
		"from":          strings.Replace(good, `"auto"`, `"disk"`, 1),
		"no_topic":      strings.Replace(good, `"sealift.events"`, `""`, 1),
	} {
		require.NotEqual(t, good, b, hazard)
		_, err := DecodeOrder([]byte(b))
		require.ErrorIs(t, err, ErrBadOrder, hazard)
	}
	_, err := DecodePlan(order.Encode())
	require.ErrorIs(t, err, ErrBadOrder)
}

// Invariant: I7. An order covers what it says, among what the ledger held when it was given.
func TestOrderCovers(t *testing.T) {
	f := file
	f.Owed = []string{job.Destination}
	e := &ledger.Entry{Topic: log.Topic, Incarnation: log.Incarnation, Partition: log.Partition, Seq: 42, Files: []ledger.File{f}}
	require.True(t, order.Covers(e, &f, job.Destination))
	require.False(t, order.Covers(e, &f, "ws/other"))
	for hazard, change := range map[string]func(o *Order){
		"other_topic":       func(o *Order) { o.Topic = "x" },
		"other_incarnation": func(o *Order) { o.Incarnation = "2" },
		"other_partition":   func(o *Order) { o.Heads = map[int]int64{0: 99} },
		"sealed_later":      func(o *Order) { o.Heads = map[int]int64{3: 41} },
		"other_source":      func(o *Order) { o.Sources = []string{"x"} },
		"later_hours":       func(o *Order) { o.Since = f.Hour + 1 },
		"earlier_hours":     func(o *Order) { o.Until = f.Hour },
		"other_offsets": func(o *Order) {
			o.Offsets = []Range{{Partition: 3, First: f.Last + 1, Last: f.Last + 2}, {Partition: 2, First: f.First, Last: f.Last}}
		},
	} {
		o := order
		change(&o)
		require.False(t, o.Covers(e, &f, job.Destination), hazard)
	}
	o := order
	o.Destinations = nil
	require.True(t, o.Covers(e, &f, job.Destination), "an owed file is not covered")
	require.False(t, o.Covers(e, &f, "ws/other"))
}

func TestParseReplayKey(t *testing.T) {
	for _, key := range []string{OrderKey(order.ID), RebuiltKey(order.ID, ref), ReplayReceiptKey(order.ID, ref, "a/b")} {
		id, ok := ParseReplayKey(key)
		require.True(t, ok, key)
		require.Equal(t, order.ID, id)
	}
	for _, key := range []string{"replays/", "replays/x", "replays//x", "replays/A_/x", "receipts/x/y", ""} {
		_, ok := ParseReplayKey(key)
		require.False(t, ok, key)
	}
}

func FuzzDecodeOrder(f *testing.F) {
	f.Add(order.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := DecodeOrder(b); err == nil {
			again, err := DecodeOrder(o.Encode())
			require.NoError(t, err)
			require.Equal(t, string(o.Encode()), string(again.Encode()))
		}
	})
}
