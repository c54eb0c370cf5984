package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/spelling"
)

// Exit codes.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitPartial     = 3   // some of it was done
	exitInterrupted = 130 // by a signal, before it was done
)

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError returns an error that says that the command line is wrong.
func usageError(text string) error { return &exitError{exitUsage, errors.New(text)} }

// requireArgs accepts 1 to most arguments; if there is none, text is the error.
func requireArgs(text string, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == 0 {
			return errors.New(text)
		}
		return cobra.MaximumNArgs(most)(c, args)
	}
}

// flagError says what to write if a flag is unknown or its value has the wrong type.
func flagError(c *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "" {
		name := unknown.GetSpecifiedName()
		if f := c.Flags().Lookup(strings.NewReplacer(".", "-", "_", "-").Replace(name)); f != nil && !f.Hidden {
			return fmt.Errorf("%w; did you mean --%s?", err, f.Name)
		}
		if key := keyOfFlag(c, name); key != "" {
			return fmt.Errorf("%w; did you mean --set %s=…?", err, key)
		}
		var known []string
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && (f.Name != "help" || name != "http") { // two letters from help, but meant as something else
				known = append(known, f.Name)
			}
		})
		if near := spelling.Suggest(name, known); near != "" {
			return fmt.Errorf("%w; did you mean --%s?", err, near)
		}
		return err
	}
	var invalid *pflag.InvalidValueError
	if !errors.As(err, &invalid) {
		return err
	}
	flag := invalid.GetFlag()
	want := map[string]string{
		"bool": "true or false", "float64": "a number, like 0.5 or 1e6", "int": "a whole number, like 10", "int64": "a whole number, like 10",
		"duration": "a number with ms, s, m or h, like 90s or 1h30m",
	}[flag.Value.Type()]
	if hours := spelling.Hours(invalid.GetValue()); hours != "" && flag.Value.Type() == "duration" {
		want = hours + ", since the largest unit is h"
	}
	if want == "" {
		return err
	}
	return fmt.Errorf("--%s %q: want %s", flag.Name, invalid.GetValue(), want)
}

// keyOfFlag returns the configuration key that somebody took for a flag of c: its path or, for a role,
// what follows the role's name, as listen does in collector.listen. It returns "" if there is none, or
// if c does not use the key: it may use no configuration, or start Kafka, Redis and S3 by itself.
func keyOfFlag(c *cobra.Command, flag string) string {
	if set := c.Flags().Lookup("set"); set == nil || set.Hidden {
		return ""
	}
	flag = strings.ReplaceAll(flag, "-", "_")
	for _, key := range config.Keys() {
		if key != flag && key != c.Name()+"."+flag {
			continue
		}
		section, _, _ := strings.Cut(key, ".")
		if c.Annotations["config"] == withEmbedded["config"] && (slices.Contains([]string{"kafka", "redis", "staging"}, section) || key == "appender.roll_every") {
			return ""
		}
		return key
	}
	return ""
}

// partialError returns an error that says that only a part was done.
func partialError(text string) error { return &exitError{exitPartial, errors.New(text)} }

// asPartial returns err with the exit code that says that only a part was done, or nil if it is nil.
func asPartial(err error) error {
	if err == nil {
		return nil
	}
	return &exitError{exitPartial, err}
}

// interruptedError is the cause of a context that a signal ended.
type interruptedError struct{ signal os.Signal }

func (e interruptedError) Error() string { return "interrupted: " + e.signal.String() }

// exitCode returns the exit code for a command's error. A role that a signal stopped, and that
// drained, returns nil, which is success.
func exitCode(ctx context.Context, err error) int {
	var own *exitError
	switch {
	case err == nil:
		return exitOK
	case wasInterrupted(ctx, err):
		return exitInterrupted
	case errors.As(err, &own):
		return own.code
	}
	return exitFailure
}

// wasInterrupted reports whether err is the consequence of a signal.
func wasInterrupted(ctx context.Context, err error) bool {
	var cause interruptedError
	return errors.As(context.Cause(ctx), &cause) && (errors.Is(err, context.Canceled) || errors.As(err, &cause))
}
