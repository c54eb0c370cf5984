#!/usr/bin/env bash
# The constants of `sealift plan`, measured.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-plan.sh [STACK]

Measures a collector, and an appender with a copier on few large and on many
small files, and writes what a byte and a file take to pkg/plan/measured.json.
How well that says what the runs took is printed. Some five minutes on two cores.

STACK is a directory of scripts/stack.sh that is up; default: one is started.

Environment
  EVENTS  of a run; default 200000
  ROUNDS  default 3
  OUT     where the runs are noted; default: nowhere

Example
  ROUNDS=5 scripts/bench-plan.sh
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
work=$(mktemp -d)
stack=${1:-}
ours=''
trap 'status=$?; [ -z "$ours" ] || scripts/stack.sh down "$ours"; rm -rf "$work"; exit $status' EXIT
trap 'exit 130' INT TERM
if [ -z "$stack" ]; then
  ours=$work/stack stack=$ours
  KAFKA_BROKERS=1 KAFKA_HEAP=1g scripts/stack.sh up "$stack"
fi
common=(--events "${EVENTS:-200000}" --rounds "${ROUNDS:-3}" --stack "$stack")
out=${OUT:-$work/runs.jsonl}
scripts/bench-fleet.sh "${common[@]}" --sources 50 --collector "$out" >&2
scripts/bench-fleet.sh "${common[@]}" --sources '50 2000 20000' "$out" >&2
go run ./workers/e2e/figures constants "$out" >"$work/measured.json"
mv "$work/measured.json" pkg/plan/measured.json
