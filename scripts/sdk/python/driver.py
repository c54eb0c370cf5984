"""Sends the calls of a file through segment-analytics-python.

Usage: driver.py URL WRITE_KEY CALLS ROUNDS plain|gzip; prints what it sent as
JSON. PYTHONPATH must hold the SDK.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from segment.analytics.client import Client
from segment.analytics.version import VERSION

url, key, calls, rounds, encoding = sys.argv[1:]
name = "segment-analytics-python-" + encoding
dropped = []
client = Client(key, host=url, gzip=encoding == "gzip", on_error=lambda err, batch: dropped.append((err, len(batch))))
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
sent = []
for n in range(int(rounds) * len(templates)):
    call = dict(templates[n % len(templates)], messageId=f"{name}-{n}")
    at = start + timedelta(milliseconds=n)
    fields = {arguments.get(k, k): v for k, v in json.loads(json.dumps(call)).items() if k != "type"}
    if call["type"] == "track":  # beyond what a double holds
        call["properties"] = fields["properties"] = dict(fields["properties"], big=9007199254740993)
    ok, _ = getattr(client, call["type"])(timestamp=at, **fields)
    if not ok:
        sys.exit(f"{name}: the queue is full")
    sent.append(dict(call, timestamp=at.isoformat(timespec="milliseconds")))
client.flush()
client.join()
if dropped:
    sys.exit(f"{name}: messages were dropped: {dropped}")
json.dump({"sdk": name, "version": VERSION, "library": "analytics-python", "messages": sent}, sys.stdout)
