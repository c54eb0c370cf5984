"""Sends calls through one of the Python SDKs, which must be on PYTHONPATH. See run.sh -h.

Usage: driver.py SDK URL WRITE_KEY CALLS ROUNDS
"""

import importlib
import json
import sys
from datetime import datetime, timedelta, timezone

sdk, url, key, calls, rounds = sys.argv[1:]
module, options = {
    "segment-python": ("segment.analytics", {}),
    "segment-python-gzip": ("segment.analytics", {"gzip": True}),
    "legacy-python": ("analytics", {}),
    "rudder-python": ("rudderstack.analytics", {}),
}[sdk]
dropped = []
client = importlib.import_module(module + ".client").Client(
    key, host=url, max_retries=30, on_error=lambda err, batch: dropped.append((err, len(batch))), **options
)
arguments = {
    "userId": "user_id",
    "anonymousId": "anonymous_id",
    "groupId": "group_id",
    "previousId": "previous_id",
    "messageId": "message_id",
}
start = datetime(2026, 11, 22, 10, tzinfo=timezone.utc)
with open(calls, encoding="utf-8") as f:
    templates = json.load(f)
count = int(rounds) * len(templates)
for n in range(count):
    if n == count // 2:
        print('{"half": true}', flush=True)
        sys.stdin.readline()
    call = dict(templates[n % len(templates)], messageId=f"{sdk}-{n}")
    at = start + timedelta(milliseconds=n)
    record = json.dumps({"call": dict(call, timestamp=at.isoformat(timespec="milliseconds"))})
    fields = {arguments.get(k, k): v for k, v in json.loads(json.dumps(call)).items() if k != "type"}
    print(record)
    ok, _ = getattr(client, call["type"])(timestamp=at, **fields)
    if not ok:
        sys.exit(f"{sdk}: the queue is full")
client.flush()
client.join()
if dropped:
    sys.exit(f"{sdk}: messages were dropped: {dropped}")
