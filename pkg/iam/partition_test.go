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
