package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/embedded"
)

func TestMain(m *testing.M) {
	// With the race detector, a process sleeps for a second before it exits, in case its other
	// goroutines race meanwhile. That is too long for the hundreds of commands run here, whose
	// races happen earlier. Scripts inherit the variable.
	if os.Getenv("GORACE") == "" {
		_ = os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	testscript.Main(m, map[string]func(){"sealift": main})
}

// scripts runs the scripts of a directory, which use the binary as users do.
func scripts(t *testing.T, dir string, setup func(*testscript.Env) error) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:   dir,
		Setup: setup,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			// exits CODE COMMAND…: the command ends with that exit code.
			"exits": func(ts *testscript.TestScript, _ bool, args []string) {
				err := ts.Exec(args[1], args[2:]...)
				code := 0
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					code = exit.ExitCode()
				}
				if args[0] != fmt.Sprint(code) {
					ts.Fatalf("%s: exit code %d (%v), want %s", strings.Join(args[1:], " "), code, err, args[0])
				}
			},
		},
		RequireExplicitExec: false,
	})
}

func TestScripts(t *testing.T) { scripts(t, "testdata/script", nil) }

// Each of these scripts has its own broker.
func TestScriptsWithKafka(t *testing.T) {
	scripts(t, "testdata/kafka", func(env *testscript.Env) error {
		k, err := embedded.StartKafka(embedded.KafkaConfig{Dir: t.TempDir(), Addr: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			return err
		}
		env.Defer(func() { _ = k.Close() })
		env.Setenv("SEALIFT_KAFKA_BROKERS", k.Addr())
		return nil
	})
}

// eachCommand calls fn for every command that a person may type.
func eachCommand(c *cobra.Command, fn func(*cobra.Command)) {
	fn(c)
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() && sub.Name() != "completion" && sub.Name() != "help" {
			eachCommand(sub, fn)
		}
	}
}

func TestEveryCommandIsDocumented(t *testing.T) {
	a := &app{overrides: map[string]string{}}
	root := newRootCommand(a)
	eachCommand(root, func(c *cobra.Command) {
		name := c.CommandPath()
		require.NotEmpty(t, c.Short, name)
		require.NotEmpty(t, c.Example, "%s --help needs an example", name)
		require.Contains(t, c.Example, name, "the example of %s does not show the command", name)
		if c.Parent() == root {
			require.NotEmpty(t, c.GroupID, "%s is in no group", name)
		}
		require.NotNil(t, c.RunE, "%s must be able to return an error", name)
	})
}

func TestFlagsBindKnownKeys(t *testing.T) {
	a := &app{overrides: map[string]string{}}
	known := config.Keys()
	f := newRootCommand(a).PersistentFlags()
	for _, name := range []string{"kafka-brokers", "redis-url", "staging-bucket", "staging-endpoint", "log-level", "log-format"} {
		require.NoError(t, f.Set(name, "x"))
	}
	require.Len(t, a.overrides, 6)
	for key := range a.overrides {
		require.Contains(t, known, key)
	}
}

// The help does not show flags for a configuration that the command does not use.
func TestHelpLeavesOutUnusedFlags(t *testing.T) {
	root := newRootCommand(&app{overrides: map[string]string{}})
	eachCommand(root, func(c *cobra.Command) {
		shown := map[string]bool{}
		c.InheritedFlags() // merges them
		c.Flags().VisitAll(func(f *pflag.Flag) { shown[f.Name] = !f.Hidden })
		use := c.Annotations["config"]
		require.Equal(t, use != "none", shown["config"], c.CommandPath())
		require.Equal(t, use != "none" && use != "embedded services", shown["redis-url"], c.CommandPath())
		require.Equal(t, shown["config"], strings.Contains(c.UsageString(), "--config string"), c.CommandPath())
	})
	for line, want := range map[string]bool{"files": false, "files ls": false, "send": false, "completion bash": false, "demo": false, "verify": true, "config print": true} {
		c, _, err := root.Find(strings.Fields(line))
		require.NoError(t, err)
		require.Equal(t, want, strings.Contains(c.UsageString(), "--redis-url"), line)
		require.NoError(t, c.ParseFlags([]string{"--redis-url", "redis://localhost:1/0"}), line)
	}
}

func TestExitCodes(t *testing.T) {
	quiet := context.Background()
	stopped, cancel := context.WithCancelCause(quiet)
	cancel(interruptedError{syscall.SIGTERM})
	failed := errors.New("failed")
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"done":                     {quiet, nil, exitOK},
		"failed":                   {quiet, failed, exitFailure},
		"usage":                    {quiet, fmt.Errorf("x: %w", usageError("bad")), exitUsage},
		"partial":                  {quiet, fmt.Errorf("x: %w", partialError("half")), exitPartial},
		"drained_after_a_signal":   {stopped, nil, exitOK},
		"interrupted_by_a_signal":  {stopped, fmt.Errorf("x: %w", context.Canceled), exitInterrupted},
		"cause_of_a_signal":        {stopped, fmt.Errorf("x: %w", context.Cause(stopped)), exitInterrupted},
		"failed_after_a_signal":    {stopped, failed, exitFailure},
		"canceled_without_signal":  {quiet, context.Canceled, exitFailure},
		"partial_after_the_signal": {stopped, partialError("half"), exitPartial},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, c.want, exitCode(c.ctx, c.err)) })
	}
}

func TestInterruptedCommandSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(interruptedError{os.Interrupt})
	env := []string{"SEALIFT_KAFKA_BROKERS=127.0.0.1:1", "SEALIFT_STAGING_ENDPOINT=http://127.0.0.1:1", "AWS_ACCESS_KEY_ID=a", "AWS_SECRET_ACCESS_KEY=b"}
	for _, command := range [][]string{{"catalog", "get"}, {"destinations", "status"}, {"parked"}} {
		var stderr bytes.Buffer
		code := run(ctx, command, env, strings.NewReader(""), io.Discard, &stderr)
		require.Equal(t, exitInterrupted, code, stderr.String())
		require.Equal(t, "sealift: interrupted\n", stderr.String(), command)
	}
}

// TestInterruptedCommandSaysHowToContinue: the id of the replay that was begun is printed nowhere
// else.
func TestInterruptedCommandSaysHowToContinue(t *testing.T) {
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(interruptedError{os.Interrupt})
	err := unfinishedError{fmt.Errorf("replay r is not over; continue with `sealift replay --resume r`: %w", context.Cause(ctx))}
	require.Equal(t, exitInterrupted, exitCode(ctx, err))
	var stderr bytes.Buffer
	printFailure(&stderr, exitInterrupted, "sealift replay", err)
	require.Contains(t, stderr.String(), "sealift: interrupted: replay r is not over; continue with `sealift replay --resume r`")

	stderr.Reset()
	printFailure(&stderr, exitInterrupted, "sealift replay", unfinishedError{fmt.Errorf("replay r is not over: %w", context.Canceled)})
	require.Equal(t, "sealift: interrupted: replay r is not over\n", stderr.String())
}

func TestLoggerWritesJSONUnlessToATerminal(t *testing.T) {
	for format, want := range map[string]string{"": `{"time":`, "json": `{"time":`, "text": "time="} {
		var out bytes.Buffer
		newLogger(&out, config.Log{Level: "warn", Format: format}).Warn("hello", "took", 1500*time.Millisecond)
		require.True(t, strings.HasPrefix(out.String(), want), out.String())
		require.Contains(t, out.String(), "1.5s")
		out.Reset()
		newLogger(&out, config.Log{Level: "warn", Format: format}).Info("quiet")
		require.Empty(t, out.String())
	}
}
