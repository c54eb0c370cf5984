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

# Lets Sealift put files into s3://acme-logs/it's/year=2026/segment-logs/, and nothing else. Denies everybody to put files there with other encryption.
bucket='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd1569c1c1",
      "Effect": "Allow",
      "Principal": {
        "AWS": "arn:aws-cn:iam::999999999999:user/team/sealift"
      },
      "Action": [
        "s3:PutObject",
        "s3:PutObjectAcl"
      ],
      "Resource": "arn:aws-cn:s3:::acme-logs/it'\''s/year=2026/segment-logs/*"
    },
    {
      "Sid": "SealiftDenyOtherEncryptionAcmeProd1569c1c1",
      "Effect": "Deny",
      "Principal": "*",
      "Action": "s3:PutObject",
      "Resource": "arn:aws-cn:s3:::acme-logs/it'\''s/year=2026/segment-logs/*",
      "Condition": {
        "StringNotEquals": {
          "s3:x-amz-server-side-encryption": "AES256"
        }
      }
    }
  ]
}'
if ! now=$(aws s3api get-bucket-policy --bucket 'acme-logs' --query Policy --output text 2>&1); then
  case $now in *NoSuchBucketPolicy*) now='{}' ;; *) echo "$now" >&2 && exit 1 ;; esac
fi
aws s3api put-bucket-policy --bucket 'acme-logs' --policy "$(merge "$now" "$bucket")"
