package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/verify"
)

func TestCompletenessPrintsUnowedFiles(t *testing.T) {
	var out strings.Builder
	hour := verify.Hour{Source: "web", Unowed: 1}
	both := hour
	both.Destinations = []verify.HourDelivery{{Destination: "ws/one", Owed: 3, Delivered: 1, GivenUp: 1, Parked: 1}}
	r := &verify.Completeness{Hours: []verify.Hour{hour, both}, Partitions: []verify.Progress{{CompleteThrough: time.Now()}}}
	require.NoError(t, printCompleteness(&out, r, time.Now(), 0))
	require.Contains(t, out.String(), "open   1 owed to nobody\n")
	require.Contains(t, out.String(), "open   one 1/3 (1 parked, 1 given up), 1 owed to nobody\n")
	require.Contains(t, out.String(), "owed to nobody: 2 files; no destination was enabled")
}

// An idle partition reports how far it is once an hour. In between it must not look stuck, and a
// partition that is stuck must not look idle.
func TestCompletenessPrintsNextReportOfAnIdlePartition(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 30, 56, 0, time.UTC)
	for hazard, c := range map[string]struct {
		idle bool
		now  time.Duration // after at
		want string
	}{
		"idle":     {true, 10 * time.Minute, "partition 3 is the furthest behind; it is idle, and reports when the hour is over: next at 2026-11-22T01:00:10Z\n"},
		"not_idle": {false, 10 * time.Minute, "partition 3 is the furthest behind\n"},
		"stuck":    {true, 40 * time.Minute, "partition 3 is the furthest behind\n"},
	} {
		t.Run(hazard, func(t *testing.T) {
			var out strings.Builder
			r := &verify.Completeness{CompleteThrough: at, Partitions: []verify.Progress{
				{Partition: 2, CompleteThrough: at.Add(time.Minute)}, {Partition: 3, CompleteThrough: at, Idle: c.idle},
			}}
			require.NoError(t, printCompleteness(&out, r, at.Add(c.now), 10*time.Second))
			require.Contains(t, out.String(), c.want)
		})
	}
}
