package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/config"
)

// TestComposeFile holds what no schema of Compose can: that the file's variables are configuration
// and its document is a catalog, and that a container into which Compose copies a document is
// writable.
func TestComposeFile(t *testing.T) {
	b, err := os.ReadFile("../../compose.yaml")
	require.NoError(t, err)
	var file struct {
		Services map[string]struct {
			Image       string            `yaml:"image"`
			ReadOnly    bool              `yaml:"read_only"`
			Environment map[string]string `yaml:"environment"`
			Configs     []any             `yaml:"configs"`
		} `yaml:"services"`
		Configs map[string]struct {
			Content string `yaml:"content"`
		} `yaml:"configs"`
	}
	require.NoError(t, yaml.UnmarshalWithOptions(b, &file, yaml.AllowDuplicateMapKey())) // merged keys
	variables := map[string]bool{}
	for _, key := range config.Keys() {
		variables[config.Env(key)] = true
	}
	ours := 0
	for name, s := range file.Services {
		require.False(t, s.ReadOnly && len(s.Configs) > 0, "%s: Compose cannot copy a document into a read-only container", name)
		if s.Image != "sealift:local" {
			continue
		}
		ours++
		for v := range s.Environment {
			require.True(t, variables[v] || !strings.HasPrefix(v, "SEALIFT_"), "%s: %s is no configuration", name, v)
		}
	}
	require.GreaterOrEqual(t, ours, 6, "want a service for each role")
	_, err = catalog.Parse([]byte(file.Configs["catalog"].Content))
	require.NoError(t, err)
}
