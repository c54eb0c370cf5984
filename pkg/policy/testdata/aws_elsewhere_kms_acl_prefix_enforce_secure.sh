#!/bin/sh
# Sealift's destination ws_7Qm2Zc9LkTRpV4xWnBsD0a/acme-prod. Run it with credentials of the account that owns what it changes.
set -eu

# merge POLICY ADDITION prints the policy with the addition's statements, which
# replace those of the same Sid; so running this again changes nothing.
merge() {
  python3 -c '
import json, sys
now, addition = map(json.loads, sys.argv[1:])
old = now.get("Statement", [])
old = [old] if isinstance(old, dict) else old
sids = [s["Sid"] for s in addition["Statement"]]
now.setdefault("Version", addition["Version"])
now["Statement"] = [s for s in old if s.get("Sid") not in sids] + addition["Statement"]
print(json.dumps(now))
' "$1" "$2"
}

# Lets Sealift assume the role, with this workspace's external id only.
trust='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftAssumeAcmeProd1569c1c1",
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
if now=$(aws iam get-role --role-name 'segment-logs' --query Role.AssumeRolePolicyDocument --output json 2>/dev/null); then
  aws iam update-assume-role-policy --role-name 'segment-logs' --policy-document "$(merge "$now" "$trust")"
else
  aws iam create-role --role-name 'segment-logs' --path '/team/' --assume-role-policy-document "$trust" >/dev/null
fi

# Lets the role put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else.
role='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd1569c1c1",
      "Effect": "Allow",
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws:s3:::acme-logs/it'\''s/year=2026/segment-logs/*"
    },
    {
      "Sid": "SealiftEncryptAcmeProd1569c1c1",
      "Effect": "Allow",
      "Action": "kms:GenerateDataKey",
      "Resource": "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
    }
  ]
}'
aws iam put-role-policy --role-name 'segment-logs' --policy-name 'sealift-acme-prod-1569c1c1' --policy-document "$role"

# Lets Sealift put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else. Denies everybody to put files there with other encryption. Denies everybody to use the bucket without TLS.
bucket='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd1569c1c1",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::123456789012:role/team/segment-logs"
      },
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws:s3:::acme-logs/it'\''s/year=2026/segment-logs/*"
    },
    {
      "Sid": "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:PutObject",
      "Resource": "arn:aws:s3:::acme-logs/it'\''s/year=2026/segment-logs/*",
      "Condition": {
        "Null": {
          "s3:x-amz-server-side-encryption": "false"
        },
        "StringNotEquals": {
          "s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        }
      }
    },
    {
      "Sid": "SealiftDenyPlainTextAcmeProd1569c1c1",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:*",
      "Resource": [
        "arn:aws:s3:::acme-logs",
        "arn:aws:s3:::acme-logs/*"
      ],
      "Condition": {
        "Bool": {
          "aws:SecureTransport": "false"
        }
      }
    }
  ]
}'
if ! now=$(aws s3api get-bucket-policy --bucket 'acme-logs' --query Policy --output text 2>&1); then
  case $now in *NoSuchBucketPolicy*) now='{}' ;; *) echo "$now" >&2 && exit 1 ;; esac
fi
aws s3api put-bucket-policy --bucket 'acme-logs' --policy "$(merge "$now" "$bucket")"

# Lets the files be encrypted with the key. Most keys allow it already, to all of their account whose policies do.
kms='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftEncryptAcmeProd1569c1c1",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws:iam::123456789012:root"
      },
      "Action": "kms:GenerateDataKey",
      "Resource": "*",
      "Condition": {
        "ArnEquals": {
          "aws:PrincipalArn": "arn:aws:iam::123456789012:role/team/segment-logs"
        }
      }
    }
  ]
}'
now=$(aws kms get-key-policy --key-id 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab' --policy-name default --region 'eu-west-1' --query Policy --output text)
aws kms put-key-policy --key-id 'arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab' --policy-name default --region 'eu-west-1' --policy "$(merge "$now" "$kms")"
