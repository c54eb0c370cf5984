package config

import (
	"bytes"
	"cmp"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/goldentest"
)

// TestReference: `sealift config reference` prints what the comments of Config say, for every key.
// Using a copy of it changes nothing, not even a default that depends on another key, nor the
// presets of `sealift dev`. Uncommented, it sets the defaults.
func TestReference(t *testing.T) {
	c := Default()
	var printed bytes.Buffer
	require.NoError(t, c.Print(&printed))
	want := annotate(t, printed.String(), comments(t))
	goldentest.Equal(t, "reference.yaml", []byte(want))
	loaded, err := Load(writeFile(t, want), nil, nil)
	require.NoError(t, err)
	require.Empty(t, loaded.origins)
	loaded.origins = nil
	require.Equal(t, c, loaded)

	loaded, err = Load(writeFile(t, regexp.MustCompile(`(?m)^( *)#(\w)`).ReplaceAllString(want, "$1$2")), nil, nil)
	require.NoError(t, err)
	require.Len(t, loaded.origins, len(Keys()))
	loaded.origins = nil
	require.Equal(t, c, loaded)
}

// annotate writes above each line of a printed configuration what its key means, and comments the
// values out.
func annotate(t *testing.T, printed string, comments map[string]string) string {
	t.Helper()
	out := "# All keys of Sealift's configuration, with their defaults. Each is an environment variable,\n" +
		"# too: kafka.brokers is SEALIFT_KAFKA_BROKERS; lists are comma-separated there.\n" +
		"# Nothing here has an effect until you remove the # before a key.\n"
	var at []string
	for line := range strings.Lines(printed) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		depth := (len(line) - len(strings.TrimLeft(line, " "))) / 2
		at = append(at[:depth], name)
		text, ok := comments[strings.Join(at, ".")]
		require.True(t, ok && text != "", "%s has no comment", strings.Join(at, "."))
		if !strings.HasSuffix(out, ":\n") { // the first key of a section follows directly
			out += "\n"
		}
		indent := strings.Repeat("  ", depth)
		out += wrap(text, indent+"# ") + indent
		if value != "" {
			out += "#"
		}
		out += strings.TrimLeft(line, " ")
	}
	return out
}

// comments returns the comments of config.go's fields and types, by key and by section. Field names
// are replaced by those in the file: MaxBytes is max_bytes there.
func comments(t *testing.T) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), "config.go", nil, parser.ParseComments)
	require.NoError(t, err)
	types := map[string]*ast.StructType{}
	docs := map[string]string{}
	for _, d := range parsed.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		spec, ok := g.Specs[0].(*ast.TypeSpec)
		require.True(t, ok)
		types[spec.Name.Name], _ = spec.Type.(*ast.StructType)
		docs[spec.Name.Name] = oneLine(g.Doc.Text())
	}
	out := map[string]string{}
	first := map[string]string{} // the section where a type is described
	var walk func(typ, path string)
	walk = func(typ, path string) {
		keys := keysOf(types[typ])
		for _, f := range types[typ].Fields.List {
			if f.Tag == nil {
				continue
			}
			at := strings.TrimPrefix(path+"."+keys[f.Names[0].Name], ".")
			text := oneLine(f.Doc.Text() + " " + f.Comment.Text())
			out[at] = inKeys(text, keys)
			name, _ := f.Type.(*ast.Ident)
			if name == nil || types[name.Name] == nil {
				continue
			}
			switch section := first[name.Name]; {
			case section != "":
				out[at] = "As " + section + "."
			case text == "":
				its := keysOf(types[name.Name])
				if key := keys[f.Names[0].Name]; strings.Contains(key, "_") {
					its[name.Name] = key // RateLimit is rate_limit
				}
				out[at] = inKeys(docs[name.Name], its)
			}
			if first[name.Name] == "" {
				first[name.Name] = at
			}
			walk(name.Name, at)
		}
	}
	walk("Config", "")
	return out
}

// keysOf returns the name in the file of each field.
func keysOf(typ *ast.StructType) map[string]string {
	keys := map[string]string{}
	for _, f := range typ.Fields.List {
		if f.Tag != nil {
			keys[f.Names[0].Name] = reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("yaml")
		}
	}
	return keys
}

// inKeys replaces field names in a comment by those in the file. Words like TLS stay.
func inKeys(text string, keys map[string]string) string {
	return regexp.MustCompile(`[A-Z]\w*[a-z]\w*`).ReplaceAllStringFunc(text, func(word string) string {
		return cmp.Or(keys[word], word)
	})
}

func oneLine(text string) string { return strings.Join(strings.Fields(text), " ") }

// wrap breaks text into lines of at most 100 columns that begin with prefix.
func wrap(text, prefix string) (out string) {
	line := prefix
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+len(word) >= 100 {
			out, line = out+strings.TrimRight(line, " ")+"\n", prefix
		}
		line += word + " "
	}
	return out + strings.TrimRight(line, " ") + "\n"
}
