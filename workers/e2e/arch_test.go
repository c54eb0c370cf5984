package e2e

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestArchitecture parses the whole tree. It does not run `go list`: the result of such a test is
// cached and misses violations, whereas files that a test reads are part of its cache key.
func TestArchitecture(t *testing.T) {
	files := parseTree(t, "../..")
	require.Greater(t, len(files), 50, "the source tree was not found")
	for _, r := range rules {
		t.Run(strings.ReplaceAll(r.name, " ", "_"), func(t *testing.T) {
			require.Empty(t, r.check(files), strings.Join(r.check(files), "\n"))
		})
	}
}

func parseTree(t *testing.T, root string) []goFile {
	t.Helper()
	var files []goFile
	require.NoError(t, filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if base := d.Name(); name != root && (strings.HasPrefix(base, ".") || base == "testdata" || base == "bin") {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(name, "go.mod")); name != root && err == nil {
				return filepath.SkipDir // another module: a program driven by tests
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		src, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		files = append(files, parse(t, filepath.ToSlash(rel), string(src)))
		return nil
	}))
	return files
}

func parse(t *testing.T, path, src string) goFile {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments)
	require.NoError(t, err)
	return goFile{path: path, ast: f}
}

// TestRulesCanFail gives every rule a violation, and something that only looks like one.
func TestRulesCanFail(t *testing.T) {
	const comment = "is a thing of this test, long enough to have said what it is, for whom, what it promises and what it does not do.\n"
	imports := func(p string) string { return "package x\nimport _ \"" + p + "\"\n" }
	tests := map[string]struct {
		check func([]goFile) []string
		path  string
		src   string
		good  bool
	}{
		"pkg_imports_a_role":               {arrows, "pkg/x/x.go", imports(module + "workers/copier"), false},
		"pkg_test_imports_a_role":          {arrows, "pkg/x/x_test.go", imports(module + "workers/copier"), false},
		"schemas_import_pkg":               {arrows, "schemas/x.go", imports(module + "pkg/x"), false},
		"role_imports_role":                {arrows, "workers/copier/x.go", imports(module + "workers/appender"), false},
		"role_test_imports_role":           {arrows, "workers/copier/x_test.go", imports(module + "workers/appender"), false},
		"role_imports_the_binary":          {arrows, "workers/copier/x.go", imports(module + "workers/sealift"), false},
		"e2e_imports_the_binary":           {arrows, "workers/e2e/x.go", imports(module + "workers/sealift"), false},
		"stray_folder":                     {arrows, "internal/x/x.go", "package x", false},
		"pkg_imports_pkg":                  {arrows, "pkg/x/x.go", imports(module + "pkg/y"), true},
		"role_imports_pkg":                 {arrows, "workers/copier/x.go", imports(module + "pkg/y"), true},
		"binary_imports_role":              {arrows, "workers/sealift/x.go", imports(module + "workers/copier"), true},
		"kafka_elsewhere":                  {heavy, "workers/copier/x.go", imports("github.com/segmentio/kafka-go/sasl"), false},
		"aws_elsewhere":                    {heavy, "pkg/catalog/x.go", imports("github.com/aws/aws-sdk-go-v2/aws"), false},
		"redis_elsewhere":                  {heavy, "workers/copier/x.go", imports("github.com/redis/go-redis/v9"), false},
		"kfake_elsewhere":                  {heavy, "workers/sealift/x.go", imports("github.com/twmb/franz-go/pkg/kfake"), false},
		"redis_in_its_room":                {heavy, "pkg/lease/x.go", imports("github.com/redis/go-redis/v9"), true},
		"redis_in_a_test":                  {heavy, "workers/copier/x_test.go", imports("github.com/redis/go-redis/v9"), true},
		"judge_imports_what_it_judges":     {independent, "pkg/check/x.go", imports(module + "pkg/segment"), false},
		"judge_imports_a_dependency":       {independent, "pkg/check/x.go", imports("github.com/klauspost/compress/gzip"), false},
		"judge_imports_the_library":        {independent, "pkg/check/x.go", imports("compress/gzip"), true},
		"no_package_comment":               {packageComments, "pkg/x/x.go", "package x", false},
		"package_comment_of_another":       {packageComments, "pkg/x/x.go", "// Package y " + comment + "package x", false},
		"package_comment_of_a_word":        {packageComments, "pkg/x/x.go", "// Package x does x.\npackage x", false},
		"package_comment":                  {packageComments, "pkg/x/x.go", "// Package x " + comment + "package x", true},
		"command_comment":                  {packageComments, "workers/sealift/main.go", "// Command sealift " + comment + "package main", true},
		"package_util":                     {packageNames, "pkg/util/x.go", "package util", false},
		"package_not_named_as_its_folder":  {packageNames, "pkg/x/x.go", "package y", false},
		"package_with_underscore":          {packageNames, "pkg/a_b/x.go", "package a_b", false},
		"package_external_test":            {packageNames, "pkg/x/x_test.go", "package x_test", true},
		"exit_in_pkg":                      {exits, "pkg/x/x.go", "package x\nimport \"os\"\nfunc f() { os.Exit(1) }", false},
		"exit_as_a_value":                  {exits, "pkg/x/x.go", "package x\nimport \"os\"\nvar f = os.Exit", false},
		"fatal_in_a_role":                  {exits, "workers/copier/x.go", "package x\nimport \"log\"\nfunc f() { log.Fatalf(\"\") }", false},
		"exit_in_another_file_of_the_main": {exits, "workers/sealift/x.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }", false},
		"exit_in_main":                     {exits, "workers/sealift/main.go", "package main\nimport \"os\"\nfunc f() { os.Exit(1) }", true},
		"exit_in_TestMain":                 {exits, "pkg/x/x_test.go", "package x\nimport \"os\"\nfunc f() { os.Exit(1) }", true},
	}
	for hazard, test := range tests {
		t.Run(hazard, func(t *testing.T) {
			bad := test.check([]goFile{parse(t, test.path, test.src)})
			require.Equal(t, test.good, len(bad) == 0, strings.Join(bad, "\n"))
		})
	}
	t.Run("two_package_comments", func(t *testing.T) {
		src := "// Package x " + comment + "package x"
		require.NotEmpty(t, packageComments([]goFile{parse(t, "pkg/x/a.go", src), parse(t, "pkg/x/b.go", src)}))
	})
}
