package sample

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSameConfigGivesTheSameEvents(t *testing.T) {
	a, b, other := New(Config{Seed: 7, Sources: 30}), New(Config{Seed: 7, Sources: 30}), New(Config{Seed: 8, Sources: 30})
	same := 0
	for range 1000 {
		x := a.Next()
		require.Equal(t, x, b.Next())
		if string(x.Body) == string(other.Next().Body) {
			same++
		}
	}
	require.Zero(t, same, "events equal those of another seed")
}

func TestEventsAreUniqueCallsOfEverySource(t *testing.T) {
	const n, sources = 6_000, 300
	ids, types, perSource := map[string]bool{}, map[string]int{}, make([]int, sources)
	bytes := 0
	for e := range New(Config{Seed: 1, Sources: sources}).Take(n) {
		require.False(t, ids[e.MessageID], "messageId %s is there twice", e.MessageID)
		ids[e.MessageID] = true
		types[e.Type]++
		perSource[e.Source]++
		bytes += len(e.Body)

		require.Less(t, len(e.MessageID), 100)
		require.Less(t, len(e.Body), 4096)
		require.NotContains(t, string(e.Body), "\n")
		var c struct{ Type, MessageID, UserID, AnonymousID, Event string }
		require.NoError(t, json.Unmarshal(e.Body, &c))
		require.Equal(t, e.MessageID, c.MessageID)
		require.Equal(t, e.Type, c.Type)
		require.NotEmpty(t, c.UserID+c.AnonymousID, "a call names somebody")
		require.Equal(t, c.Type == "track", c.Event != "", "track, and only track, names an event")
	}
	require.Len(t, ids, n)
	require.Len(t, types, 6)
	for s, k := range perSource {
		require.Positive(t, k, "source %d got nothing", s)
	}
	require.Greater(t, perSource[0], 5*perSource[sources-1], "some sources are hot")
	require.InDelta(t, 800, bytes/n, 400, "mean bytes an event")
}

func TestTakeStopsWhenAsked(t *testing.T) {
	g := New(Config{})
	for range g.Take(10) {
		break
	}
	first := New(Config{}).Next()
	require.NotEqual(t, first.MessageID, g.Next().MessageID)
}

func BenchmarkNext(b *testing.B) {
	g := New(Config{Sources: 300})
	for b.Loop() {
		b.SetBytes(int64(len(g.Next().Body)))
	}
}
