# Sealift's destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod.

# Lets Sealift put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else. Denies everybody to put files there with other encryption.
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
          "AWS" : "arn:aws-cn:iam::999999999999:user/team/sealift"
        },
        "Action" : [
          "s3:PutObject",
          "s3:PutObjectAcl"
        ],
        "Resource" : "arn:aws-cn:s3:::acme-logs/it's/year=2026/segment-logs/*"
      },
      {
        "Sid" : "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
        "Effect" : "Deny",
        "Principal" : "*",
        "Action" : "s3:PutObject",
        "Resource" : "arn:aws-cn:s3:::acme-logs/it's/year=2026/segment-logs/*",
        "Condition" : {
          "StringNotEquals" : {
            "s3:x-amz-server-side-encryption" : "AES256"
          }
        }
      }
    ]
  })
}
