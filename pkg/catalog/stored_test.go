package catalog

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func fullWorkspaces(t testing.TB) []Workspace {
	t.Helper()
	b, err := os.ReadFile("testdata/full.yaml")
	require.NoError(t, err)
	ws, err := Parse(b)
	require.NoError(t, err)
	return ws
}

func TestEncodeGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/stored.v1.json")
	require.NoError(t, err)
	got := Encode(fullWorkspaces(t)[0])
	require.JSONEq(t, string(want), string(got))
	require.NotContains(t, string(got), "wk_one")

	w, err := Decode(want)
	require.NoError(t, err)
	require.Equal(t, Stored(fullWorkspaces(t)[0]), w)
	require.Equal(t, got, Encode(w), "hashed once, not twice")
}

func TestMarshalYAMLGolden(t *testing.T) {
	want, err := os.ReadFile("testdata/get.yaml")
	require.NoError(t, err)
	got, err := MarshalYAML(fullWorkspaces(t))
	require.NoError(t, err)
	require.Equal(t, string(want), string(got))
	again, err := Parse(got)
	require.NoError(t, err)
	require.Empty(t, Diff(fullWorkspaces(t), again))
}

func TestStoredSharesNothing(t *testing.T) {
	w := fullWorkspaces(t)[0]
	before, err := json.Marshal(w)
	require.NoError(t, err)
	s := Stored(w)
	*s.Destinations[3].Enabled, *s.Destinations[2].PathStyle, s.Destinations[0].Sources[0], s.Sources[0].WriteKeyHashes[0] = true, true, "x", "x"
	after, err := json.Marshal(w)
	require.NoError(t, err)
	require.Equal(t, string(before), string(after))
}

func TestDecodeRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":        "",
		"not_json":     "workspace: x",
		"version":      `{"version":2,"workspace":"` + wsA + `"}`,
		"no_version":   `{"workspace":"` + wsA + `"}`,
		"unknown_key":  `{"version":1,"workspace":"` + wsA + `","x":1}`,
		"two_objects":  `{"version":1,"workspace":"` + wsA + `"}{}`,
		"trailing":     `{"version":1,"workspace":"` + wsA + `"}x`,
		"bad_id":       `{"version":1,"workspace":"acme"}`,
		"no_id":        `{"version":1}`,
		"plain_key":    `{"version":1,"workspace":"` + wsA + `","sources":[{"id":"a","write_keys":["k"]}]}`,
		"wrong_type":   `{"version":1,"workspace":"` + wsA + `","sources":{}}`,
		"array":        `[]`,
		"null":         `null`,
		"unclosed":     `{"version":1,"workspace":"` + wsA + `"`,
		"closing_only": `{"version":1,"workspace":"` + wsA + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Decode([]byte(in))
			require.ErrorIs(t, err, ErrBadRecord)
		})
	}
}

func FuzzDecode(f *testing.F) {
	golden, err := os.ReadFile("testdata/stored.v1.json")
	require.NoError(f, err)
	f.Add(golden)
	f.Add([]byte(`{"version":1,"workspace":"` + wsA + `","sources":[{"id":"../x","write_key_hashes":["x"]}],"destinations":[{}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := Decode(b)
		if err != nil {
			require.ErrorIs(t, err, ErrBadRecord)
			return
		}
		again, err := Decode(Encode(w))
		require.NoError(t, err)
		require.Equal(t, Encode(w), Encode(again))
		live := NewLive()
		require.NoError(t, live.Apply(w.ID, b))
		require.NotNil(t, live.Publish())
	})
}
