package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/sealift/sealift/pkg/config"
	"github.com/sealift/sealift/pkg/progress"
)

// app is what every command gets: the merged configuration, a logger and the
// standard streams. One app serves one run of the binary.
type app struct {
	env            []string // as os.Environ gives it
	stdin          io.Reader
	stdout, stderr io.Writer

	file      string            // --config
	overrides map[string]string // configuration key -> value, from flags
	set       []string          // --set key=value

	// Both are set before a command runs. For a command that needs no configuration, they are the
	// defaults.
	cfg config.Config
	log *slog.Logger
}

// addPersistentFlags adds the flags that every command has.
func (a *app) addPersistentFlags(f *pflag.FlagSet) {
	f.StringVar(&a.file, "config", "", "configuration file (SEALIFT_CONFIG; default "+config.DefaultFile+" if it exists)")
	f.StringArrayVar(&a.set, "set", nil, "set a configuration key, like --set kafka.group=two; repeatable")
	a.bind(f, "kafka-brokers", "kafka.brokers", "host:port,… of Kafka")
	a.bind(f, "redis-url", "redis.url", "URL of Redis; set it as a variable to keep it out of process lists")
	a.bind(f, "staging-bucket", "staging.bucket", "staging bucket, your own")
	a.bind(f, "staging-endpoint", "staging.endpoint", "URL of an S3-compatible server with the staging bucket")
	a.bind(f, "log-level", "log.level", "debug, info, warn or error")
	a.bind(f, "log-format", "log.format", "text or json")
}

// bind adds a flag that sets a configuration key.
func (a *app) bind(f *pflag.FlagSet, name, key, usage string) {
	f.Var(&keyFlag{a: a, key: key}, name, fmt.Sprintf("%s (%s)", usage, config.Env(key)))
}

// bindEndpoint adds the flag of commands that look into customers' buckets.
func (a *app) bindEndpoint(f *pflag.FlagSet) {
	a.bind(f, "endpoint", "destinations.endpoint", "URL of S3 and STS for destinations that name none; default AWS")
}

// keyFlag is the value of a flag that sets a configuration key.
type keyFlag struct {
	a   *app
	key string
}

func (k *keyFlag) String() string { return "" }
func (k *keyFlag) Type() string   { return "value" }
func (k *keyFlag) Set(value string) error {
	k.a.overrides[k.key] = value
	return nil
}

// load merges and validates the configuration, and creates the logger. If the configuration is
// invalid, cfg holds what could be read of it.
func (a *app) load() error {
	for _, s := range a.set {
		key, value, ok := strings.Cut(s, "=")
		if !ok {
			return usageError("--set: write key=value, like --set kafka.group=two") // without the argument, which may contain a password
		}
		a.overrides[key] = value
	}
	cfg, err := config.Load(a.file, a.env, a.overrides)
	a.cfg = cfg
	var readErr, invalid *config.Error
	if err != nil && !errors.As(err, &readErr) {
		return err
	}
	if err := cfg.Validate(); errors.As(err, &invalid) && readErr != nil {
		readErr.Problems = append(readErr.Problems, invalid.Problems...)
	} else if err != nil {
		return err
	}
	if readErr != nil {
		return readErr
	}
	a.log = newLogger(a.stderr, cfg.Log)
	return nil
}

// configFile returns the name of the file that load reads, if it exists.
func (a *app) configFile() string {
	file := a.file
	for _, v := range a.env {
		if named, ok := strings.CutPrefix(v, "SEALIFT_CONFIG="); ok && file == "" {
			file = named
		}
	}
	return cmp.Or(file, config.DefaultFile)
}

// loadOptional loads the configuration for a command that can do without one. It reports whether
// there is a valid configuration in which at least one key was set.
func (a *app) loadOptional() bool {
	if a.load() != nil {
		return false
	}
	return slices.ContainsFunc(config.Keys(), func(key string) bool { return a.cfg.Origin(key) != "default" })
}

// newLogger returns a logger that writes text to a terminal and JSON elsewhere, unless c.Format is
// set.
func newLogger(w io.Writer, c config.Log) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(c.Level)) // validated
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration { // in JSON it would be a number of nanoseconds
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}}
	if c.Format == "text" || c.Format == "" && progress.IsTerminal(w) {
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// printJSON writes v to stdout, for --json.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// openInput opens a file for reading, or stdin for "-". The caller closes it.
func (a *app) openInput(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.stdin), nil
	}
	return os.Open(name)
}
