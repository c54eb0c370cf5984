package e2e

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRulesLinks: the targets of links in the repository's documents exist, both files and
// headings.
func TestRulesLinks(t *testing.T) {
	root := os.DirFS("../..")
	link := regexp.MustCompile(`\]\(([^()\s]+)\)`)
	seen := 0
	require.NoError(t, fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			if d != nil && d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
				return fs.SkipDir
			}
			return err
		}
		text, err := fs.ReadFile(root, path)
		if err != nil {
			return err
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			file, heading, _ := strings.Cut(m[1], "#")
			if strings.Contains(m[1], "://") {
				continue
			}
			seen++
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			_, err := fs.Stat(root, target)
			require.NoError(t, err, "%s links to %s", path, m[1])
			if heading != "" {
				there, err := fs.ReadFile(root, target)
				require.NoError(t, err)
				require.Contains(t, headings(string(there)), heading, "%s links to %s", path, m[1])
			}
		}
		return nil
	}))
	require.Greater(t, seen, 50)
	require.Equal(t, []string{"one-heading", "another"}, headings("# One `heading`!\n```sh\n# a comment\n```\n- item\n  ```sh\n# in a list\n  ```\n## Another\n"))
}

// headings returns a document's anchors, as GitHub generates them.
func headings(text string) (anchors []string) {
	drop := regexp.MustCompile(`[^\p{L}\p{N}\s_-]`)
	code := false
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimLeft(line, " "), "```") {
			code = !code
		}
		if title, ok := strings.CutPrefix(line, "#"); ok && !code {
			title = strings.TrimSpace(strings.TrimLeft(title, "#"))
			anchors = append(anchors, strings.ReplaceAll(drop.ReplaceAllString(strings.ToLower(title), ""), " ", "-"))
		}
	}
	return anchors
}
