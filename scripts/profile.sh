#!/usr/bin/env bash
# Profiles a role under its benchmark.
set -euo pipefail

if [ $# -lt 1 ] || [ "$1" = -h ] || [ "$1" = --help ]; then
  cat <<'TEXT'
Usage: scripts/profile.sh ROLE [DIR]

Runs the benchmark of ROLE (appender: Kafka to staged files; collector: HTTP to
Kafka; writer: lines to sealed files; copier: staging to buckets, on real servers,
its CPU alone, CASES as of scripts/bench-copy.sh) and leaves its profiles below DIR/ROLE
(default profiles): cpu, heap (with allocations: -sample_index=alloc_space) and
block, with the test binary that they belong to. Prints where the CPU time goes.
BENCH=REGEXP runs others of its benchmarks.

Example
  scripts/profile.sh appender
  go tool pprof -http=: profiles/appender/test profiles/appender/block
TEXT
  exit
fi

role=$1 out=${2:-profiles}/$1
if [ "$role" = copier ]; then
  mkdir -p "$out"
  scripts/bench-copy.sh --only --rounds 1 --cases "${CASES:-3000x11kB}" --profile "$out/cpu" "$out/copy.jsonl"
  go tool pprof -top -cum -nodecount 60 "$out/cpu"
  exit
fi
case $role in
appender) package=./workers/e2e bench='Appender/sources=100$' focus='appender|rotator|stream' ;;
collector) package=./workers/collector bench=Collect focus='' ;;
writer) package=./pkg/segment bench='Writer/sources=100$' focus='segment' ;;
*)
  echo "profile: no benchmark of role \"$role\": use appender, collector, copier or writer" >&2
  exit 2
  ;;
esac
mkdir -p "$out"
go test -run '^$' -bench "${BENCH:-$bench}" -benchtime 1x -o "$out/test" \
  -cpuprofile "$out/cpu" -memprofile "$out/heap" -blockprofile "$out/block" "$package"
go tool pprof -top -cum -nodecount 40 ${focus:+-focus "$focus"} "$out/test" "$out/cpu"
