package s3server_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/sealift/sealift/pkg/iam"
	"github.com/sealift/sealift/pkg/s3server"
	"github.com/sealift/sealift/pkg/s3server/awstest"
)

// Key policies can rely on what S3 tells KMS about a PUT.
func TestConditionKeysOfKeys(t *testing.T) {
	const wholeObject = `"kms:EncryptionContext:aws:s3:arn":"arn:aws:s3:::` + awstest.BucketName + `/raw/`
	for hazard, c := range map[string]struct {
		condition string
		bucketKey bool
		allowed   bool
	}{
		"via_s3":                       {`"StringEquals":{"kms:ViaService":"s3.` + awstest.Region + `.amazonaws.com"}`, false, true},
		"via_s3_elsewhere":             {`"StringEquals":{"kms:ViaService":"s3.us-east-1.amazonaws.com"}`, false, false},
		"caller":                       {`"StringEquals":{"kms:CallerAccount":"` + awstest.CustomerAccount + `"}`, false, true},
		"context_of_the_object":        {`"StringLike":{` + wholeObject + `*"}`, false, true},
		"context_of_another_object":    {`"StringLike":{"kms:EncryptionContext:aws:s3:arn":"` + bucket + `/other/*"}`, false, false},
		"context_of_the_bucket":        {`"StringEquals":{"kms:EncryptionContext:aws:s3:arn":"` + bucket + `"}`, true, true},
		"bucket_key_hides_the_object":  {`"StringLike":{` + wholeObject + `*"}`, true, false},
		"context_keys":                 {`"ForAllValues:StringEquals":{"kms:EncryptionContextKeys":"aws:s3:arn"}`, false, true},
		"a_service_calls_for_somebody": {`"Bool":{"aws:ViaAWSService":"true"},"Null":{"aws:SourceIp":"true"}`, false, true},
	} {
		t.Run(hazard, func(t *testing.T) {
			w := awstest.OpenSound(t, awstest.RoleWithKey)
			policy := parse(t, iam.Key, `{"Effect":"Allow","Principal":{"AWS":"`+root+`"},"Action":"kms:*","Resource":"*","Condition":{`+c.condition+`}}`)
			require.NoError(t, w.Server.PutKey(s3server.Key{ARN: awstest.KeyARN, Policy: policy}))
			require.NoError(t, w.Server.PutBucket(s3server.Bucket{
				Name: awstest.BucketName, Region: awstest.Region, Owner: awstest.CustomerAccount, Key: awstest.KeyARN, BucketKey: c.bucketKey,
			}))
			r := send(t, w, call{method: http.MethodPut, path: object, as: session(t, w, "")})
			require.Equal(t, c.allowed, r.status == 200, r.body)
			if c.allowed {
				require.Equal(t, awstest.KeyARN, r.header.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"))
			}
		})
	}
}

// To other accounts, a missing key looks like one that they may not use.
func TestMissingKeysAreHidden(t *testing.T) {
	w := awstest.OpenSound(t, awstest.ClassicWithKey)
	w.Server.DeleteKey(awstest.KeyARN)
	r := send(t, w, call{method: http.MethodPut, path: object, as: w.Operator})
	require.Equal(t, 403, r.status)
	require.Contains(t, r.message, "because the resource does not exist in this Region, no resource-based policies allow access")
}

// In other partitions of AWS, ARNs begin differently.
func TestPartitions(t *testing.T) {
	for region, partition := range map[string]string{"cn-north-1": "aws-cn", "us-gov-west-1": "aws-us-gov", "eu-west-1": "aws"} {
		w := awstest.OpenSound(t, awstest.Role)
		require.NoError(t, w.Server.PutBucket(s3server.Bucket{Name: awstest.BucketName, Region: region}))
		for resource, status := range map[string]int{"arn:" + partition + ":s3:::" + awstest.BucketName + "/*": 200, "arn:aws-iso:s3:::" + awstest.BucketName + "/*": 403} {
			as := user(t, w, anna, parse(t, iam.Identity, `{"Effect":"Allow","Action":"s3:PutObject","Resource":"`+resource+`"}`))
			require.Equal(t, status, send(t, w, call{method: http.MethodPut, path: object, as: as, region: region}).status, "%s in %s", resource, region)
		}
	}
}
