package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
)

// version is set by the linker (-X main.version=…) for builds that cannot know it, like that of an
// image, which is built without the repository.
var version string

func newVersionCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:         "version",
		GroupID:     groupSelf,
		Short:       "Print the version",
		Example:     "  sealift version --json",
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(*cobra.Command, []string) error {
			if asJSON {
				return a.printJSON(buildVersion())
			}
			_, err := fmt.Fprintln(a.stdout, versionLine())
			return err
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON")
	return c
}

// newBuildInfo returns a metric that shows how far an upgrade of the fleet has got.
func newBuildInfo() prometheus.Collector {
	v := buildVersion()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "sealift_build_info", Help: "Always 1; the labels say what this process was built from.",
		ConstLabels: prometheus.Labels{"version": v["version"], "go": v["go"]},
	})
	info.Set(1)
	return info
}

// versionLine returns the version in one line, for people.
func versionLine() string {
	v := buildVersion()
	commit := v["commit"]
	if v["modified"] == "true" {
		commit += " modified"
	}
	if commit != "" {
		commit = " (" + commit + ")"
	}
	tags := v["tags"]
	if tags != "" {
		tags = " tags=" + tags
	}
	return fmt.Sprintf("sealift %s%s %s %s%s", v["version"], commit, v["go"], v["platform"], tags)
}

// buildVersion says what this binary was built from: version, go and platform, tags if there were
// any, and commit, date and modified if the build knew them.
func buildVersion() map[string]string {
	v := map[string]string{"version": cmp.Or(version, "devel"), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if m := info.Main.Version; version == "" && m != "" && m != "(devel)" {
		v["version"] = m
	}
	names := map[string]string{"vcs.revision": "commit", "vcs.time": "date", "vcs.modified": "modified", "-tags": "tags"}
	for _, s := range info.Settings {
		if name := names[s.Key]; name != "" {
			v[name] = s.Value
		}
	}
	return v
}
