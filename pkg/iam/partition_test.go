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
		got := Partition(region)
		require.Equal(t, want, got, region)
		require.Equal(t, want, Partition(FirstRegion(got)), "the first region of a partition is in it")
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
