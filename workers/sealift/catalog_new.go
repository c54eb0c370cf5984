package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
)

// documentFlags holds the flags of `sealift catalog new`.
type documentFlags struct {
	sources                       []string
	name, bucket, region, roleARN string
}

func newCatalogNewCommand(a *app) *cobra.Command {
	var d documentFlags
	c := &cobra.Command{
		Use:   "new",
		Short: "Print a new workspace with generated ids and write keys",
		Long: `Print the document of a new workspace. Its id, which the customer puts into the role's trust policy as the
sts:ExternalId, its source ids and its write keys are random. Keep the document: it alone holds the write keys,
and only their hashes are applied.`,
		Example: `  sealift catalog new > acme.yaml
  sealift catalog new --source web --source ios --bucket acme-logs --role-arn arn:aws:iam::123456789012:role/segment-logs`,
		Args:        cobra.NoArgs,
		Annotations: withoutConfig,
		RunE: func(*cobra.Command, []string) error {
			text := d.yaml()
			if _, err := catalog.Parse([]byte(text)); err != nil {
				return documentFlagError(err)
			}
			_, err := fmt.Fprint(a.stdout, text)
			return err
		},
	}
	c.Flags().StringArrayVar(&d.sources, "source", []string{"web"}, "name of a source; repeatable")
	c.Flags().StringVar(&d.name, "destination", "main", "name of the destination")
	c.Flags().StringVar(&d.bucket, "bucket", "", "name of the bucket, with an optional key prefix, like acme-logs/path/prefix")
	c.Flags().StringVar(&d.region, "region", "", "region of the bucket (default: found when delivering)")
	c.Flags().StringVar(&d.roleARN, "role-arn", "", "role to assume; without it, Sealift's principal writes")
	return c
}

// documentFlagError turns a problem of the document into a usage error that names the flag at
// fault.
func documentFlagError(err error) error {
	var invalid *catalog.Error
	if !errors.As(err, &invalid) {
		return &exitError{exitUsage, err}
	}
	p := invalid.Problems[0]
	flag := map[string]string{"bucket": "bucket", "region": "region", "role_arn": "role-arn"}[p.Field]
	switch {
	case flag != "":
	case strings.HasPrefix(p.Object, "source"):
		flag = "source"
	default:
		flag = "destination"
	}
	return usageError(fmt.Sprintf("--%s: %s; %s", flag, p.What, p.Fix))
}

// yaml returns the document, with comments. Without a bucket, the destination is commented out, as
// an example.
func (d documentFlags) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "workspace: %s # the sts:ExternalId; never change it\nsources:\n", catalog.NewWorkspaceID())
	var ids []string
	for _, name := range d.sources {
		id := catalog.NewSourceID()
		ids = append(ids, id)
		fmt.Fprintf(&b, "  - id: %s\n    name: %q\n    write_keys: [%s] # a secret; hashed when applied\n", id, name, catalog.NewWriteKey())
	}
	commentPrefix, bucket, roleARN := "", d.bucket, d.roleARN
	if bucket == "" {
		commentPrefix, bucket = "# ", "acme-logs/path/prefix"
		if roleARN == "" {
			roleARN = "arn:aws:iam::123456789012:role/segment-logs"
		}
	}
	lines := []string{
		"destinations:",
		fmt.Sprintf("  - name: %q", d.name),
		"    sources: [" + strings.Join(ids, ", ") + "]",
		fmt.Sprintf("    bucket: %q", bucket),
	}
	if d.region != "" {
		lines = append(lines, fmt.Sprintf("    region: %q", d.region))
	}
	if roleARN != "" {
		lines = append(lines, fmt.Sprintf("    role_arn: %q", roleARN))
	}
	for _, l := range lines {
		b.WriteString(commentPrefix + l + "\n")
	}
	fmt.Fprintf(&b, "# What the customer attaches: sealift destinations policy -f FILE --format terraform\n")
	return b.String()
}
