# Sealift's destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod.

# Lets Sealift put files into s3://acme-logs/segment-logs/, and nothing else. Denies everybody to put files there with other encryption.
# A bucket has one policy: if it has one already, add these statements to that instead.
resource "aws_s3_bucket_policy" "sealift_acme_prod" {
  bucket = "acme-logs"
  policy = jsonencode({
    "Version" : "2012-10-17",
    "Statement" : [
      {
        "Sid" : "SealiftPutAcmeProd1569c1c1",
        "Effect" : "Allow",
        "Principal" : {
          "AWS" : "arn:aws-us-gov:iam::999999999999:user/team/sealift"
        },
        "Action" : "s3:PutObject",
        "Resource" : "arn:aws-us-gov:s3:::acme-logs/segment-logs/*"
      },
      {
        "Sid" : "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
        "Effect" : "Deny",
        "Principal" : "*",
        "Action" : "s3:PutObject",
        "Resource" : "arn:aws-us-gov:s3:::acme-logs/segment-logs/*",
        "Condition" : {
          "Null" : {
            "s3:x-amz-server-side-encryption" : "false"
          },
          "StringNotEquals" : {
            "s3:x-amz-server-side-encryption-aws-kms-key-id" : "arn:aws-us-gov:kms:us-gov-west-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab"
          }
        }
      }
    ]
  })
}

# Lets the files be encrypted with the key.
# A key's policy stands where the key does: add this statement to it.
output "sealift_acme_prod_key_statement" {
  value = jsonencode({
    "Sid" : "SealiftEncryptAcmeProd1569c1c1",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws-us-gov:iam::999999999999:user/team/sealift"
    },
    "Action" : "kms:GenerateDataKey",
    "Resource" : "*"
  })
}
