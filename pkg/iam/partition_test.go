package iam

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPartitions(t *testing.T) {
	for region, want := range map[string]string{
		"": "aws", "us-east-1": "aws", "eu-west-1": "aws", "us-west-2": "aws", "il-central-1": "aws",
		"cn-northwest-1": "aws-cn", "us-gov-east-1": "aws-us-gov", "eusc-de-east-1": "aws-eusc", "us-iso-west-1": "aws-iso",
		"us-isob-west-1": "aws-iso-b", "eu-isoe-west-1": "aws-iso-e", "us-isof-east-1": "aws-iso-f",
	} {
		got := RegionPartition(region)
		require.Equal(t, want, got, region)
		require.Equal(t, want, RegionPartition(FirstRegion(got)), "the first region of a partition is in it")
	}
}

func TestPartitionsOfS3Hosts(t *testing.T) {
	for host, want := range map[string]string{
		"s3.amazonaws.com": "aws", "s3.eu-west-1.amazonaws.com": "aws", "s3-eu-west-1.amazonaws.com": "aws", "s3-external-1.amazonaws.com": "aws",
		"S3.DualStack.us-west-2.amazonaws.com.": "aws", "s3-fips.dualstack.us-east-1.amazonaws.com": "aws", "s3-accelerate.amazonaws.com": "aws",
		"bucket.vpce-1a2b-3c4d-us-east-1a.s3.us-east-1.vpce.amazonaws.com": "aws",
		"s3.us-gov-west-1.amazonaws.com":                                   "aws-us-gov", "s3-fips-us-gov-west-1.amazonaws.com": "aws-us-gov", "s3-fips.us-gov-east-1.amazonaws.com": "aws-us-gov",
		"bucket.vpce-1.s3.us-gov-east-1.vpce.amazonaws.com": "aws-us-gov",
		"s3.cn-north-1.amazonaws.com.cn":                    "aws-cn", "s3.dualstack.eusc-de-east-1.amazonaws.eu": "aws-eusc", "s3.us-iso-east-1.c2s.ic.gov": "aws-iso",
		"us-gov-west-1.s3.eu-west-1.amazonaws.com": "", "acme-logs.s3.amazonaws.com": "", "bucket.s3.eu-west-1.amazonaws.com": "", "a.bucket.vpce-1.s3.eu-west-1.vpce.amazonaws.com": "",
		"a-1.s3-accesspoint.eu-west-1.amazonaws.com": "", "1.s3-control.eu-west-1.amazonaws.com": "", "sts.eu-west-1.amazonaws.com": "", "amazonaws.com": "", "s3.example.com": "", "": "",
	} {
		got, ok := S3Partition(host)
		require.Equal(t, want, got, host)
		require.Equal(t, want != "", ok, host)
	}
}

func TestHostsOfAWS(t *testing.T) {
	for host, want := range map[string]string{
		"s3.eu-west-1.amazonaws.com": "s3.eu-west-1", "b.s3.amazonaws.com": "b.s3", "S3.us-east-1.AmazonAWS.com.": "s3.us-east-1",
		"s3.us-gov-west-1.amazonaws.com": "s3.us-gov-west-1", "s3.cn-north-1.amazonaws.com.cn": "s3.cn-north-1", "s3.eusc-de-east-1.amazonaws.eu": "s3.eusc-de-east-1",
		"s3.us-iso-east-1.c2s.ic.gov": "s3.us-iso-east-1", "s3.us-isob-east-1.sc2s.sgov.gov": "s3.us-isob-east-1", "s3.eu-isoe-west-1.cloud.adc-e.uk": "s3.eu-isoe-west-1",
		"s3.us-isof-south-1.csp.hci.ic.gov": "s3.us-isof-south-1",
		"":                                  "", "amazonaws.com": "", "notamazonaws.com": "", "s3.amazonaws.com.evil.example": "", "s3.example.com": "", "10.0.0.1": "",
	} {
		got, ok := CutDomain(host)
		require.Equal(t, want, got, host)
		require.Equal(t, want != "", ok, host)
	}
}
