package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/delivery"
	"github.com/sealift/sealift/pkg/ledger/ledgertest"
	"github.com/sealift/sealift/pkg/objstore"
	"github.com/sealift/sealift/pkg/replay"
)

func TestParseOffsetRange(t *testing.T) {
	r, err := parseOffsetRange("3:1000-1999")
	require.NoError(t, err)
	require.Equal(t, delivery.Range{Partition: 3, First: 1000, Last: 1999}, r)
	for _, text := range []string{"", "3", "3:1", "3:2-1", "3:-1-2", "3:1-2x", "03:1-2", "3:1-2-3", "-3:1-2"} {
		_, err := parseOffsetRange(text)
		require.ErrorContains(t, err, "PARTITION:FIRST-LAST", text)
	}
}

func TestParseReplayRate(t *testing.T) {
	for text, want := range map[string][2]float64{"": {}, "50": {50, 0}, "0.5/s": {0.5, 0}, "20MB": {0, 20e6}, "1MiB/s": {0, 1 << 20}} {
		files, bytes, err := parseReplayRate(text)
		require.NoError(t, err, text)
		require.Equal(t, want, [2]float64{files, float64(bytes)}, text)
	}
	for _, text := range []string{"0", "-1", "NaN", "inf", "MB", "1 lightyear/s"} {
		_, _, err := parseReplayRate(text)
		require.ErrorContains(t, err, "write files a second", text)
	}
}

func TestDescribeOrder(t *testing.T) {
	for want, o := range map[string]delivery.Order{
		"all":                             {From: delivery.FromAuto},
		"all, view v2, from kafka, force": {From: delivery.FromKafka, View: "v2", Force: true},
		"source web +1, to ws/new, since 2026-11-22T14, until 2026-11-22T15, offsets 3:1-9": {
			From: delivery.FromAuto, Sources: []string{"web", "app"}, Destinations: []string{"ws/new"}, Since: 1795356000000, Until: 1795359600000,
			Offsets: []delivery.Range{{Partition: 3, First: 1, Last: 9}},
		},
	} {
		require.Equal(t, want, describeOrder(&o))
	}
}

func TestPrintReplayCountsExistingObjects(t *testing.T) {
	for want, existing := range map[string]*replay.Existing{
		"3 of 3 copies delivered, 0 failed":                                       nil,
		"3 of 3 copies delivered, 0 failed\n":                                     {ReceiptsRead: 3},
		"3 of 3 copies delivered (there already: 2), 0 failed":                    {Existed: 2, ReceiptsRead: 3},
		"3 of 3 copies delivered (there already: 2 of the 2 looked at), 0 failed": {Existed: 2, ReceiptsRead: 2},
	} {
		var out strings.Builder
		require.NoError(t, printReplay(&out, replayResult{Order: &delivery.Order{ID: "r"}, Status: replay.Status{Plan: &delivery.Plan{Copies: 3}, Delivered: 3}, Existing: existing}))
		require.Contains(t, out.String(), want)
	}
}

func TestReplayAsJSON(t *testing.T) {
	r := replayResult{Order: &delivery.Order{ID: "r", Since: 1795356000000, CreatedAt: 1795359600123}, State: "running", Counts: &replay.Tally{Enqueued: 2},
		Causes: []*parkedRow{{Cause: "a <b> & c"}}}
	var out strings.Builder
	a := &app{stdout: &out}
	require.NoError(t, a.showReplay(r, true, nil))
	require.Contains(t, out.String(), `"a <b> & c"`)
	var got map[string]any
	require.NoError(t, json.Unmarshal([]byte(out.String()), &got))
	require.Equal(t, "r", got["id"])
	require.Equal(t, "running", got["state"])
	require.Equal(t, "2026-11-22T14:00:00Z", got["since"])
	require.NotContains(t, got, "until")
	require.Equal(t, "2026-11-22T15:00:00.123Z", got["created_at"])
	require.Nil(t, got["plan"])
	require.InDelta(t, 2, got["counts"].(map[string]any)["enqueued"], 0)

	r.Until, r.Plan, r.Delivered = 1795359600000, &delivery.Plan{Copies: 3, At: 1795359601000}, 1
	out.Reset()
	require.NoError(t, a.showReplay(r, true, nil))
	require.NoError(t, json.Unmarshal([]byte(out.String()), &got))
	require.Equal(t, "2026-11-22T15:00:00Z", got["until"])
	require.InDelta(t, 1, got["delivered"], 0)
	plan := got["plan"].(map[string]any)
	require.InDelta(t, 3, plan["copies"], 0)
	require.Equal(t, "2026-11-22T15:00:01Z", plan["at"])
}

// A replay that cannot be read, perhaps because a later release ordered it, does not hide the others.
func TestReplaysThatCannotBeReadHideNoOthers(t *testing.T) {
	staging := objstore.NewMemory("staging")
	for _, id := range []string{"bad-order", "bad-plan", "good"} {
		order := delivery.Order{ID: id, Topic: "events", Incarnation: "1", From: delivery.FromAuto}
		require.NoError(t, replay.WriteOrder(t.Context(), staging, &order))
	}
	ledgertest.Put(t, staging, delivery.OrderKey("bad-order"), []byte("{"))
	ledgertest.Put(t, staging, delivery.PlanKey("bad-plan"), []byte("{"))
	results, err := listReplays(t.Context(), staging)
	require.ErrorContains(t, err, `read replay order "bad-order"`)
	require.ErrorContains(t, err, `read plan of replay "bad-plan"`)
	require.Len(t, results, 1)
	require.Equal(t, "good", results[0].ID)
}

// Without an order nothing is delivered any more, so nobody waits for it.
func TestWatchEndsWhenTheOrderExpires(t *testing.T) {
	screen := newReplayScreen(&strings.Builder{})
	require.ErrorIs(t, screen.watch(t.Context(), objstore.NewMemory("staging"), "r", true), replay.ErrOrderExpired)
}

func TestPrintCausesPrintsTheLargest(t *testing.T) {
	var rows []*parkedRow
	for i := range maxPrintedCauses + 3 {
		rows = append(rows, &parkedRow{Destination: "ws/one", Cause: fmt.Sprintf("cause-%d.", i), Files: int64(i + 1)})
	}
	var out strings.Builder
	require.NoError(t, printCauses(&out, rows))
	require.Contains(t, out.String(), "… and 3 more, of 6 files\n")
	require.Contains(t, out.String(), "cause-22.")
	require.NotContains(t, out.String(), "cause-2.")
	require.Equal(t, "cause-0.", rows[0].Cause, "the caller's rows were reordered")
	out.Reset()
	require.NoError(t, printCauses(&out, rows[:maxPrintedCauses]))
	require.NotContains(t, out.String(), "more")
}
