package catalog

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSnapshotFindsEverything(t *testing.T) {
	s, err := NewSnapshot(fullWorkspaces(t))
	require.NoError(t, err)
	require.NoError(t, s.Problems())
	require.Len(t, s.Workspaces(), 2)
	require.Equal(t, "ws_0000000000000001", s.Workspaces()[0].ID)
	ws := fullWorkspaces(t)[0].ID

	ref, ok := s.SourceByWriteKey("wk_two")
	require.True(t, ok)
	require.Equal(t, "qv5iYYMxd94DahFpRzm58y", ref.ID)
	require.Equal(t, ws, ref.Workspace)
	require.Empty(t, ref.WriteKeys)
	for _, key := range []string{"", "wk_", "wk_three", HashKey("wk_two")} {
		_, ok = s.SourceByWriteKey(key)
		require.False(t, ok, key)
	}

	ref, ok = s.Source("qv5iYYMxd94DahFpRzm58y")
	require.True(t, ok)
	require.Equal(t, "web", ref.Name)
	_, ok = s.Source("none")
	require.False(t, ok)

	require.Equal(t, 8, s.Spread("ios"))
	require.Equal(t, 1, s.Spread("qv5iYYMxd94DahFpRzm58y"))
	require.Equal(t, 1, s.Spread("none"))

	require.Equal(t, []string{ws + "/acme-classic", ws + "/acme-fips", ws + "/acme-minio"}, s.Owed("ios"))
	require.Nil(t, s.Owed("qv5iYYMxd94DahFpRzm58y"), "its only destination is disabled")
	require.Nil(t, s.Owed("none"))

	d, ok := s.Destination(ws + "/acme-prod")
	require.True(t, ok)
	require.Equal(t, "acme-logs", d.BucketName)
	require.Equal(t, "path/prefix", d.Prefix)
	require.Equal(t, "012345678901", d.Owner)
	require.Equal(t, ws, d.Workspace)
	require.False(t, d.SSE)
	require.False(t, d.IsEnabled)
	require.Empty(t, d.RefusalReason)
	d, ok = s.Destination(ws + "/acme-classic")
	require.True(t, ok)
	require.True(t, d.SSE)
	require.True(t, d.IsEnabled)
	require.Empty(t, d.Prefix)
	require.Empty(t, d.Owner)
	_, ok = s.Destination("acme-classic")
	require.False(t, ok)
}

func TestOwnerIsTheRolesAccountByDefault(t *testing.T) {
	d := dest("d", "logs", "a")
	d.RoleARN = "arn:aws:iam::123456789012:role/x"
	s, err := NewSnapshot([]Workspace{workspace(wsA, "a", d)})
	require.NoError(t, err)
	got, _ := s.Destination(wsA + "/d")
	require.Equal(t, "123456789012", got.Owner)
}

func TestNewSnapshotRefuses(t *testing.T) {
	_, err := NewSnapshot([]Workspace{{ID: "x"}})
	require.ErrorIs(t, err, ErrInvalid)
}

func TestLiveFollows(t *testing.T) {
	l := NewLive()
	require.NotNil(t, l.Snapshot())
	require.Empty(t, l.Snapshot().Workspaces())

	changed := l.Changed()
	require.NoError(t, l.Apply(wsA, Encode(workspace(wsA, "a", dest("d", "logs", "a")))))
	require.Empty(t, l.Snapshot().Workspaces(), "shown before it was published")
	s := l.Publish()
	<-changed
	require.Equal(t, []string{wsA + "/d"}, s.Owed("a"))
	require.Same(t, s, l.Snapshot())
	require.Same(t, s, l.Publish(), "nothing has changed")

	changed = l.Changed()
	for _, bad := range []string{"{", string(Encode(workspace(wsB, "b")))} {
		require.ErrorIs(t, l.Apply(wsA, []byte(bad)), ErrBadRecord)
	}
	require.Same(t, s, l.Snapshot(), "a record that cannot be read changes nothing")
	select {
	case <-changed:
		t.Fatal("nothing has changed")
	default:
	}

	require.Same(t, s, l.Publish())
	require.NoError(t, l.Apply(wsA, nil))
	require.Empty(t, l.Publish().Workspaces())
	<-changed
	require.NoError(t, l.Apply(wsB, nil), "the tombstone of what is unknown")

	set, err := NewSnapshot(fullWorkspaces(t))
	require.NoError(t, err)
	l.Set(set)
	require.Same(t, l.Snapshot(), l.Publish())
	require.Equal(t, set.Workspaces(), l.Snapshot().Workspaces())
	require.NoError(t, l.Apply("ws_0000000000000001", nil))
	require.Len(t, l.Publish().Workspaces(), 1)
}

// Two commands may each write a record that was valid when they checked it.
func TestLiveKeepsTheEarlierOfTwoThatCollide(t *testing.T) {
	l := NewLive()
	require.NoError(t, l.Apply(wsB, Encode(Workspace{ID: wsB, Sources: []Source{{ID: "x", WriteKeys: []string{"k"}}}, Destinations: []Destination{dest("d", "logs", "x")}})))
	require.NoError(t, l.Apply(wsA, Encode(Workspace{ID: wsA, Sources: []Source{{ID: "x", WriteKeys: []string{"k"}}, {ID: "y"}}, Destinations: []Destination{dest("d", "logs", "y"), dest("e", "mine", "x")}})))
	s := l.Publish()
	require.ErrorIs(t, s.Problems(), ErrInvalid)
	ref, ok := s.Source("x")
	require.True(t, ok)
	require.Equal(t, wsB, ref.Workspace)
	ref, _ = s.SourceByWriteKey("k")
	require.Equal(t, wsB, ref.Workspace)
	require.Equal(t, []string{wsB + "/d"}, s.Owed("x"), "never to a bucket of another workspace")
	require.Equal(t, []string{wsA + "/d"}, s.Owed("y"), "owed still, so that nothing is lost")
	d, _ := s.Destination(wsA + "/d")
	require.Contains(t, d.RefusalReason, "delivers to the same place")
	d, _ = s.Destination(wsB + "/d")
	require.Empty(t, d.RefusalReason)

	require.NoError(t, l.Apply(wsB, nil))
	s = l.Publish()
	require.NoError(t, s.Problems())
	require.Equal(t, []string{wsA + "/e"}, s.Owed("x"))
}

// A record that another release or another program wrote.
func TestLiveLeavesOutUnsafeRecords(t *testing.T) {
	l := NewLive()
	require.NoError(t, l.Apply(wsA, []byte(`{"version":1,"workspace":"`+wsA+`","sources":[{"id":"../x","write_key_hashes":["`+HashKey("k")+`","zz"]},{"id":"ok"}],
		"destinations":[{"name":"d","sources":["ok"],"bucket":"s3://x"},{"name":"d","sources":["ok"],"bucket":"other"}]}`)))
	s := l.Publish()
	_, ok := s.Source("../x")
	require.False(t, ok)
	_, ok = s.SourceByWriteKey("k")
	require.False(t, ok)
	require.Equal(t, []string{wsA + "/d"}, s.Owed("ok"))
	d, _ := s.Destination(wsA + "/d")
	require.Contains(t, d.RefusalReason, "is a URI")
}

// A workspace's id is a role's external id and the beginning of destination ids. A record whose id
// is a pattern or a path is refused, whoever wrote it.
func TestRecordsOfWorkspacesWithWrongIDs(t *testing.T) {
	for hazard, id := range map[string]string{
		"star": "*", "pattern": "ws_*", "question_mark": "ws_AAAAAAAAAAAAAAA?", "variable": "${aws:userid}", "path": "../" + wsB, "below_another": wsB + "/d",
		"short": "ws_A", "chosen": "acme", "space": wsA + " ", "newline": wsA + "\n", "empty": "",
	} {
		t.Run(hazard, func(t *testing.T) {
			l := NewLive()
			require.ErrorIs(t, l.Apply(id, Encode(workspace(id, "a", dest("d", "logs", "a")))), ErrBadRecord)
			require.Empty(t, l.Publish().Workspaces())
			_, err := NewSnapshot([]Workspace{workspace(id, "a", dest("d", "logs", "a"))})
			require.ErrorIs(t, err, ErrInvalid)
		})
	}
}

func TestLiveConcurrently(t *testing.T) {
	l := NewLive()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				id := fmt.Sprintf("ws_%016d", w*1000+i)
				src := fmt.Sprintf("s%d-%d", w, i)
				require.NoError(t, l.Apply(id, Encode(workspace(id, src))))
				_, ok := l.Publish().Source(src)
				require.True(t, ok, "applied before, so it is there")
				_, ok = l.Snapshot().Source(src)
				require.True(t, ok)
				require.NotNil(t, l.Changed())
			}
		})
	}
	wg.Wait()
}

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 100 {
		w, s, k := NewWorkspaceID(), NewSourceID(), NewWriteKey()
		require.Regexp(t, workspaceID, w)
		require.Regexp(t, sourceID, s)
		require.Regexp(t, writeKey, k)
		require.False(t, seen[w] || seen[s] || seen[k])
		seen[w], seen[s], seen[k] = true, true, true
	}
	require.Equal(t, "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", HashKey("key"))
}

func TestDiff(t *testing.T) {
	old := []Workspace{workspace(wsA, "a", dest("d", "logs", "a"), dest("gone", "logs2", "a"))}
	next := []Workspace{workspace(wsA, "a", disabled(dest("d", "logs/x", "a")), dest("fresh", "logs3", "a")), {ID: wsB, Sources: []Source{{ID: "b"}}}}
	next[0].Sources[0].WriteKeys = []string{"key"}
	pathStyle := true
	next[0].Destinations[0].FIPS, next[0].Destinations[0].DualStack, next[0].Destinations[0].PathStyle = true, true, &pathStyle
	var got []string
	for _, c := range Diff(old, next) {
		got = append(got, strings.ReplaceAll(c.String(), "workspace ws_", ""))
	}
	require.Equal(t, []string{
		`~ AAAAAAAAAAAAAAAA source "a" write_key_hashes: (none) -> 2c70e12b`,
		`~ AAAAAAAAAAAAAAAA destination "d" bucket: logs -> logs/x`,
		`~ AAAAAAAAAAAAAAAA destination "d" fips: false -> true`,
		`~ AAAAAAAAAAAAAAAA destination "d" dual_stack: false -> true`,
		`~ AAAAAAAAAAAAAAAA destination "d" path_style: (none) -> true`,
		`~ AAAAAAAAAAAAAAAA destination "d" enabled: true -> false`,
		`- AAAAAAAAAAAAAAAA destination "gone"`,
		`+ AAAAAAAAAAAAAAAA destination "fresh"`,
		`+ BBBBBBBBBBBBBBBB`,
		`+ BBBBBBBBBBBBBBBB source "b"`,
	}, got)
	require.Len(t, Diff(next, nil), 6)
	require.Empty(t, Diff(next, []Workspace{Stored(next[1]), Stored(next[0])}))
}

func BenchmarkSourceByWriteKey(b *testing.B) {
	s, err := NewSnapshot([]Workspace{{ID: wsA, Sources: []Source{{ID: "a", WriteKeys: []string{"wk_0123456789abcdefghijklmnopqrstuv"}}}}})
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := s.SourceByWriteKey("wk_0123456789abcdefghijklmnopqrstuv"); !ok {
			b.Fatal("not found")
		}
	}
}
