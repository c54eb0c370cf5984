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

# Lets Sealift put files into s3://acme-logs/segment-logs/, and nothing else. Denies everybody to put files there with other encryption.
bucket='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd1569c1c1",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws-us-gov:iam::999999999999:user/team/sealift"
      },
      "Action": "s3:PutObject",
      "Resource": "arn:aws-us-gov:s3:::acme-logs/segment-logs/*"
    },
    {
      "Sid": "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:PutObject",
      "Resource": "arn:aws-us-gov:s3:::acme-logs/segment-logs/*",
      "Condition": {
        "Null": {
          "s3:x-amz-server-side-encryption": "false"
        },
        "StringNotEquals": {
          "s3:x-amz-server-side-encryption-aws-kms-key-id": "arn:aws-us-gov:kms:us-gov-west-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab"
        }
      }
    }
  ]
}'
if ! now=$(aws s3api get-bucket-policy --bucket 'acme-logs' --query Policy --output text 2>&1); then
  case $now in *NoSuchBucketPolicy*) now='{}' ;; *) echo "$now" >&2 && exit 1 ;; esac
fi
aws s3api put-bucket-policy --bucket 'acme-logs' --policy "$(merge "$now" "$bucket")"

# Lets the files be encrypted with the key.
kms='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftEncryptAcmeProd1569c1c1",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws-us-gov:iam::999999999999:user/team/sealift"
      },
      "Action": "kms:GenerateDataKey",
      "Resource": "*"
    }
  ]
}'
now=$(aws kms get-key-policy --key-id 'arn:aws-us-gov:kms:us-gov-west-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab' --policy-name default --region 'us-gov-west-1' --query Policy --output text)
aws kms put-key-policy --key-id 'arn:aws-us-gov:kms:us-gov-west-1:210987654321:key/1234abcd-12ab-34cd-56ef-1234567890ab' --policy-name default --region 'us-gov-west-1' --policy "$(merge "$now" "$kms")"
