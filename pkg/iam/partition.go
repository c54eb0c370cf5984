package iam

import (
	"regexp"
	"strings"
)

// partitions are AWS's partitions other than aws itself, from partitions.json of
// aws-sdk-go-v2/internal/endpoints/awsrulesfn, which cannot be imported.
var partitions = []struct{ name, regions, first, domain string }{
	{"aws-cn", "cn-", "cn-north-1", ".amazonaws.com.cn"},
	{"aws-us-gov", "us-gov-", "us-gov-west-1", awsDomain},
	{"aws-eusc", "eusc-", "eusc-de-east-1", ".amazonaws.eu"},
	{"aws-iso", "us-iso-", "us-iso-east-1", ".c2s.ic.gov"},
	{"aws-iso-b", "us-isob-", "us-isob-east-1", ".sc2s.sgov.gov"},
	{"aws-iso-e", "eu-isoe-", "eu-isoe-west-1", ".cloud.adc-e.uk"},
	{"aws-iso-f", "us-isof-", "us-isof-south-1", ".csp.hci.ic.gov"},
}

// awsDomain is the domain of the hosts of partition aws.
const awsDomain = ".amazonaws.com"

// CutDomain returns the lower-case part of an AWS host name before AWS's domain, in any partition:
// s3.eu-west-1 of s3.eu-west-1.amazonaws.com. ok is false if the host is not one of AWS's.
func CutDomain(host string) (name string, ok bool) {
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if name, ok := strings.CutSuffix(host, awsDomain); ok {
		return name, true
	}
	for _, p := range partitions {
		if name, ok := strings.CutSuffix(host, p.domain); ok {
			return name, true
		}
	}
	return "", false
}

// s3Host matches hosts of S3 that show all buckets of their partition, without AWS's domain. Other
// hosts show one bucket, whose name comes before s3, or an access point.
// (https://docs.aws.amazon.com/general/latest/gr/s3.html)
var s3Host = regexp.MustCompile(`^(?:bucket\.vpce-[a-z0-9-]+\.)?s3(?:-fips)?(?:\.dualstack)?(?:[.-]([a-z0-9-]+))?(?:\.vpce)?$`)

// S3Partition returns the partition whose buckets a host of S3 shows; ok is false if the host is
// not one of AWS's, or does not show all buckets of a partition.
func S3Partition(host string) (partition string, ok bool) {
	name, ok := CutDomain(host)
	if !ok {
		return "", false
	}
	m := s3Host.FindStringSubmatch(name)
	if m == nil {
		return "", false
	}
	domain := strings.TrimSuffix(strings.ToLower(host), ".")[len(name):]
	for _, p := range partitions {
		if p.domain == domain && (domain != awsDomain || strings.HasPrefix(m[1], p.regions)) {
			return p.name, true
		}
	}
	return "aws", true
}

// RegionPartition returns the partition of a region, which is the second part of the ARNs of its
// resources.
func RegionPartition(region string) string {
	for _, p := range partitions {
		if strings.HasPrefix(region, p.regions) {
			return p.name
		}
	}
	return "aws"
}

// ARNPartition returns the partition in an ARN, or "" if arn is not one.
func ARNPartition(arn string) string {
	if parts := strings.SplitN(arn, ":", 3); len(parts) == 3 {
		return parts[1]
	}
	return ""
}

// FirstRegion returns the region of a partition where something is looked for first if its region
// is not known.
func FirstRegion(partition string) string {
	for _, p := range partitions {
		if p.name == partition {
			return p.first
		}
	}
	return "us-east-1"
}
