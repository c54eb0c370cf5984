package iam

import "strings"

// partitions are those of AWS beside aws itself, as the SDKs know them, from
// partitions.json of aws-sdk-go-v2/internal/endpoints/awsrulesfn, which cannot be
// imported.
var partitions = []struct{ name, regions, first string }{
	{"aws-cn", "cn-", "cn-north-1"},
	{"aws-us-gov", "us-gov-", "us-gov-west-1"},
	{"aws-eusc", "eusc-", "eusc-de-east-1"},
	{"aws-iso", "us-iso-", "us-iso-east-1"},
	{"aws-iso-b", "us-isob-", "us-isob-east-1"},
	{"aws-iso-e", "eu-isoe-", "eu-isoe-west-1"},
	{"aws-iso-f", "us-isof-", "us-isof-south-1"},
}

// Partition is that of a region: the second part of the ARNs of what is there.
func Partition(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.regions) {
			return p.name
		}
	}
	return "aws"
}

// FirstRegion is where of a partition something is looked for whose region is not
// known.
func FirstRegion(partition string) string {
	for _, p := range partitions {
		if p.name == partition {
			return p.first
		}
	}
	return "us-east-1"
}
