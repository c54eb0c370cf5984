package model

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const root = "../../.."

// page returns the lines of schemas/protocol.md.
func page(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "schemas", "protocol.md"))
	require.NoError(t, err)
	return strings.Split(string(b), "\n")
}

var stepsRow = regexp.MustCompile(`^\| (.+?) \| ([A-Z]+[0-9]*) \| ([0-9]+) \|$`)

// pageSteps returns the rows about ablations and limits: from the name to the harm and the steps.
func pageSteps(t *testing.T) map[string]string {
	t.Helper()
	steps := map[string]string{}
	for _, line := range page(t) {
		if m := stepsRow.FindStringSubmatch(line); m != nil {
			steps[m[1]] = m[2] + " " + m[3]
		}
	}
	return steps
}

var statesRow = regexp.MustCompile(`^\| ([^|]+) \| ([0-9][0-9,]*) \|$`)

// TestPageListsTheModels: the page lists the models that are explored, with their sizes.
func TestPageListsTheModels(t *testing.T) {
	told, explored := map[string]string{}, map[string]string{}
	for _, line := range page(t) {
		if m := statesRow.FindStringSubmatch(line); m != nil {
			told[m[1]] = strings.ReplaceAll(m[2], ",", "")
		}
	}
	for _, m := range soundModels {
		explored[m.name] = strconv.Itoa(m.states)
	}
	require.Equal(t, explored, told)
}

// TestPageMatchesTheCode: for every invariant, the files that the page names mention it, and every
// test that the page names exists.
func TestPageMatchesTheCode(t *testing.T) {
	comments, tests := source(t)
	row := regexp.MustCompile(`^\| (I[0-9]+) \|`)
	name := regexp.MustCompile("`(Test[A-Za-z0-9]+)`")
	file := regexp.MustCompile("`((?:pkg|workers)/[a-z0-9_/]+\\.go)`")
	rows := 0
	for _, line := range page(t) {
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			require.True(t, tests[m[1]], "no test is called %s", m[1])
		}
		for _, m := range file.FindAllStringSubmatch(line, -1) {
			require.Contains(t, comments, m[1], "the page names a file that does not exist")
		}
		m := row.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rows++
		require.NotEmpty(t, name.FindString(line), "%s: the page names no test", m[1])
		files := file.FindAllStringSubmatch(line, -1)
		require.NotEmpty(t, files, "%s: the page names no code", m[1])
		for _, f := range files {
			require.Regexp(t, `\b`+m[1]+`\b`, comments[f[1]], "%s does not mention %s", f[1], m[1])
		}
	}
	require.Equal(t, 12, rows, "number of invariants on the page")
}

// source returns the comments of every file of the tree that is not a test, and the names of all
// tests.
func source(t *testing.T) (comments map[string]string, tests map[string]bool) {
	t.Helper()
	comments, tests = map[string]string{}, map[string]bool{}
	files := token.NewFileSet()
	for _, top := range []string{"pkg", "workers"} {
		require.NoError(t, filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(path) != ".go" {
				return err
			}
			f, err := parser.ParseFile(files, path, nil, parser.ParseComments)
			if err != nil {
				return err
			}
			if strings.HasSuffix(path, "_test.go") {
				for _, decl := range f.Decls {
					if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil {
						tests[fn.Name.Name] = true
					}
				}
				return nil
			}
			rel, err := filepath.Rel(root, path)
			if err != nil {
				return err
			}
			var b strings.Builder
			for _, c := range f.Comments {
				b.WriteString(c.Text())
			}
			comments[filepath.ToSlash(rel)] = b.String()
			return nil
		}))
	}
	return comments, tests
}
