package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/sealift/sealift/pkg/catalog"
	"github.com/sealift/sealift/pkg/iam"
)

// StagingRole is the role that a policy for the staging bucket is written for. Collectors use no
// bucket.
type StagingRole string

// Roles that use the staging bucket.
const (
	Appender StagingRole = "appender"
	Copier   StagingRole = "copier"
	Auditor  StagingRole = "auditor"
	AllRoles StagingRole = "all" // one policy for all roles, and for the commands
)

// StagingRoles are all roles.
var StagingRoles = []StagingRole{Appender, Copier, Auditor, AllRoles}

// StagingFormats are the formats of a staging policy.
var StagingFormats = []Format{JSON, Terraform, CloudFormation}

// Staging is the operator's own bucket, and whatever else its roles need from AWS.
type Staging struct {
	Bucket, Prefix, Region string
	KMSKey                 string   // ARN of the key of the bucket's default encryption; "" if it is not a key of one's own
	Assume                 []string // ARNs, or patterns, of the customers' roles; nil: all roles
	Classic                []string // buckets of destinations without a role
	ACL                    bool     // one of those destinations has an acl
}

// stagingKeys lists what each role does: the actions, and the keys below the prefix.
//
// Invariant: nobody but the auditor deletes a staged file, and nobody at all deletes the ledger or
// a receipt.
var stagingKeys = map[StagingRole]map[string][]string{
	Appender: {
		"s3:GetObject": {"ledger/*", "probe/*"},
		"s3:PutObject": {"data/*", "ledger/*", "probe/*"},
	},
	Copier: {
		"s3:GetObject":    {"data/*", "ledger/*", "probe/*", "receipts/*", "replays/*"},
		"s3:PutObject":    {"parked/*", "probe/*", "receipts/*", "replays/*", "usage/pages/*"},
		"s3:DeleteObject": {"replays/*/failed/*"},
	},
	Auditor: {
		"s3:GetObject":    {"audit/*", "ledger/*", "parked/*", "probe/*", "receipts/*", "replays/*", "usage/*"},
		"s3:PutObject":    {"audit/*", "probe/*", "usage/sums/*"},
		"s3:DeleteObject": {"data/*", "parked/*", "replays/*", "usage/*"},
	},
	AllRoles: {
		"s3:GetObject":    {"*"},
		"s3:PutObject":    {"audit/*", "data/*", "ledger/*", "migrations/*", "parked/*", "probe/*", "receipts/*", "replays/*", "usage/*"},
		"s3:DeleteObject": {"data/*", "parked/*", "replays/*", "usage/*"},
	},
}

// Policy returns the identity policy of a role: what it may do with its own credentials. It is
// sufficient and minimal.
func (s Staging) Policy(role StagingRole) (iam.Policy, error) {
	if err := s.check(); err != nil {
		return iam.Policy{}, err
	}
	arn := "arn:" + s.partition() + ":s3:::" + s.Bucket
	p := iam.Policy{Version: iam.Version, Statement: []iam.Statement{{
		// For the whole bucket: with a condition on s3:prefix, S3 would answer that a missing
		// object is denied (403), not missing (404).
		Sid: "List", Effect: iam.Allow, Action: iam.Strings{"s3:ListBucket"}, Resource: iam.Strings{arn},
	}}}
	allow := func(sid string, resources iam.Strings, actions ...string) {
		p.Statement = append(p.Statement, iam.Statement{Sid: sid, Effect: iam.Allow, Action: actions, Resource: resources})
	}
	below := arn + "/"
	if prefix := strings.Trim(s.Prefix, "/"); prefix != "" {
		below += prefix + "/"
	}
	for sid, action := range map[string]string{"Read": "s3:GetObject", "Write": "s3:PutObject", "Delete": "s3:DeleteObject"} {
		var resources iam.Strings
		for _, k := range stagingKeys[role][action] {
			resources = append(resources, below+k)
		}
		if resources != nil {
			allow(sid, resources, action)
		}
	}
	slices.SortFunc(p.Statement[1:], func(a, b iam.Statement) int { return -strings.Compare(a.Sid, b.Sid) }) // write, read, delete
	if s.KMSKey != "" {
		allow("Encrypt", iam.Strings{s.KMSKey}, "kms:GenerateDataKey", "kms:Decrypt")
	}
	if role == Copier || role == AllRoles {
		assume := iam.Strings(s.Assume)
		if len(assume) == 0 {
			assume = iam.Strings{"arn:" + s.partition() + ":iam::*:role/*"}
		}
		allow("Assume", assume, "sts:AssumeRole")
		var classic iam.Strings
		for _, b := range s.Classic {
			classic = append(classic, "arn:"+s.partition()+":s3:::"+b+"/*")
		}
		if classic != nil {
			allow("Deliver", classic, putActions(s.ACL)...)
		}
	}
	return p, nil
}

func (s Staging) partition() string { return iam.RegionPartition(s.Region) }

var assumeARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::(\d{12}|\*):role/.+$`)

func (s Staging) check() error {
	if strings.ContainsAny(s.Prefix, "*?$") {
		return fmt.Errorf("%w: staging.prefix %q: *, ? and $ are patterns to IAM; choose another", ErrContradiction, s.Prefix)
	}
	for _, b := range append([]string{s.Bucket}, s.Classic...) {
		if !catalog.IsBucketName(b) {
			return fmt.Errorf("%w: %q is not the name of a bucket", ErrContradiction, b)
		}
	}
	for _, arn := range s.Assume {
		if !assumeARN.MatchString(arn) {
			return fmt.Errorf("%w: %q is not the ARN of a role; write it like arn:aws:iam::123456789012:role/segment-logs", ErrContradiction, arn)
		}
	}
	if s.KMSKey != "" && !keyARN.MatchString(s.KMSKey) {
		return fmt.Errorf("%w: %q is not the ARN of a KMS key; write it like arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab", ErrContradiction, s.KMSKey)
	}
	return nil
}

// Render writes the role's policy in a format. Where the format declares resources, it is a managed
// policy.
func (s Staging) Render(role StagingRole, f Format) (string, error) {
	p, err := s.Policy(role)
	if err != nil {
		return "", err
	}
	who := string(role)
	if role == AllRoles {
		who = "roles"
	}
	about := "What Sealift's " + who + " may do: staging bucket " + s.Bucket
	switch f {
	case JSON:
		return indentedJSON(p, "") + "\n", nil
	case Terraform:
		return fmt.Sprintf("# %s.\nresource \"aws_iam_policy\" \"sealift_%[2]s\" {\n  name = \"sealift-%[2]s\"\n  policy = jsonencode(%[3]s)\n}\n", about, role, hcl(indentedJSON(p, "  "))), nil
	case CloudFormation:
		return fmt.Sprintf("AWSTemplateFormatVersion: \"2010-09-09\"\nDescription: %s\nResources:\n  SealiftPolicy:\n    Type: AWS::IAM::ManagedPolicy\n    Properties:\n      ManagedPolicyName: %s\n      PolicyDocument:\n        %s\n",
			quoted(about), quoted("sealift-"+string(role)), indentedJSON(p, "        ")), nil
	}
	return "", fmt.Errorf("no format %q for a staging policy", f)
}
