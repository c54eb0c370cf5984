#!/usr/bin/env bash
# The constants of `sealift plan`, measured.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-plan.sh [STACK]

Measures a collector, and an appender with a copier on few large and on many
small files, writes what a byte and a file take to pkg/plan/measured.json, and draws
workers/e2e/figures/fleet.svg. The tables that it prints are the README's.
How well that says what the runs took is printed. Some eight minutes on two cores.

STACK is a directory of scripts/stack.sh that is up; default: one is started.

Environment
  EVENTS  of a run; default 1000000. With few, what a process takes to start counts as
          theirs. Of 20,000 sources a fifth of it
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
events=${EVENTS:-1000000}
common=(--rounds "${ROUNDS:-3}" --stack "$stack")
out=${OUT:-$work/runs.jsonl}
scripts/bench-fleet.sh "${common[@]}" --events "$events" --sources 50 --collector "$out" >&2
scripts/bench-fleet.sh "${common[@]}" --events "$events" --sources '50 500 2000' "$out" >&2
scripts/bench-fleet.sh "${common[@]}" --events $((events / 5)) --sources 20000 "$out" >&2
go run ./workers/e2e/figures constants "$out" >"$work/measured.json"
mv "$work/measured.json" pkg/plan/measured.json
go run ./workers/e2e/figures plot "$out" >workers/e2e/figures/fleet.svg
