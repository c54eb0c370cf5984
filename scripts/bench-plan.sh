#!/usr/bin/env bash
# Measures the constants of `sealift plan`.
set -euo pipefail

usage() {
  cat <<'TEXT'
Usage: scripts/bench-plan.sh [STACK]

Measures a collector, and an appender with a copier, on few large files and on many
small ones. Writes the cost of a byte and of a file to pkg/plan/measured.json, and
draws workers/e2e/figures/fleet.svg. Prints the README's tables, and how well the
constants fit the runs. Takes about eight minutes on two cores.

STACK is the directory of a running scripts/stack.sh; default: starts one.

Environment
  EVENTS  events per run; default 1000000; the run with 20,000 sources has a fifth. With
          few events, the CPU time of starting the processes distorts the result
  ROUNDS  default 3
  OUT     file to append the runs to; default: they are not kept

Example
  ROUNDS=5 scripts/bench-plan.sh
TEXT
}

case ${1:-} in
-h | --help) usage && exit ;;
-*) usage >&2 && exit 2 ;;
esac
cd "$(dirname "${BASH_SOURCE[0]}")/.."
stack=${1:-}
. scripts/bench-rig.sh
events=${EVENTS:-1000000}
common=(--rounds "${ROUNDS:-3}" --stack "$stack")
out=${OUT:-$work/runs.jsonl}
scripts/bench-fleet.sh "${common[@]}" --events "$events" --sources 50 --collector "$out" >&2
scripts/bench-fleet.sh "${common[@]}" --events "$events" --sources '50 500 2000' "$out" >&2
scripts/bench-fleet.sh "${common[@]}" --events $((events / 5)) --sources 20000 "$out" >&2
go run ./workers/e2e/figures constants "$out" >"$work/measured.json"
mv "$work/measured.json" pkg/plan/measured.json
go run ./workers/e2e/figures plot "$out" >workers/e2e/figures/fleet.svg
