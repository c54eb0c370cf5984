package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseHour(t *testing.T) {
	now := time.Date(2026, 11, 22, 14, 30, 0, 0, time.UTC)
	for text, want := range map[string]string{
		"":                          "0001-01-01T00",
		"2026-11-22":                "2026-11-22T00",
		"2026-11-22T13":             "2026-11-22T13",
		"2026-11-22T13h":            "2026-11-22T13",
		"2026-11-22T13:00Z":         "2026-11-22T13",
		"2026-11-22T13:00:00Z":      "2026-11-22T13",
		"2026-11-22T13:00:00+01:00": "2026-11-22T12",
		"48h":                       "2026-11-20T14",
	} {
		at, err := parseHour(text, now)
		require.NoError(t, err, text)
		require.Equal(t, want, at.UTC().Format("2006-01-02T15"), text)
	}
	for _, text := range []string{"14", "-48h", "90m", "2026-11-22T13:30:00Z", "22.11.2026"} {
		_, err := parseHour(text, now)
		require.Error(t, err, text)
	}
}
