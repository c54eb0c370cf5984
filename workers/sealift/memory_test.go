package main

import (
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTuneGC: only processes with an appender are tuned, and what the user sets is
// kept.
func TestTuneGC(t *testing.T) {
	before := debug.SetGCPercent(100)
	t.Cleanup(func() { debug.SetGCPercent(before) })
	for name, c := range map[string]struct {
		roles []string
		env   map[string]string
		want  int
	}{
		"appender_alone":     {roles: []string{appenderRole}, want: appenderGC},
		"all_roles":          {roles: allRoles, want: withAppenderGC},
		"copier_alone":       {roles: []string{copierRole}, want: 100},
		"the_user_set_gogc":  {roles: []string{appenderRole}, env: map[string]string{"GOGC": "70"}, want: 100},
		"the_user_set_limit": {roles: []string{appenderRole}, env: map[string]string{"GOMEMLIMIT": "1GiB"}, want: 100},
	} {
		t.Run(name, func(t *testing.T) {
			debug.SetGCPercent(100)
			tuneGC(c.roles, func(name string) (string, bool) { v, ok := c.env[name]; return v, ok })
			require.Equal(t, c.want, debug.SetGCPercent(100))
		})
	}
}
