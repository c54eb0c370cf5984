package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
)

func readManual(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("OPERATING.md")
	require.NoError(t, err)
	return string(text)
}

// manualBlocks returns the manual's blocks of code in that language.
func manualBlocks(t *testing.T, language string) (blocks []string) {
	t.Helper()
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(readManual(t), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}

func TestManualNamesKnownKeys(t *testing.T) {
	known, named := config.Keys(), 0
	sections := regexp.MustCompile("`((?:kafka|redis|staging|appender|copier|auditor|sts|destinations|collector|admin|log)\\.[a-z_.]*[a-z])\\b")
	for _, m := range sections.FindAllStringSubmatch(readManual(t), -1) {
		key := m[1]
		isSection := slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(k, key+".") })
		require.True(t, isSection || slices.Contains(known, key), "%s is no key", key)
		named++
	}
	require.Greater(t, named, 40)
}

// TestManualConfiguration: what the manual and the README show of a configuration is valid, once its
// secrets are filled in.
func TestManualConfiguration(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?ms)^```yaml\n(?:# sealift.yaml\n)?(kafka:.*?)^```$").FindAllStringSubmatch(readManual(t)+string(readme), -1)
	require.Len(t, blocks, 2)
	for _, b := range blocks {
		file := filepath.Join(t.TempDir(), "sealift.yaml")
		require.NoError(t, os.WriteFile(file, []byte(strings.ReplaceAll(b[1], "…", "secret")), 0o600))
		cfg, err := config.Load(file, nil, nil)
		require.NoError(t, err)
		require.NoError(t, cfg.Validate())
	}
}

// What the manual shows for Kubernetes is valid for this release: the role, the variables, the
// ports, the probes and the time to drain.
func TestManualKubernetes(t *testing.T) {
	type probe struct {
		HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
	}
	type object struct {
		Kind string
		Spec struct {
			Template struct {
				Spec struct {
					Grace      int `yaml:"terminationGracePeriodSeconds"`
					Containers []struct {
						Args  []string
						Env   []struct{ Name string }
						Ports []struct {
							Name string
							Port int `yaml:"containerPort"`
						}
						Liveness  probe `yaml:"livenessProbe"`
						Readiness probe `yaml:"readinessProbe"`
					}
				}
			}
		}
	}
	found := false
	for _, block := range manualBlocks(t, "yaml") {
		var o object
		require.NoError(t, yaml.Unmarshal([]byte(block), &o), block)
		if o.Kind != "StatefulSet" {
			continue
		}
		found = true
		pod := o.Spec.Template.Spec
		require.Greater(t, time.Duration(pod.Grace)*time.Second, drainTimeout)
		c := pod.Containers[0]
		require.Equal(t, []string{appenderRole}, c.Args)
		for _, e := range c.Env {
			requireVariable(t, e.Name)
		}
		require.Equal(t, "admin", c.Ports[0].Name)
		require.Equal(t, config.Default().Admin.Listen, ":"+strconv.Itoa(c.Ports[0].Port))
		require.Equal(t, "/healthz", c.Liveness.HTTPGet.Path)
		require.Equal(t, "/readyz", c.Readiness.HTTPGet.Path)
	}
	require.True(t, found)
}

func TestManualUnit(t *testing.T) {
	unit := manualBlocks(t, "ini")[0]
	stop := regexp.MustCompile(`(?m)^TimeoutStopSec=(\d+)$`).FindStringSubmatch(unit)
	require.NotNil(t, stop)
	grace, err := time.ParseDuration(stop[1] + "s")
	require.NoError(t, err)
	require.Greater(t, grace, drainTimeout)
	for _, v := range regexp.MustCompile(`\bSEALIFT_\w+`).FindAllString(unit, -1) {
		requireVariable(t, v)
	}
}

// requireVariable fails the test if no process would accept the variable.
func requireVariable(t *testing.T, name string) {
	t.Helper()
	isKey := slices.ContainsFunc(config.Keys(), func(key string) bool { return config.Env(key) == name })
	require.True(t, isKey || name == "SEALIFT_CONFIG", "%s is no variable", name)
}
