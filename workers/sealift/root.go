package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/shell"
	"github.com/sealift/sealift/pkg/spelling"
)

// commands returns all subcommands of sealift.
func commands(a *app) []*cobra.Command {
	return append(newRoleCommands(a),
		newDemoCommand(a),
		newDevCommand(a),
		newCatalogCommand(a),
		newDestinationsCommand(a),
		newSourcesCommand(a),
		newAlertsCommand(a),
		newAuditCommand(a),
		newVerifyCommand(a),
		newCompletenessCommand(a),
		newParkedCommand(a),
		newStagingCommand(a),
		newRedriveCommand(a),
		newReplayCommand(a),
		newLedgerCommand(a),
		newPlanCommand(a),
		newSendCommand(a),
		newFilesCommand(a),
		newConfigCommand(a),
		newVersionCommand(a),
		newHealthcheckCommand(a),
	)
}

// Groups of commands in the help.
const (
	groupTry     = "try"
	groupRun     = "run"
	groupCatalog = "catalog"
	groupOperate = "operate"
	groupData    = "data"
	groupSelf    = "self"
)

// unfinishedError marks an error whose text says how to continue. It is printed even if the command
// was interrupted.
type unfinishedError struct{ error }

func (u unfinishedError) Unwrap() error { return u.error }

// run executes one command line and returns the exit code.
func run(ctx context.Context, args, env []string, stdin io.Reader, stdout, stderr io.Writer) int {
	a := &app{
		env: env, stdin: stdin, stdout: stdout, stderr: stderr,
		overrides: map[string]string{}, cfg: config.Default(), log: newLogger(stderr, config.Default().Log),
	}
	root := newRootCommand(a)
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	code := exitCode(ctx, err)
	printFailure(stderr, code, cmd.CommandPath(), err)
	return code
}

// printFailure prints why a command failed, or that it was interrupted.
func printFailure(stderr io.Writer, code int, command string, err error) {
	switch code {
	case exitOK:
	case exitInterrupted:
		if how := (unfinishedError{}); errors.As(err, &how) {
			fmt.Fprintf(stderr, "sealift: interrupted: %s\n", strings.TrimSuffix(err.Error(), ": "+context.Canceled.Error()))
		} else {
			fmt.Fprintln(stderr, "sealift: interrupted")
		}
	case exitUsage:
		fmt.Fprintf(stderr, "sealift: %v\nRun \"%s --help\" for usage.\n", err, command)
	default:
		fmt.Fprintf(stderr, "sealift: %v\n", err)
	}
}

func newRootCommand(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "sealift",
		Short: "Deliver every event of a Kafka topic exactly once to customers' S3 buckets",
		Long: `Sealift takes events over HTTP or from Kafka, rolls them into gzip files for each source and hour, and
delivers every file exactly once to the S3 buckets that it is owed to.`,
		Example: `  sealift demo                       # the whole system, in one process, on sample events
  sealift dev                        # the same, kept running
  sealift catalog new > acme.yaml    # describe a customer
  sealift catalog apply -f acme.yaml`,
		Version:       versionLine(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddGroup(
		&cobra.Group{ID: groupTry, Title: "Try it:"},
		&cobra.Group{ID: groupRun, Title: "Run it:"},
		&cobra.Group{ID: groupCatalog, Title: "Sources and destinations:"},
		&cobra.Group{ID: groupOperate, Title: "Operate it:"},
		&cobra.Group{ID: groupData, Title: "Events and files:"},
		&cobra.Group{ID: groupSelf, Title: "This program:"},
	)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetHelpCommandGroupID(groupSelf)
	root.SetCompletionCommandGroupID(groupSelf)
	a.addPersistentFlags(root.PersistentFlags())
	completeFlag(root, "log-level", []string{"debug", "info", "warn", "error"})
	completeFlag(root, "log-format", []string{"text", "json"})
	for _, c := range commands(a) {
		root.AddCommand(c)
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		switch c.Name() {
		case "help":
			c.Run, c.RunE, c.Annotations = nil, helpAbout, withoutConfig
		case "completion":
			c.Annotations = withoutConfig
			for _, sub := range c.Commands() {
				sub.Annotations = withoutConfig
			}
		}
	}
	wrapCommands(a, root)
	return root
}

// helpAbout shows the help of the named command. Unlike cobra's own, it fails if there is no such
// command.
func helpAbout(c *cobra.Command, args []string) error {
	about, rest, err := c.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return unknownCommandError(about, rest[0])
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// Annotations of commands, about the configuration.
var (
	// withoutConfig: it is not used, so the command runs even if it is invalid.
	withoutConfig = map[string]string{"config": "none"}
	// loadsConfig: the command loads it by itself.
	loadsConfig = map[string]string{"config": "by itself"}
	// withEmbedded: it is used, but the command starts Kafka, Redis and S3 by itself.
	withEmbedded = map[string]string{"config": "embedded services"}
)

// hideUnusedFlags hides those flags for the configuration that c does not use. They are still
// accepted: an alias of sealift may have them.
func hideUnusedFlags(c *cobra.Command, flags *pflag.FlagSet) {
	unused := func(flag string) bool {
		switch c.Annotations["config"] {
		case withoutConfig["config"]:
			return true
		case withEmbedded["config"]:
			return flag == "kafka-brokers" || flag == "redis-url" || strings.HasPrefix(flag, "staging-")
		}
		return false
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if unused(f.Name) {
			hidden := *f
			hidden.Hidden = true
			c.Flags().AddFlag(&hidden) // before the root command's
		}
	})
}

// syncCommand is the only command that keeps its user's umask, which then decides who may read the
// downloaded files.
const syncCommand = "sealift files sync"

// wrapCommands gives c and its subcommands what all commands have in common: wrong arguments are
// usage errors, and before a command runs, the umask is set and the configuration loaded.
func wrapCommands(a *app, c *cobra.Command) {
	for _, sub := range c.Commands() {
		wrapCommands(a, sub)
	}
	hideUnusedFlags(c, c.Root().PersistentFlags())
	c.SetFlagErrorFunc(func(c *cobra.Command, err error) error { return &exitError{exitUsage, flagError(c, err)} })
	if c.RunE == nil && c.Run == nil { // it only groups subcommands
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommandError(c, args[0])
			}
			return c.Help()
		}
		return
	}
	if args := c.Args; args != nil {
		if args(c, []string{""}) != nil {
			c.ValidArgsFunction = cobra.NoFileCompletions // it takes no arguments: shells would propose files
		}
		c.Args = func(c *cobra.Command, got []string) error {
			err := args(c, got)
			switch {
			case err == nil:
				return nil
			case c.HasSubCommands():
				return unknownCommandError(c, got[0])
			case args(c, nil) == nil && args(c, got[:1]) != nil: // cobra would say: unknown command
				err = fmt.Errorf("%q takes no arguments, but got %q%s", c.CommandPath(), got[0], flagFor(c, got[0]))
			case len(got) > 1 && args(c, got[:1]) == nil: // cobra would count them, and not say which is too much
				most := 1
				for args(c, got[:most+1]) == nil {
					most++
				}
				err = fmt.Errorf("%q is one argument too many; usage: %s", got[most], c.UseLine())
			}
			return &exitError{exitUsage, err}
		}
	}
	run := c.RunE
	if run == nil {
		return
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		if c.CommandPath() != syncCommand {
			syscall.Umask(0o077) // files that the command or a library creates are for its user alone
		}
		if use := c.Annotations["config"]; use != withoutConfig["config"] && use != loadsConfig["config"] {
			if err := a.load(); err != nil {
				return err
			}
		}
		return run(c, args)
	}
}

// flagFor proposes the flag that takes what was written as an argument. Other commands take a
// destination or a source as an argument, so that is easily done.
func flagFor(c *cobra.Command, arg string) string {
	for _, name := range []string{"destination", "source", "partition"} {
		if c.Flags().Lookup(name) != nil {
			return fmt.Sprintf("; did you mean --%s %s?", name, shell.QuoteIfNeeded(arg))
		}
	}
	return ""
}

func unknownCommandError(parent *cobra.Command, name string) error {
	var known []string
	for _, sub := range parent.Commands() {
		if sub.IsAvailableCommand() {
			known = append(known, sub.Name())
		}
	}
	hint := "use " + strings.Join(known, ", ")
	if near := spelling.Suggest(name, known); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return usageError(fmt.Sprintf("unknown command %q for %q; %s", name, parent.CommandPath(), hint))
}
