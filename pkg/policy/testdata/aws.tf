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

# Lets the role put files into s3://acme-logs/segment-logs/, and nothing else.
resource "aws_iam_role_policy" "sealift_acme_prod" {
  name = "sealift-acme-prod-1569c1c1"
  role = aws_iam_role.sealift_acme_prod.name
  policy = jsonencode({
    "Version" : "2012-10-17",
    "Statement" : [
      {
        "Sid" : "SealiftPutAcmeProd1569c1c1",
        "Effect" : "Allow",
        "Action" : "s3:PutObject",
        "Resource" : "arn:aws:s3:::acme-logs/segment-logs/*"
      }
    ]
  })
}
