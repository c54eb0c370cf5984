package main

import (
	"github.com/spf13/cobra"
)

func newDestinationsCommand(*app) *cobra.Command {
	return &cobra.Command{
		Use:     "destinations",
		GroupID: groupCatalog,
		Short:   "Set customers' buckets up, check them, and see how they do",
		Long: `What customers and operators do about a destination: the policies to attach, a try of the
real delivery, the move from a bucket policy to a role, and how it does. NAME is a
destination's id WORKSPACE/NAME, or its name alone where only one has it.`,
	}
}
