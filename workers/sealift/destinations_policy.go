package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/policy"
	"github.com/sealift/sealift/pkg/spelling"
)

// policyFlags are the flags of `sealift destinations policy`.
type policyFlags struct {
	files   catalogFiles
	format  string
	only    []string
	options policy.Options
}

func newDestinationsPolicyCommand(a *app) *cobra.Command {
	var o policyFlags
	c := &cobra.Command{
		Use:   "policy [NAME]",
		Short: "Print the policies that a customer attaches, filled in",
		Long: `Print what a customer attaches for a destination, and nothing that is not needed: the trust policy and the
policy of the role, or the bucket policy that lets Sealift's principal put files, and a statement for the
policy of a KMS key. They suffice, and are minimal. NAME may be left out if there is only one destination.

Sealift's principal is --principal, else destinations.principal, else the one that your AWS credentials belong
to. For a role, or for a bucket in another account, the principal's own policy has to allow sts:AssumeRole on
the roles, or s3:PutObject on the buckets, as well; it is printed by: sealift staging policy --role copier

--enforce-encryption denies puts below segment-logs/ with encryption other than the destination's, whoever
makes them; --secure-transport denies requests to the bucket without TLS. The script of --format cli adds
to the policies of roles, buckets and keys, and may be run again. Terraform and CloudFormation create what they
declare: for a role that exists already, as for a second destination, use --only role; a bucket has one policy,
so add what is printed to that of a bucket that has one.`,
		Example: `  sealift destinations policy acme-prod
  sealift destinations policy -f acme.yaml --format terraform > acme.tf     # before it is applied
  sealift destinations policy acme-prod --format cli | sh
  sealift destinations policy acme-prod --only bucket --enforce-encryption --secure-transport
  sealift destinations policy acme-kms --kms-key arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			return withConnections(a, false, func(s *services) error { return o.run(c.Context(), a, s, args) })
		},
	}
	f := c.Flags()
	f.StringArrayVarP(&o.files.names, "file", "f", nil, "print for a destination of this document instead of an applied one, - for stdin; repeatable")
	f.StringVar(&o.format, "format", string(policy.JSON), joinOr(policy.Formats))
	f.StringSliceVar(&o.only, "only", nil, "print only these: "+joinOr(policy.Kinds))
	f.StringVar(&o.options.Principal, "principal", "", "ARN of the user or role that Sealift runs as")
	f.StringVar(&o.options.KMSKey, "kms-key", "", "ARN of the KMS key of the bucket's default encryption")
	f.BoolVar(&o.options.EnforceEncryption, "enforce-encryption", false, "deny puts with encryption other than the destination's")
	f.BoolVar(&o.options.SecureTransport, "secure-transport", false, "deny requests to the bucket without TLS")
	completeFlag(c, "format", policy.Formats)
	completeFlag(c, "only", policy.Kinds)
	return c
}

// completeFlag lets shells complete the values of a flag.
func completeFlag[T ~string](c *cobra.Command, flag string, values []T) {
	var texts []string
	for _, v := range values {
		texts = append(texts, string(v))
	}
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(texts, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // there is no such flag
	}
}

// joinOr lists the values of a flag for a sentence.
func joinOr[T ~string](values []T) string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return strings.Join(out[:len(out)-1], ", ") + " or " + out[len(out)-1]
}

func (o policyFlags) validate() error {
	if err := checkOneOf("format", o.format, policy.Formats); err != nil {
		return err
	}
	for _, kind := range o.only {
		if err := checkOneOf("only", kind, policy.Kinds); err != nil {
			return err
		}
	}
	return nil
}

// checkOneOf returns a usage error if a flag has an unknown value.
func checkOneOf[T ~string](flag, value string, known []T) error {
	if slices.Contains(known, T(value)) {
		return nil
	}
	hint := "use " + joinOr(known)
	var texts []string
	for _, k := range known {
		texts = append(texts, string(k))
	}
	if near := spelling.Suggest(value, texts); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return usageError(fmt.Sprintf("--%s %s: unknown; %s", flag, value, hint))
}

func (o policyFlags) run(ctx context.Context, a *app, s *services, names []string) error {
	t, err := o.target(ctx, a, s, names)
	if err != nil {
		return err
	}
	if o.options.Principal, err = resolvePrincipal(ctx, a, s, o.options.Principal, "--principal ARN, or destinations.principal"); err != nil {
		return err
	}
	set, err := policy.NewSet(t, o.options)
	if err != nil {
		return err
	}
	if set, err = o.pickKinds(set); err != nil {
		return err
	}
	if !t.SSE && o.options.KMSKey == "" {
		fmt.Fprintln(a.stderr, "note: server_side_encryption is false: if the bucket's default encryption is a KMS key of the customer, name it with --kms-key")
	}
	text, err := set.Render(policy.Format(o.format))
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, text)
	return err
}

// target returns the destination that the command line names.
func (o policyFlags) target(ctx context.Context, a *app, s *services, names []string) (catalog.Target, error) {
	targets, err := targetsToCheck(ctx, a, s, checkFlags{files: o.files}, names)
	switch {
	case err != nil:
		return catalog.Target{}, err
	case len(targets) > 1:
		return catalog.Target{}, usageError(fmt.Sprintf("name one of %d destinations, like %s", len(targets), targets[0].ID))
	}
	return targets[0], nil
}

// resolvePrincipal returns the ARN that customers' policies name: arn, or else the configured one,
// or else that of our credentials. keys says, in messages, where to set it.
func resolvePrincipal(ctx context.Context, a *app, s *services, arn, keys string) (string, error) {
	if arn = cmp.Or(arn, a.cfg.Destinations.Principal); arn == "" {
		var err error
		if arn, err = s.roles.Identity(ctx); err != nil {
			return "", fmt.Errorf("cannot determine Sealift's principal; name it with %s: %w", keys, err)
		}
	}
	p, err := policy.ParsePrincipal(arn)
	if err != nil {
		return "", err
	}
	if p.Session != "" {
		fmt.Fprintf(a.stderr, "note: %s is a session of %s; if that role has a path, which a session does not show, write its ARN: %s\n", p.Session, p.ARN, keys)
	}
	return p.ARN, nil
}

// pickKinds keeps the kinds that --only asks for. It is an error if there are none, because an
// empty policy would be handed on to the customer.
func (o policyFlags) pickKinds(set policy.Set) (policy.Set, error) {
	if len(o.only) == 0 {
		return set, nil
	}
	var kinds []policy.Kind
	for _, k := range o.only {
		kinds = append(kinds, policy.Kind(k))
	}
	picked := set.Only(kinds...)
	if len(picked.Documents) > 0 {
		return picked, nil
	}
	t := set.Target
	switch {
	case t.RoleARN == "" && slices.ContainsFunc(kinds, func(k policy.Kind) bool { return k == policy.Trust || k == policy.Role }):
		return set, fmt.Errorf("destination %s has no role (role_arn): the bucket's policy lets Sealift's principal put files", t.ID)
	case slices.Contains(kinds, policy.Bucket):
		return set, fmt.Errorf("destination %s needs no bucket policy: the role's own policy allows it, for the bucket is of the role's account", t.ID)
	}
	return set, fmt.Errorf("destination %s needs no key's policy, as far as is known: name the key of the bucket's default encryption with --kms-key", t.ID)
}
