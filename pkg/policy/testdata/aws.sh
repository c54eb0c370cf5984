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

# Lets the role put files into s3://acme-logs/segment-logs/, and nothing else.
role='{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "SealiftPutAcmeProd1569c1c1",
      "Effect": "Allow",
      "Action": "s3:PutObject",
      "Resource": "arn:aws:s3:::acme-logs/segment-logs/*"
    }
  ]
}'
aws iam put-role-policy --role-name 'segment-logs' --policy-name 'sealift-acme-prod-1569c1c1' --policy-document "$role"
