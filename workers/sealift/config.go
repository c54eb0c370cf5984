package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/certs"
	"github.com/sealift/sealift/pkg/config"
)

func newConfigCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "config",
		GroupID: groupSelf,
		Short:   "Show, check and explain the configuration",
		Long: `Show and check the configuration, as merged from flags, SEALIFT_ variables, the file and the defaults (the
first wins).`,
		Example: "  sealift config print\n  sealift config check --config /etc/sealift.yaml\n  sealift config reference",
	}
	c.AddCommand(newConfigPrintCommand(a), newConfigCheckCommand(a), newConfigReferenceCommand(a))
	return c
}

func newConfigPrintCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "print",
		Short: "Print the effective configuration, secrets masked",
		Long: `Print the effective configuration as YAML, with secrets masked and a comment wherever a value is not the
default, saying where it came from. Problems are reported on stderr, and the exit code is then 1.`,
		Example:     "  sealift config print\n  SEALIFT_KAFKA_BROKERS=a:9092,b:9092 sealift config print --json",
		Args:        cobra.NoArgs,
		Annotations: loadsConfig, // to print an invalid one too
		RunE: func(*cobra.Command, []string) error {
			loadErr := a.load()
			if loadErr != nil && !errors.Is(loadErr, config.ErrInvalid) {
				return loadErr
			}
			print := func() error { return a.cfg.Print(a.stdout) }
			if asJSON {
				print = func() error { return a.printJSON(a.cfg) }
			}
			return errors.Join(print(), loadErr)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print as JSON: the value, origin and variable of each key")
	return c
}

func newConfigCheckCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "check",
		Short:       "Check the configuration and report every problem",
		Long:        "Check the configuration and the certificates that it names, without connecting to anything, and report every\nproblem with its fix.",
		Example:     "  sealift config check --config /etc/sealift.yaml",
		Args:        cobra.NoArgs,
		Annotations: loadsConfig, // to check certificates even if something else is wrong
		RunE: func(*cobra.Command, []string) error {
			err := a.load()
			if err = addCertificateProblems(a, err); err != nil {
				return err
			}
			text := "the configuration is valid"
			if err := checkBucketNamed(a.cfg, nil); err != nil {
				text += " for a collector only; other roles and commands fail with: " + err.Error()
			}
			_, err = fmt.Fprintln(a.stdout, text)
			return err
		},
	}
}

// addCertificateProblems returns the problems of the configuration together with those of the
// certificates that it names, or nil if there are none. loadErr is the error of load.
func addCertificateProblems(a *app, loadErr error) error {
	var all config.Error
	if found := (*config.Error)(nil); errors.As(loadErr, &found) {
		all = *found
	} else if loadErr != nil {
		return loadErr
	}
	_, err := readCertificates(a.cfg, a.log)
	for _, e := range leaves(errors.Join(err, checkCollectorCertificate(a.cfg, a.log))) {
		p := config.Problem{What: e.Error()}
		if at := (*certs.Error)(nil); errors.As(e, &at) {
			if at.File == "" {
				continue // only one file of a pair is set; load has reported that
			}
			p = config.Problem{Key: at.Key, What: at.Err.Error(), Fix: "name a PEM file that can be read here"}
			if from := a.cfg.Origin(at.Key); from != "default" {
				p.From = from
			}
		}
		all.Problems = append(all.Problems, p)
	}
	if len(all.Problems) == 0 {
		return nil
	}
	return &all
}

// leaves returns the errors that were joined in err.
func leaves(err error) (all []error) {
	joined, ok := any(err).(interface{ Unwrap() []error })
	if !ok {
		if err != nil {
			all = append(all, err)
		}
		return all
	}
	for _, e := range joined.Unwrap() {
		all = append(all, leaves(e)...)
	}
	return all
}

func newConfigReferenceCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "reference",
		Short:       "Explain every key of the configuration",
		Long:        "Print a configuration file of all keys with their meaning and their defaults. The values are commented out: a\ncopy changes nothing until you remove the # before a key.",
		Example:     "  sealift config reference | less\n  sealift config reference > sealift.yaml",
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, config.Reference)
			return err
		},
	}
}
