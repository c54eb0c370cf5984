package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

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
