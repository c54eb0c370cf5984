package strictyaml

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParseKeepsTextAndLine(t *testing.T) {
	docs, err := Parse([]byte("\ufeffa: 1\n"))
	require.NoError(t, err)
	require.NotNil(t, docs[0].Get("a"), "after a byte order mark")

	docs, err = Parse([]byte(`# a comment
a: 007
b: "12"
c:
  - x
  - y: yes
    z: 0x1F
d: {e: true, f: [1, 2]}
g:
h: |
  two
  lines
---
# an empty document
---
only: 'it''s'
`))
	require.NoError(t, err)
	require.Len(t, docs, 2)
	d := docs[0]
	require.Equal(t, &Node{Kind: Number, Line: 2, Text: "007"}, d.Get("a"))
	require.Equal(t, &Node{Kind: String, Line: 3, Text: "12"}, d.Get("b"))
	require.Equal(t, 4, d.Get("c").Line)
	require.Equal(t, "yes", d.Get("c").List[1].Get("y").Text)
	require.Equal(t, &Node{Kind: Number, Line: 7, Text: "0x1F"}, d.Get("c").List[1].Get("z"))
	require.Equal(t, &Node{Kind: Bool, Line: 8, Text: "true"}, d.Get("d").Get("e"))
	require.Equal(t, "2", d.Get("d").Get("f").List[1].Text)
	require.Equal(t, Null, d.Get("g").Kind)
	require.Equal(t, "two\nlines\n", d.Get("h").Text)
	require.Nil(t, d.Get("no"))
	require.Equal(t, &Node{Kind: String, Line: 16, Text: "it's"}, docs[1].Get("only"))
}

// The YAML library takes k:1 for a mapping if its list is inside braces; here it is text.
func TestColonWithoutSpaceIsText(t *testing.T) {
	for in, want := range map[string]string{
		"{a: [k-1:9092]}":     "k-1:9092",
		"{a: [é:1:2, b]}":     "é:1:2",
		"{a: [http://h:1/x]}": "http://h:1/x",
		"{a: [k:007 ]}":       "k:007",
	} {
		docs, err := Parse([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, &Node{Kind: String, Line: 1, Text: want}, docs[0].Get("a").List[0], in)
	}
	for _, in := range []string{"{a: [k: 1]}", "{a: [{k: 1}]}", `{a: ["k":1]}`, "{a: [{k: v:1}]}"} {
		docs, err := Parse([]byte(in))
		require.NoError(t, err, in)
		require.Equal(t, Mapping, docs[0].Get("a").List[0].Kind, in)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"duplicate_key": {"a: 1\nb: 2\na: 3\n", "line 3"},
		"anchor":        {"a: &x 1\n", "line 1"},
		"alias_bomb":    {"a: &x [1]\nb: [*x, *x]\n", "refused"},
		"merge_key":     {"a: {b: 1}\nc:\n  <<: {d: 1}\n", "line 3"},
		"tag":           {"a: !!binary aGk=\n", "tags"},
		"complex_key":   {"? [a, b]\n: 1\n", "line 2"},
		"unclosed":      {"a: [1, 2\n", "YAML"},
		"bad_indent":    {"a:\n  b: 1\n c: 2\n", "YAML"},
		"tab":           {"a:\n\tb: 1\n", "line 2: not the YAML that is understood here: a tab begins the line or a value; indent with spaces"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.in))
			require.ErrorIs(t, err, ErrSyntax)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// The YAML library drops everything after an empty document; here it is kept.
func TestParseKeepsDocumentsAfterAnEmptyOne(t *testing.T) {
	for _, in := range []string{"a: 1\n---\n---\nb: 1\n", "---\na: 1\n---\n# c\n---\nb: 1", "--- {a: 1}\n...\n---\nb: 1\r\n"} {
		docs, err := Parse([]byte(in))
		require.NoError(t, err)
		require.Len(t, docs, 2, "%q", in)
		require.NotNil(t, docs[0].Get("a"))
		require.NotNil(t, docs[1].Get("b"))
	}
	_, err := Parse([]byte("a: 1\n---\nb: 1\nb: 2\n"))
	require.ErrorContains(t, err, "line 4")
}

func TestParseNothing(t *testing.T) {
	for _, in := range []string{"", "\n", "# only a comment\n", "---\n", "---\n---\n"} {
		docs, err := Parse([]byte(in))
		require.NoError(t, err, "%q", in)
		for _, d := range docs {
			require.Equal(t, Null, d.Kind, "%q", in)
		}
	}
}

func TestSyntaxErrorShowsNoContent(t *testing.T) {
	_, err := Parse([]byte("password: [hunter2\nx: {"))
	require.Error(t, err)
	require.NotContains(t, err.Error(), "hunter2")
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a: 1\nb: [x, {y: z}]\n---\nc: |\n  d\n"))
	f.Add([]byte("? a\n: b\n"))
	f.Add([]byte("- - - 'x'\n"))
	f.Add([]byte("a: &b *b"))
	f.Fuzz(func(t *testing.T, b []byte) {
		docs, err := Parse(b)
		if err != nil {
			require.ErrorIs(t, err, ErrSyntax)
			require.Nil(t, docs)
		}
	})
}
