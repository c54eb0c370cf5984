package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/sealift/sealift/pkg/policy"
)

func newStagingCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:     "staging",
		GroupID: groupOperate,
		Short:   "Print the AWS policies of Sealift's roles",
		Example: "  sealift staging policy --role copier --format terraform",
	}
	c.AddCommand(newStagingPolicyCommand(a))
	return c
}

func newStagingPolicyCommand(a *app) *cobra.Command {
	var role, format string
	var s policy.Staging
	c := &cobra.Command{
		Use:   "policy",
		Short: "Print the AWS permissions that each role of Sealift needs, and no others",
		Long: `Print the identity policy for the IAM user or role of one of Sealift's roles, for the staging bucket and prefix
of the configuration: appenders write files and the ledger, and delete nothing; copiers read files, write
receipts and assume the customers' roles; only auditors delete staged files; nobody deletes the ledger or a
debt's receipt. Collectors need nothing of S3. --role all is one policy for all of them, and for the commands
that an operator runs.

Copiers may assume every role that trusts them; --assume narrows that. --classic names the buckets of classic
destinations, that is, those without role_arn; if such a bucket is encrypted with a KMS key, copiers also need
kms:GenerateDataKey for that key. If staging has a KMS key of your own, name it with --kms-key.`,
		Example: `  sealift staging policy --role appender
  sealift staging policy --role copier --assume 'arn:aws:iam::*:role/segment-logs' --classic acme-logs
  sealift staging policy --role all --format terraform > sealift.tf`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if role == "" {
				return usageError("--role is missing: " + joinOr(policy.StagingRoles))
			}
			if err := checkOneOf("role", role, policy.StagingRoles); err != nil {
				return err
			}
			if err := checkOneOf("format", format, policy.StagingFormats); err != nil {
				return err
			}
			if err := checkBucketNamed(a.cfg, nil); err != nil {
				return err // the policy would let our files into a bucket that may be a stranger's
			}
			s.Bucket, s.Prefix, s.Region = a.cfg.Staging.Bucket, a.cfg.Staging.Prefix, a.cfg.Staging.Region
			text, err := s.Render(policy.StagingRole(role), policy.Format(format))
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.stdout, text)
			return err
		},
	}
	f := c.Flags()
	f.StringVar(&role, "role", "", joinOr(policy.StagingRoles))
	f.StringVar(&format, "format", string(policy.JSON), joinOr(policy.StagingFormats))
	f.StringVar(&s.KMSKey, "kms-key", "", "ARN of the KMS key of the staging bucket's default encryption")
	f.StringArrayVar(&s.Assume, "assume", nil, "ARN or pattern of customers' roles (default: every role); repeatable")
	f.StringArrayVar(&s.Classic, "classic", nil, "bucket of a classic destination, one without role_arn; repeatable")
	f.BoolVar(&s.ACL, "acl", false, "files for a --classic bucket get an acl")
	completeFlag(c, "role", policy.StagingRoles)
	completeFlag(c, "format", policy.StagingFormats)
	return c
}
