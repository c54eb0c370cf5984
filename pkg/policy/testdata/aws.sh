#!/bin/sh
# Sealift's destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod. Run it with credentials of the account that owns what it changes.
set -eu

# Lets Sealift assume the role, with this workspace's external id only.
trust='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftAssumeAcmeProd7Qm2Zc",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::999999999999:user/team/sealift"
      },
      "Action": "sts:AssumeRole",
      "Condition": {
        "StringEquals": {
          "sts:ExternalId": "ws_7Qm2Zc9LkTRpV4xWnBsD0a"
        }
      }
    }
  ]
}'
if aws iam get-role --role-name 'segment-logs' >/dev/null 2>&1; then
  aws iam update-assume-role-policy --role-name 'segment-logs' --policy-document "$trust"
else
  aws iam create-role --role-name 'segment-logs' --path '/team/' --assume-role-policy-document "$trust" >/dev/null
fi

# Lets the role put files into s3://acme-logs/segment-logs/, and nothing else.
role='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd7Qm2Zc",
      "Effect": "Allow",
      "Action": "s3:PutObject",
      "Resource": "arn:aws:s3:::acme-logs/segment-logs/*"
    }
  ]
}'
aws iam put-role-policy --role-name 'segment-logs' --policy-name 'sealift-acme-prod' --policy-document "$role"
