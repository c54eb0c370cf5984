# Sealift's destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod.

# Lets Sealift assume the role, with this workspace's external id only.
resource "aws_iam_role" "sealift_acme_prod" {
  name = "segment-logs"
  path = "/team/"
  assume_role_policy = jsonencode({
    "Version" : "2012-10-17",
    "Statement" : [
      {
        "Sid" : "SealiftAssumeAcmeProd1569c1c1",
        "Effect" : "Allow",
        "Principal" : {
          "AWS" : "arn:aws:iam::999999999999:user/team/sealift"
        },
        "Action" : "sts:AssumeRole",
        "Condition" : {
          "StringEquals" : {
            "sts:ExternalId" : "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
          }
        }
      }
    ]
  })
}

# Lets the role put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else.
resource "aws_iam_role_policy" "sealift_acme_prod" {
  name = "sealift-acme-prod-1569c1c1"
  role = aws_iam_role.sealift_acme_prod.name
  policy = jsonencode({
    "Version" : "2012-10-17",
    "Statement" : [
      {
        "Sid" : "SealiftPutAcmeProd1569c1c1",
        "Effect" : "Allow",
        "Action" : [
          "s3:PutObject",
          "s3:PutObjectAcl"
        ],
        "Resource" : "arn:aws:s3:::acme-logs/it's/year=2026/segment-logs/*"
      },
      {
        "Sid" : "SealiftEncryptAcmeProd1569c1c1",
        "Effect" : "Allow",
        "Action" : "kms:GenerateDataKey",
        "Resource" : "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
      }
    ]
  })
}

# Lets Sealift put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else. Denies everybody to put files there with other encryption. Denies everybody to use the bucket without TLS.
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
          "AWS" : "arn:aws:iam::123456789012:role/team/segment-logs"
        },
        "Action" : [
          "s3:PutObject",
          "s3:PutObjectAcl"
        ],
        "Resource" : "arn:aws:s3:::acme-logs/it's/year=2026/segment-logs/*"
      },
      {
        "Sid" : "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
        "Effect" : "Deny",
        "Principal" : "*",
        "Action" : "s3:PutObject",
        "Resource" : "arn:aws:s3:::acme-logs/it's/year=2026/segment-logs/*",
        "Condition" : {
          "Null" : {
            "s3:x-amz-server-side-encryption" : "false"
          },
          "StringNotEquals" : {
            "s3:x-amz-server-side-encryption-aws-kms-key-id" : "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
          }
        }
      },
      {
        "Sid" : "SealiftDenyPlainTextAcmeProd1569c1c1",
        "Effect" : "Deny",
        "Principal" : "*",
        "Action" : "s3:*",
        "Resource" : [
          "arn:aws:s3:::acme-logs",
          "arn:aws:s3:::acme-logs/*"
        ],
        "Condition" : {
          "Bool" : {
            "aws:SecureTransport" : "false"
          }
        }
      }
    ]
  })
}

# Lets the files be encrypted with the key. Most keys allow it already, to all of their account whose policies do.
# A key's policy stands where the key does: add this statement to it.
output "sealift_acme_prod_key_statement" {
  value = jsonencode({
    "Sid" : "SealiftEncryptAcmeProd1569c1c1",
    "Effect" : "Allow",
    "Principal" : {
      "AWS" : "arn:aws:iam::123456789012:root"
    },
    "Action" : "kms:GenerateDataKey",
    "Resource" : "*",
    "Condition" : {
      "ArnEquals" : {
        "aws:PrincipalArn" : "arn:aws:iam::123456789012:role/team/segment-logs"
      }
    }
  })
}
