package main

import (
	_ "embed"
	"fmt"

	"github.com/spf13/cobra"
)

// alertRules are alert rules on the metrics of this release, as a file that Prometheus loads.
//
//go:embed alerts.yaml
var alertRules string

func newAlertsCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "alerts",
		GroupID:     groupOperate,
		Short:       "Print alert rules for Prometheus",
		Long:        "Print alert rules for Prometheus, on the metrics of this release. Each says what it means for customers' data,\nand which command shows more.",
		Example:     "  sealift alerts > /etc/prometheus/rules/sealift.yaml",
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(a.stdout, alertRules)
			return err
		},
	}
}
