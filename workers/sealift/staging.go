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
		Short:   "Your own bucket: the policies of Sealift's roles",
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
		Short: "Print what each role of Sealift needs of AWS, and nothing more",
		Long: `Print the identity policy of a role's own user or IAM role, for the staging bucket and prefix of
the configuration: appenders write files and the ledger, and delete nothing; copiers read files,
write receipts and assume the customers' roles; auditors alone delete staged files; nobody
deletes the ledger or a debt's receipt. Collectors need nothing of S3. With --role all it is one policy
for all of them, and for the commands that an operator runs.

Copiers may assume every role that trusts them; --assume narrows that. --classic names the buckets
of destinations without role_arn; where such a bucket is encrypted with a KMS key, copiers need
kms:GenerateDataKey for that besides. For staging with a KMS key of your own, name it with --kms-key.`,
		Example: `  sealift staging policy --role appender
  sealift staging policy --role copier --assume 'arn:aws:iam::*:role/segment-logs' --classic acme-logs
  sealift staging policy --role all --format terraform > sealift.tf`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if role == "" {
				return usage("--role is missing: " + words(policy.StagingRoles))
			}
			if err := oneOf("role", role, policy.StagingRoles); err != nil {
				return err
			}
			if err := oneOf("format", format, policy.StagingFormats); err != nil {
				return err
			}
			if err := bucketNamed(a.cfg, nil); err != nil {
				return err // its policy would open a stranger's bucket to our files
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
	f.StringVar(&role, "role", "", words(policy.StagingRoles))
	f.StringVar(&format, "format", string(policy.JSON), words(policy.StagingFormats))
	f.StringVar(&s.KMSKey, "kms-key", "", "ARN of the KMS key of the staging bucket's default encryption")
	f.StringArrayVar(&s.Assume, "assume", nil, "ARN or pattern of customers' roles (default: every role); repeatable")
	f.StringArrayVar(&s.Classic, "classic", nil, "bucket of a destination without a role; repeatable")
	f.BoolVar(&s.ACL, "acl", false, "one of the buckets of --classic gets files with an acl")
	return c
}
