package e2e

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strconv"
	"strings"
)

const module = "github.com/sealift/sealift/"

// goFile is one parsed file of the tree.
type goFile struct {
	path string // slash-separated, from the module's root
	ast  *ast.File
}

func (f goFile) dir() string  { return path.Dir(f.path) }
func (f goFile) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

// imports returns the paths of all imports.
func (f goFile) imports() []string {
	var paths []string
	for _, i := range f.ast.Imports {
		p, err := strconv.Unquote(i.Path.Value)
		if err == nil {
			paths = append(paths, p)
		}
	}
	return paths
}

// rule is one rule about the tree: it returns a sentence for every violation.
type rule struct {
	name  string
	check func([]goFile) []string
}

var rules = []rule{
	{"arrows point down", arrows},
	{"one importer per heavy dependency", heavy},
	{"the judge is independent", independent},
	{"every package says what it is", packageComments},
	{"packages are named for what they do", packageNames},
	{"only main ends the process", exits},
}

// layer ranks a directory: imports go from higher to lower layers. Roles are equal and never import
// each other; mechanisms may.
func layer(dir string) int {
	switch top, rest, _ := strings.Cut(dir, "/"); top {
	case "workers":
		if rest == "sealift" || strings.HasPrefix(rest, "sealift/") || rest == "e2e" || strings.HasPrefix(rest, "e2e/") {
			return 4
		}
		return 3
	case "pkg":
		return 2
	case "schemas":
		return 1
	default:
		return 0
	}
}

func arrows(files []goFile) (bad []string) {
	for _, f := range files {
		from := layer(f.dir())
		if from == 0 {
			bad = append(bad, fmt.Sprintf("%s is outside of workers, pkg and schemas", f.path))
		}
		for _, p := range f.imports() {
			dir, ours := strings.CutPrefix(p, module)
			if !ours || dir == f.dir() || f.isTest() && strings.HasPrefix(dir, f.dir()+"/") {
				continue
			}
			to := layer(dir)
			switch {
			case to > from, to == 4:
				bad = append(bad, fmt.Sprintf("%s imports %s, upwards", f.path, dir))
			case to == 3 && from == 3 && role(dir) != role(f.dir()):
				bad = append(bad, fmt.Sprintf("%s imports %s: roles meet in Kafka, on disk and in the ledger", f.path, dir))
			}
		}
	}
	return bad
}

// role returns the second element of workers/role/….
func role(dir string) string {
	_, rest, _ := strings.Cut(dir, "/")
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// heavyImporters lists the only packages whose code (except tests) may import a dependency, given
// by a prefix of its path, so that a reader who wants to know where we talk to S3 finds one place.
var heavyImporters = []struct {
	dependency string
	importers  []string
}{
	{"github.com/segmentio/kafka-go", []string{"pkg/stream"}},
	{"github.com/aws/", []string{"pkg/objstore", "pkg/assumerole"}},
	{"github.com/redis/", []string{"pkg/lease"}},
	{"github.com/twmb/", []string{"pkg/embedded"}},
	{"github.com/alicebob/", []string{"pkg/embedded"}},
	{"github.com/spf13/", []string{"workers/sealift"}},
	{"github.com/goccy/go-yaml", []string{"pkg/strictyaml", "pkg/catalog"}},
	{"github.com/santhosh-tekuri/", []string{"pkg/catalog", "schemas"}},
}

func heavy(files []goFile) (bad []string) {
	for _, f := range files {
		if f.isTest() || strings.HasSuffix(f.dir(), "/conformance") {
			continue
		}
		for _, p := range f.imports() {
			for _, h := range heavyImporters {
				if strings.HasPrefix(p, h.dependency) && !slices.Contains(h.importers, f.dir()) {
					bad = append(bad, fmt.Sprintf("%s imports %s, which is for %s", f.path, p, strings.Join(h.importers, " and ")))
				}
			}
		}
	}
	return bad
}

// independent: pkg/check judges what others wrote, so it shares nothing with them, nor with
// pkg/sample, which may generate what it judges.
func independent(files []goFile) (bad []string) {
	for _, f := range files {
		if f.dir() != "pkg/check" || f.isTest() {
			continue
		}
		for _, p := range f.imports() {
			if strings.Contains(p, ".") { // the standard library has no host names
				bad = append(bad, fmt.Sprintf("%s imports %s, but may use the standard library only", f.path, p))
			}
		}
	}
	return bad
}

func packageComments(files []goFile) (bad []string) {
	comments, wanted := map[string]int{}, map[string]string{}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		want := "Package " + f.ast.Name.Name + " "
		if f.ast.Name.Name == "main" {
			want = "Command " + path.Base(f.dir()) + " "
		}
		wanted[f.dir()] = want
		if f.ast.Doc == nil {
			continue
		}
		if text := f.ast.Doc.Text(); !strings.HasPrefix(text, want) || len(strings.Fields(text)) < 20 {
			bad = append(bad, fmt.Sprintf("%s: the package comment must begin %q and say what the package is, promises and does not do", f.path, want))
		}
		comments[f.dir()]++
	}
	for dir, want := range wanted {
		if n := comments[dir]; n != 1 {
			bad = append(bad, fmt.Sprintf("%s has %d package comments, not one that begins %q", dir, n, want))
		}
	}
	return bad
}

// bannedNames say nothing about what a package does.
var bannedNames = []string{"util", "utils", "common", "types", "models", "helpers", "helper", "misc", "shared", "base", "lib", "core", "tools"}

func packageNames(files []goFile) (bad []string) {
	for _, f := range files {
		name := strings.TrimSuffix(f.ast.Name.Name, "_test")
		switch {
		case slices.Contains(bannedNames, name):
			bad = append(bad, fmt.Sprintf("%s: package %s is named for nothing it does", f.path, name))
		case name != "main" && name != path.Base(f.dir()):
			bad = append(bad, fmt.Sprintf("%s: package %s is not named as its folder", f.path, name))
		case strings.ToLower(name) != name || strings.Contains(name, "_"):
			bad = append(bad, fmt.Sprintf("%s: package %s is not one lower-case word", f.path, name))
		}
	}
	return bad
}

// exitCalls end the process, so only main may make them.
var exitCalls = map[string][]string{
	"os":      {"Exit"},
	"log":     {"Fatal", "Fatalf", "Fatalln", "Panic", "Panicf", "Panicln"},
	"syscall": {"Exit", "Kill"},
}

func exits(files []goFile) (bad []string) {
	for _, f := range files {
		if f.isTest() || f.path == "workers/sealift/main.go" || f.path == "workers/e2e/figures/main.go" {
			continue
		}
		ast.Inspect(f.ast, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && slices.Contains(exitCalls[x.Name], s.Sel.Name) && x.Obj == nil {
				bad = append(bad, fmt.Sprintf("%s uses %s.%s: only main ends the process", f.path, x.Name, s.Sel.Name))
			}
			return true
		})
	}
	return bad
}
